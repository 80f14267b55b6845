"""What a proxy says that it runs, and what it refused: read alike from both."""

import json
from pathlib import Path

from mesh_testing.backends import front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.running import StartProxy

from hauberk.cli.envoy_config_dump import sections
from hauberk.cli.proxy_tables import name_of

CLUSTER = "outbound|9080|v2|reviews.default.svc.cluster.local"


async def test_what_runs(start_proxy: StartProxy, tmp_path: Path) -> None:
    fault = {"delay": {"fixedDelay": "1500ms", "percentage": {"value": 0.01}}}
    async with front(
        start_proxy, [virtual_service({"fault": fault, "route": [to("v2")]})], tmp_path
    ) as gateway:
        dump = json.loads(await gateway.running.admin("/config_dump?include_eds"))
        found = sections(dump)
        assert f"0.0.0.0_{gateway.port}" in [name_of(one) for one in found["listeners"]]
        (cluster,) = [one for one in found["clusters"] if name_of(one) == CLUSTER]
        assert cluster["version"]
        assert len(found["routes"]) == 1
        assert "1.500s" in json.dumps(found["routes"])
        endpoints = {name_of(one): json.dumps(one) for one in found["endpoints"]}
        assert "127.0.0.3" in endpoints[CLUSTER]
        assert "PRIVATE KEY" not in json.dumps(dump)


async def test_what_was_refused_and_why(tmp_path: Path) -> None:
    async with front(hauberk_proxy, [virtual_service({"route": [to("v2")]})], tmp_path) as gateway:
        bad = {"headers": {"request": {"set": {"x": "%NO_SUCH_COMMAND%"}}}, "route": [to("v1")]}
        registry = gateway.plane.discovery.snapshot.registry
        gateway.plane.discovery.publish(registry.update([virtual_service(bad)]))

        async def refused() -> str:
            dump = json.loads(await gateway.running.admin("/config_dump"))
            states = {part["@type"]: part.get("error_state", {}) for part in dump["configs"]}
            return str(states["type.googleapis.com/envoy.admin.v3.RoutesConfigDump"].get("details", ""))

        assert "NO_SUCH_COMMAND" in await eventually(refused)
        assert (await gateway.get())[1]["version"] == "v2", "what it had before runs on"
        gateway.plane.discovery.publish(registry.update([virtual_service({"route": [to("v3")]})]))

        async def good_again() -> bool:
            return await refused() == "" and (await gateway.get())[1]["version"] == "v3"

        await eventually(good_again)

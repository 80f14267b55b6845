"""Two real Envoys in the sidecars' places: interception, identities checked on both sides, policy at each request."""

import asyncio
import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mesh_testing.control_plane import TestAuthority, control_plane, eventually
from mesh_testing.envoy import envoy
from mesh_testing.objects import configuration, endpoint_slice, pod, service

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry

pytestmark = pytest.mark.root

CLIENT, SERVER, VIRTUAL = "10.66.0.1", "10.66.0.2", "10.96.0.1"
IDENTITIES = {name: f"spiffe://cluster.local/ns/default/sa/{name}" for name in ("front", "web")}
NO_REVERSE_PATH_FILTER = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done"
PROGRAM = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{self.client_address[0]} {self.headers.get('x-forwarded-client-cert')}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two linked network namespaces: what leaves the one and what enters the other is led to a proxy."""
    client, server = (f"mesh-{side}-{uuid.uuid4().hex[:6]}" for side in "cs")
    tproxy = "-j TPROXY --on-port"
    setup = f"""
        ip netns add {client}
        ip netns add {server}
        ip link add link0 netns {client} type veth peer name link0 netns {server}
        ip -n {client} link set lo up
        ip -n {server} link set lo up
        ip -n {client} addr add {CLIENT}/24 dev link0
        ip -n {server} addr add {SERVER}/24 dev link0
        ip -n {client} link set link0 up
        ip -n {server} link set link0 up
        ip -n {client} route add local 10.96.0.0/16 dev lo
        ip -n {server} rule add fwmark 1 lookup 100
        ip -n {server} route add local default dev lo table 100
        ip netns exec {client} iptables -t mangle -A PREROUTING -i lo -p tcp -d 10.96.0.0/16 {tproxy} 15001
        ip netns exec {server} iptables -t mangle -A PREROUTING -i link0 -p tcp {tproxy} 15006
        ip netns exec {server} iptables -t mangle -A OUTPUT -p tcp -m owner --uid-owner 65534 -j MARK --set-mark 1
    """
    try:
        for line in filter(None, map(str.strip, setup.splitlines())):
            subprocess.run(line.split(), check=True)
        for namespace in (client, server):
            subprocess.run(
                ["ip", "netns", "exec", namespace, "sh", "-c", NO_REVERSE_PATH_FILTER],
                check=True,
            )
        yield client, server
    finally:
        for namespace in (client, server):
            subprocess.run(["ip", "netns", "delete", namespace], check=False)


@asynccontextmanager
async def program(namespace: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", namespace, "setpriv", "--reuid=65534", "--clear-groups",
        "/usr/bin/python3", "-c", PROGRAM,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def call(namespace: str, *arguments: str) -> tuple[str, str]:
    """Status and body of one request to the service's own address; 000 if there was no answer."""
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", namespace, "curl", "-s", "-m", "5", "--interface", CLIENT,
        "-w", "\n%{http_code}", *arguments,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    body, _, status = output.rpartition("\n")
    return status, body


@asynccontextmanager
async def two_envoys(
    registry: Registry, folder: Path, pair: tuple[str, str]
) -> AsyncIterator[tuple[Path, Path]]:
    """`front` calls `web`, each behind its Envoy; gives the logs of both."""
    for side in ("client", "server"):
        (folder / side).mkdir()
    authority = TestAuthority()
    front = Proxy(ProxyKind.SIDECAR, "default", "front-1", CLIENT, Labels.of({"app": "front"}), "front")
    web = Proxy(ProxyKind.SIDECAR, "default", "web-1", SERVER, Labels.of({"app": "web"}), "web")
    client, server = pair
    async with (
        control_plane(registry, folder / "client", authority, IDENTITIES["front"]) as outbound,
        control_plane(registry, folder / "server", authority, IDENTITIES["web"]) as inbound,
        program(server),
        envoy(front, outbound.path, folder / "client", namespace=client) as one,
        envoy(web, inbound.path, folder / "server", namespace=server) as other,
    ):
        for running, plane in ((one, outbound), (other, inbound)):
            status = await running.synced(plane.discovery)
            assert [each.reason for each in status.types if each.reason] == []
        yield one.log, other.log


async def test_mutual_tls_and_policy(tmp_path: Path, pair: tuple[str, str]) -> None:
    client, _ = pair
    policy = configuration(
        "AuthorizationPolicy",
        "web",
        {
            "selector": {"matchLabels": {"app": "web"}},
            "rules": [
                {
                    "from": [{"source": {"principals": ["cluster.local/ns/default/sa/front"]}}],
                    "to": [{"operation": {"paths": ["/open/*"]}}],
                }
            ],
        },
    )
    registry = Registry().update(
        [
            service("web", address=VIRTUAL, http=80, x=82),
            endpoint_slice("web", [SERVER], http=8080, x=8080),
            pod("front-1", CLIENT, account="front", app="front"),
            pod("web-1", SERVER, account="web", ports={"http": 8080}, app="web"),
            policy,
        ]
    )
    async with two_envoys(registry, tmp_path, pair) as logs:
        status, body = await call(client, f"http://{VIRTUAL}/open/door")
        assert status == "200", [log.read_text()[-900:] for log in logs]
        address, _, caller = body.partition(" ")
        assert address == CLIENT, "the program sees the true caller"
        assert IDENTITIES["front"] in caller
        assert (await call(client, f"http://{VIRTUAL}/shut"))[0] == "403"
        status, body = await call(client, f"http://{VIRTUAL}:82/open/door")
        assert (status, IDENTITIES["front"] in body) == ("200", True), "a port whose protocol is detected"
        assert (await call(client, "http://10.96.0.99/open/door"))[0] == "000", "no such service"
        assert (await call(client, f"http://{SERVER}:8080/open/door"))[0] == "000", (
            "STRICT refuses plain text"
        )


async def test_an_audited_call_is_served_and_named_in_the_access_log(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    """What Envoy makes of an AUDIT policy: nothing is refused, and its log says which policy it was."""
    client, _ = pair
    audit = configuration(
        "AuthorizationPolicy",
        "watch",
        {
            "selector": {"matchLabels": {"app": "web"}},
            "action": "AUDIT",
            "rules": [{"to": [{"operation": {"paths": ["/vault/*"]}}]}],
        },
    )
    registry = Registry().update(
        [
            service("web", address=VIRTUAL, http=80),
            endpoint_slice("web", [SERVER], http=8080),
            pod("front-1", CLIENT, account="front", app="front"),
            pod("web-1", SERVER, account="web", ports={"http": 8080}, app="web"),
            audit,
        ]
    )
    async with two_envoys(registry, tmp_path, pair) as (_, log):
        for path in ("/open", "/vault/7"):
            assert (await call(client, f"http://{VIRTUAL}{path}"))[0] == "200", log.read_text()
        expected = {"/open": None, "/vault/7": "ns[default]-policy[watch]-rule[0]"}
        await eventually(lambda: logged(log).items() >= expected.items())


def logged(path: Path) -> dict[str, str | None]:
    """The AUDIT policy of each request in an Envoy's access log, by path."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    return {line["path"]: line.get("audit_policy") for line in lines}

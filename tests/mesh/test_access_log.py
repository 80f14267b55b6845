"""Access logs of requests and of TCP connections, through a real Envoy and through our own proxy alike."""

from pathlib import Path
from typing import Any

import pytest
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration
from mesh_testing.running import StartProxy
from mesh_testing.two_hops import CLIENT, IDENTITIES, SERVER, VIRTUAL, send_bytes, two_hops

pytestmark = pytest.mark.root


async def test_requests_and_connections_are_logged_with_the_same_fields(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    async with two_hops(start_proxy, pair, tmp_path) as proxies:
        assert (await proxies.call("-A", "tester", f"http://{VIRTUAL}/open?x=1"))[0] == "200"
        await send_bytes(proxies.namespace)
        expected = {
            "front": {
                "upstream_cluster": "outbound|{port}||web.default.svc.cluster.local",
                "downstream_peer": None,
            },
            "web": {"upstream_cluster": "inbound|{inbound}||", "downstream_peer": IDENTITIES["front"]},
        }
        for side, more in expected.items():
            running = getattr(proxies, side)
            found = await eventually(lambda running=running: _both(running.accesses()))
            request, connection = found
            for entry, port, inbound in ((request, 80, 8080), (connection, 81, 8081)):
                for key, value in more.items():
                    wanted = value and value.format(port=port, inbound=inbound)
                    assert entry[key] == wanted, (side, key, entry)
                assert entry["upstream_host"] == f"{SERVER}:{inbound}", (side, entry)
                assert entry["downstream_remote_address"].startswith(f"{CLIENT}:")
                assert entry["response_flags"] == "-", entry
            assert request["path"] == "/open?x=1"
            assert request["response_code"] == 200
            assert request["response_code_details"] == "via_upstream"
            assert request["user_agent"] == "tester"
            assert request["protocol"] == "HTTP/1.1" or side == "web", entry
            assert connection["bytes_received"] == len(b"GET /raw HTTP/1.0\r\n\r\n")
            assert connection["bytes_sent"] > 0
        assert proxies.front.accesses()[0]["upstream_peer"] == IDENTITIES["web"]


def _both(lines: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """A request's line and a connection's."""
    requests = [line for line in lines if line.get("path")]
    connections = [line for line in lines if "path" not in line]
    return (requests[0], connections[0]) if requests and connections else None


async def test_a_telemetry_object_says_what_is_logged(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    """One workload in a layout of its own, the other not at all."""
    layout = {"labels": {"what": "%REQ(:METHOD)% %REQ(:PATH)%", "code": "%RESPONSE_CODE%"}}
    providers = [{"name": "short", "envoyFileAccessLog": {"logFormat": layout}}]
    chosen = {
        "selector": {"matchLabels": {"app": "web"}},
        "accessLogging": [{"providers": [{"name": "short"}]}],
    }
    objects = [
        configuration("MeshConfig", "default", {"extensionProviders": providers}),
        configuration("Telemetry", "none", {"accessLogging": [{"disabled": True}]}, "istio-system"),
        configuration("Telemetry", "web", chosen),
    ]
    async with two_hops(start_proxy, pair, tmp_path, *objects) as proxies:
        assert (await proxies.call(f"http://{VIRTUAL}/open"))[0] == "200"
        found = await eventually(proxies.web.accesses)
        assert found == [{"what": "GET /open", "code": 200}]
        assert proxies.front.accesses() == []

"""A caller and a service in network namespaces of their own, each behind a proxy: what a sidecar sees."""

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from mesh_testing.control_plane import ControlPlane, TestAuthority, control_plane, eventually
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.running import Running, StartProxy

CLIENT, SERVER, VIRTUAL = "10.66.0.1", "10.66.0.2", "10.96.0.1"
COLLECTOR = "10.66.0.3"
"""An address of no pod, on the client's side."""
IDENTITIES = {name: f"spiffe://cluster.local/ns/default/sa/{name}" for name in ("front", "web")}
NO_REVERSE_PATH_FILTER = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done"
PROGRAM = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = f"{self.client_address[0]} {self.headers.get('x-forwarded-client-cert')}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_PUT = do_DELETE = do_GET
import threading
other = http.server.ThreadingHTTPServer(("0.0.0.0", 8081), Handler)
threading.Thread(target=other.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""

SENDER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), source_address=(sys.argv[3], 0)) as connection:
    connection.sendall(b"GET /raw HTTP/1.0\\r\\n\\r\\n")
    while connection.recv(4096):
        pass
"""


@contextmanager
def linked_namespaces() -> Iterator[tuple[str, str]]:
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
        ip -n {client} addr add {COLLECTOR}/24 dev link0
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
async def program(namespace: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The system's Python with `arguments`, as the pod's program would run."""
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", namespace, "setpriv", "--reuid=65534", "--clear-groups",
        "/usr/bin/python3", "-u", *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
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


async def send_bytes(namespace: str) -> None:
    """Some bytes to port 81 of the service, which is not HTTP, and all of the answer."""
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", namespace, "/usr/bin/python3", "-c", SENDER, VIRTUAL, "81", CLIENT
    )
    assert await process.wait() == 0


class TwoHops:
    """`front` calls `web` at 10.96.0.1: port 80 is HTTP, 81 plain TCP, 82 of a protocol to be detected."""

    def __init__(
        self, namespace: str, planes: tuple[ControlPlane, ControlPlane], proxies: tuple[Running, Running]
    ) -> None:
        self.namespace = namespace
        self._planes = planes
        self.front, self.web = proxies

    async def call(self, *arguments: str) -> tuple[str, str]:
        """Status and body of one request; 000 if there was no answer."""
        return await call(self.namespace, *arguments)

    async def answers(self, expected: str, *arguments: str) -> str:
        """Wait until a request has this status, since a change takes a moment, and give its body."""
        found: list[str] = []

        async def asked() -> bool:
            status, body = await self.call(*arguments)
            found[:] = [status, body]
            return status == expected

        try:
            await eventually(asked, 10)
        except AssertionError as error:
            raise AssertionError(f"{arguments}: expected {expected}, found {found}") from error
        return found[1]

    def publish(self, kind: str, name: str, spec: dict[str, Any], namespace: str = "default") -> None:
        self._update([configuration(kind, name, spec, namespace)], [])

    def withdraw(self, kind: str, name: str, namespace: str = "default") -> None:
        self._update([], [("security.istio.io", kind, namespace, name)])

    def _update(self, objects: list[dict[str, Any]], gone: list[tuple[str, str, str, str]]) -> None:
        for plane in self._planes:
            registry = plane.discovery.snapshot.registry
            plane.discovery.publish(registry.update(objects, gone))


@asynccontextmanager
async def two_hops(
    start_proxy: StartProxy, pair: tuple[str, str], folder: Path, *objects: dict[str, Any]
) -> AsyncIterator[TwoHops]:
    client, server = pair
    registry = Registry().update(
        [
            service("web", address=VIRTUAL, http=80, tcp=81, x=82),
            endpoint_slice("web", [SERVER], http=8080, tcp=8081, x=8080),
            pod("front-1", CLIENT, account="front", app="front"),
            pod("web-1", SERVER, account="web", ports={"http": 8080, "tcp-raw": 8081}, app="web"),
            *objects,
        ]
    )
    for name in ("client", "server"):
        (folder / name).mkdir()
    authority = TestAuthority()
    front = Proxy(ProxyKind.SIDECAR, "default", "front-1", CLIENT, Labels.of({"app": "front"}), "front")
    web = Proxy(ProxyKind.SIDECAR, "default", "web-1", SERVER, Labels.of({"app": "web"}), "web")
    async with (
        control_plane(registry, folder / "client", authority, IDENTITIES["front"]) as outbound,
        control_plane(registry, folder / "server", authority, IDENTITIES["web"]) as inbound,
        program(server, "-c", PROGRAM),
        start_proxy(front, outbound.path, folder / "client", namespace=client) as one,
        start_proxy(web, inbound.path, folder / "server", namespace=server) as other,
    ):
        for running, plane in ((one, outbound), (other, inbound)):
            status = await running.synced(plane.discovery)
            assert [each.reason for each in status.types if each.reason] == []
        yield TwoHops(client, (outbound, inbound), (one, other))

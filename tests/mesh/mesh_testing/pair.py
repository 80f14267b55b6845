"""A client and a server, each in a network namespace behind its proxy: a real Envoy, or our own."""

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from mesh_testing.control_plane import TestAuthority, control_plane
from mesh_testing.envoy import Envoy, envoy
from mesh_testing.hauberk_proxy import hauberk_proxy

CLIENT, SERVER, VIRTUAL = "10.66.0.1", "10.66.0.2", "10.96.0.1"
IDENTITIES = {name: f"spiffe://cluster.local/ns/default/sa/{name}" for name in ("front", "web")}
NO_REVERSE_PATH_FILTER = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done"
PROGRAM = """
import http.server, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{self.client_address[0]} {self.headers.get('x-forwarded-client-cert')}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
raw = http.server.ThreadingHTTPServer(("0.0.0.0", 8081), Handler)
threading.Thread(target=raw.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
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


@dataclass
class TwoHops:
    """The proxies of `front` and of `web`, which it calls."""

    front: Envoy
    web: Envoy


@asynccontextmanager
async def two_hops(
    registry: Registry, folder: Path, pair: tuple[str, str], *, ours: bool = False
) -> AsyncIterator[TwoHops]:
    """`front` calls `web`, each behind its proxy, which has taken all that it was sent."""
    for side in ("client", "server"):
        (folder / side).mkdir()
    authority = TestAuthority()
    front = Proxy(ProxyKind.SIDECAR, "default", "front-1", CLIENT, Labels.of({"app": "front"}), "front")
    web = Proxy(ProxyKind.SIDECAR, "default", "web-1", SERVER, Labels.of({"app": "web"}), "web")
    client, server = pair
    start = hauberk_proxy if ours else envoy
    async with (
        control_plane(registry, folder / "client", authority, IDENTITIES["front"]) as outbound,
        control_plane(registry, folder / "server", authority, IDENTITIES["web"]) as inbound,
        program(server),
        start(front, outbound.path, folder / "client", namespace=client) as one,
        start(web, inbound.path, folder / "server", namespace=server) as other,
    ):
        for running, plane in ((one, outbound), (other, inbound)):
            status = await running.synced(plane.discovery)
            assert [each.reason for each in status.types if each.reason] == []
        yield TwoHops(one, other)

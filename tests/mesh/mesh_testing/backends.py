"""Small HTTP programs on loopback addresses, and a proxy in front of them as a gateway."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from mesh_testing.control_plane import ControlPlane, control_plane
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.running import Running, StartProxy

GATEWAY = Proxy(
    ProxyKind.ROUTER, "default", "gateway", "127.0.0.1", Labels.of({"istio": "ingressgateway"}), "gateway"
)
VERSIONS = {"v1": "127.0.0.2", "v2": "127.0.0.3", "v3": "127.0.0.4"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Heard:
    """A request as a program got it."""

    version: str
    host: str
    body: bytes


class Front:
    """What a test talks to."""

    def __init__(
        self,
        plane: ControlPlane,
        running: Running,
        port: int,
        session: aiohttp.ClientSession,
        heard: list[Heard],
        programs_port: int = 0,
    ) -> None:
        self.plane = plane
        self.programs_port = programs_port
        self.running = running
        self.port = port
        self.session = session
        self.heard = heard
        """The requests that came to the programs, all versions' in one list."""

    @property
    def answered(self) -> Counter[str]:
        """How many requests came to each version."""
        return Counter(one.version for one in self.heard)

    async def get(
        self, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, Any], Any]:
        """Status, body if it is JSON, headers. `_` in a header's name stands for `-`."""
        named = {"host": "reviews.example"} | {key.replace("_", "-"): value for key, value in headers.items()}
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.session.request(
            method, url, headers=named, data=body, allow_redirects=False
        ) as response:
            found = (
                await response.json() if "json" in response.content_type else {"text": await response.text()}
            )
            return response.status, found, response.headers

    def publish(self, *objects: dict[str, Any]) -> None:
        """Change or add objects."""
        self.plane.discovery.publish(self.plane.discovery.snapshot.registry.update(objects))

    async def many(self, count: int, path: str = "/", **headers: str) -> list[tuple[int, Any, Any]]:
        """Requests at the same time."""
        return await asyncio.gather(*(self.get(path, **headers) for _ in range(count)))


@asynccontextmanager
async def front(
    start_proxy: StartProxy,
    objects: Iterable[dict[str, Any]],
    folder: Path,
    gateway_name: str = "",
    nobody_at: tuple[str, ...] = (),
    **labels: str,
) -> AsyncIterator[Front]:
    """`reviews` in three versions behind a gateway that serves every host; `objects` say how, `labels` are its own.

    At the addresses `nobody_at` are endpoints of the service too, and nobody listens there.
    """
    backend_port, port = free_port(), free_port()
    heard: list[Heard] = []
    runners = [await _backend(version, address, backend_port, heard) for version, address in VERSIONS.items()]
    facts = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}},
        service("reviews", address="10.96.0.9", http=9080),
        endpoint_slice("reviews", [*VERSIONS.values(), *nobody_at], http=backend_port),
        *(
            pod(version, address, host_network=True, app="reviews", version=version)
            for version, address in VERSIONS.items()
        ),
        destination_rule(),
        configuration(
            "Gateway",
            "gateway",
            {
                "selector": {"istio": "ingressgateway"},
                "servers": [{"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
            },
        ),
        *objects,
    ]
    registry = Registry().update(facts)
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with (
            control_plane(registry, folder) as plane,
            start_proxy(_proxy(gateway_name, labels), plane.path, folder) as running,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector) as session,
        ):
            status = await running.synced(plane.discovery)
            assert [one.reason for one in status.types if one.reason] == [], running.log.read_text()
            yield Front(plane, running, port, session, heard, backend_port)
    finally:
        for runner in runners:
            await runner.cleanup()


def _proxy(gateway_name: str, more: dict[str, str]) -> Proxy:
    labels = {**dict(GATEWAY.labels.items), **more}
    if gateway_name:
        labels["gateway.networking.k8s.io/gateway-name"] = gateway_name
    return replace(GATEWAY, labels=Labels.of(labels))


async def _backend(version: str, address: str, port: int, heard: list[Heard]) -> web.AppRunner:
    """Does as the request's headers ask.

    `sleep` so many seconds, `answer` with a status, be `broken` or `hang-up` if it is this version, have `failures`: so
    many of the requests with that `token`.
    """
    tokens: Counter[str] = Counter()

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = request.headers
        heard.append(Heard(version, request.host, await request.read()))
        if request.path == "/echo":
            return await _echo(request)
        if request.path == "/endless":
            return await _endless(request)
        if request.path == "/large":
            return web.Response(body=bytes(64 << 20))
        await asyncio.sleep(float(headers.get("sleep", "0")))
        if headers.get("hang-up") == version and request.transport is not None:
            request.transport.abort()
        if headers.get("broken") == version:
            return web.Response(status=503)
        tokens[headers.get("token", "")] += 1
        if tokens[headers.get("token", "")] <= int(headers.get("failures", "0")):
            return web.Response(status=int(headers.get("answer", "503")))
        told = {
            "version": version,
            "path": request.path_qs,
            "method": request.method,
            "headers": {key.lower(): value for key, value in request.headers.items()},
        }
        return web.json_response(told, status=int(headers.get("answer", "200")))

    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    return runner


async def _endless(request: web.Request) -> web.StreamResponse:
    """Sends for as long as somebody reads."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(1 << 16))


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"heard {message.data}")
    return socket


def destination_rule(**policy: Any) -> dict[str, Any]:
    """The versions as subsets, under a traffic policy."""
    subsets = [{"name": version, "labels": {"version": version}} for version in VERSIONS]
    return configuration(
        "DestinationRule", "reviews", {"host": "reviews", "subsets": subsets, "trafficPolicy": policy}
    )


def virtual_service(*http: dict[str, Any], name: str = "reviews", **more: Any) -> dict[str, Any]:
    return configuration(
        "VirtualService",
        name,
        {"hosts": ["reviews.example"], "gateways": ["gateway"], "http": list(http), **more},
    )


def to(subset: str, weight: int | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"destination": {"host": "reviews", "subset": subset}}
    if weight is not None:
        made["weight"] = weight
    return made

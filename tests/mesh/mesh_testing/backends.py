"""Small HTTP programs on loopback addresses, and a proxy in front of them as a gateway."""

import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

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


class Front:
    """What a test talks to."""

    def __init__(
        self,
        plane: ControlPlane,
        running: Running,
        port: int,
        session: aiohttp.ClientSession,
        answered: Counter[str],
    ) -> None:
        self.plane = plane
        self.running = running
        self.port = port
        self._session = session
        self.answered = answered
        """How many requests each version has answered."""

    async def get(
        self, path: str = "/", method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, Any], Any]:
        """Status, body if it is JSON, headers. `_` in a header's name stands for `-`."""
        named = {"host": "reviews.example"} | {key.replace("_", "-"): value for key, value in headers.items()}
        async with self._session.request(
            method, f"http://127.0.0.1:{self.port}{path}", headers=named, allow_redirects=False
        ) as response:
            body = (
                await response.json() if "json" in response.content_type else {"text": await response.text()}
            )
            return response.status, body, response.headers


@asynccontextmanager
async def front(
    start_proxy: StartProxy, objects: Iterable[dict[str, Any]], folder: Path, gateway_name: str = ""
) -> AsyncIterator[Front]:
    """`reviews` with three versions behind a gateway that serves every host; `objects` say how."""
    backend_port, port = free_port(), free_port()
    answered: Counter[str] = Counter()
    runners = [
        await _backend(version, address, backend_port, answered) for version, address in VERSIONS.items()
    ]
    facts = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}},
        service("reviews", address="10.96.0.9", http=9080),
        endpoint_slice("reviews", list(VERSIONS.values()), http=backend_port),
        *(
            pod(version, address, host_network=True, app="reviews", version=version)
            for version, address in VERSIONS.items()
        ),
        configuration(
            "DestinationRule",
            "reviews",
            {
                "host": "reviews",
                "subsets": [{"name": version, "labels": {"version": version}} for version in VERSIONS],
            },
        ),
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
    try:
        async with (
            control_plane(registry, folder) as plane,
            start_proxy(_proxy(gateway_name), plane.path, folder) as running,
            aiohttp.ClientSession() as session,
        ):
            status = await running.synced(plane.discovery)
            assert [one.reason for one in status.types if one.reason] == [], running.log.read_text()
            yield Front(plane, running, port, session, answered)
    finally:
        for runner in runners:
            await runner.cleanup()


def _proxy(gateway_name: str) -> Proxy:
    labels = dict(GATEWAY.labels.items)
    if gateway_name:
        labels["gateway.networking.k8s.io/gateway-name"] = gateway_name
    return replace(GATEWAY, labels=Labels.of(labels))


async def _backend(version: str, address: str, port: int, answered: Counter[str]) -> web.AppRunner:
    async def answer(request: web.Request) -> web.Response:
        answered[version] += 1
        told = {
            "version": version,
            "path": request.path_qs,
            "method": request.method,
            "headers": {key.lower(): value for key, value in request.headers.items()},
        }
        if request.headers.get("answer"):
            return web.json_response(told, status=int(request.headers["answer"]))
        return web.json_response(told)

    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    return runner


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

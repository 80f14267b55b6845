"""What one namespace's objects may not take from another's at a gateway that both use: names, ports, the listener."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from mesh_testing.backends import Front, free_port, front
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.running import StartProxy

from hauberk.mesh.gateway_api import convert
from hauberk.mesh.registry import Registry

GROUP = "gateway.networking.k8s.io"
EARLY, LATE = "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"
BANK_ALONE = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "bank"}}}}
EVERYBODY = {"namespaces": {"from": "All"}}
NAMESPACES: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": name}}}
    for name in ("bank", "evil")
]


def listeners(*told: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {"listeners": list(told)},
    }


def listener(
    name: str, port: int, protocol: str, admits: dict[str, Any], hostname: str = ""
) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "port": port, "protocol": protocol, "allowedRoutes": admits}
    if hostname:
        made["hostname"] = hostname
    if protocol == "TLS":
        made["tls"] = {"mode": "Passthrough"}
    return made


def route(kind: str, namespace: str, rules: list[dict[str, Any]], *hostnames: str) -> dict[str, Any]:
    spec = {
        "parentRefs": [{"name": "edge", "namespace": "default"}],
        "hostnames": list(hostnames),
        "rules": rules,
    }
    return configuration(kind, namespace, spec, namespace, EARLY if namespace == "bank" else LATE)


def redirects(path: str, to: str) -> dict[str, Any]:
    """A rule that answers by itself, so that its answer says whose it is."""
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": path}}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": to}}],
    }


PASSES_ON = [{"backendRefs": [{"name": "program", "port": 443}]}]


@asynccontextmanager
async def programs(*namespaces: str) -> AsyncIterator[list[dict[str, Any]]]:
    """In each namespace a service `program` that answers every connection with the namespace's name."""
    made: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        for index, namespace in enumerate(namespaces):

            async def answer(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = namespace
            ) -> None:
                await reader.read(65536)  # what is closed unread is reset, and the answer is lost
                writer.write(name.encode())
                await writer.drain()
                writer.close()

            address = f"127.0.0.{index + 5}"
            server = await stack.enter_async_context(await asyncio.start_server(answer, address, 0))
            made += [
                service("program", namespace, f"10.96.0.{index + 20}", tls=443),
                endpoint_slice("program", [address], namespace, tls=server.sockets[0].getsockname()[1]),
                pod("program", address, namespace, host_network=True, app="program"),
            ]
        yield made


async def answer_for(port: int, name: str) -> str:
    """What comes back for a ClientHello of a server name; nothing if the connection is closed."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(outgoing.read())
    try:
        return (await asyncio.wait_for(reader.read(), 10)).decode()
    except ConnectionResetError:
        return ""
    finally:
        writer.close()


async def heard(port: int, name: str, expected: str) -> None:
    """Wait until this is what answers for a server name."""

    async def answers() -> bool:
        return await answer_for(port, name) == expected

    await eventually(answers)


async def place(edge: Front, path: str, host: str) -> tuple[int, str]:
    status, _, headers = await edge.get(path, host=host)
    return status, headers.get("location", "").removesuffix(path)


async def test_an_http_route_stays_at_the_listeners_that_admit_it(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    port = free_port()
    objects = [
        *NAMESPACES,
        listeners(
            listener("tenants", port, "HTTP", EVERYBODY),
            listener("admin", port, "HTTP", BANK_ALONE, "admin.example.com"),
            listener("vault", port, "HTTP", BANK_ALONE, "vault.example.com"),
        ),
        route("HTTPRoute", "bank", [redirects("/", "bank.test")], "admin.example.com"),
        route(
            "HTTPRoute",
            "evil",
            [redirects("/login", "evil.test")],
            "admin.example.com",
            "*.example.com",
            "evil.test",
        ),
    ]
    async with front(start_proxy, objects, tmp_path, gateway_name="edge") as edge:
        edge.port = port
        assert await place(edge, "/login", "admin.example.com") == (302, "http://bank.test")
        assert await place(edge, "/login", "evil.test") == (302, "http://evil.test")
        assert await place(edge, "/login", "other.example.com") == (302, "http://evil.test")
        # No route of the bank's is there, and the name is its listener's all the same.
        assert await place(edge, "/login", "vault.example.com") == (404, "")


def test_a_route_that_only_asks_for_another_listeners_name_is_told_so() -> None:
    facts = [
        *NAMESPACES,
        listeners(
            listener("tenants", 80, "HTTP", EVERYBODY),
            listener("admin", 80, "HTTP", BANK_ALONE, "*.example.com"),
        ),
        route("HTTPRoute", "evil", [redirects("/", "evil.test")], "admin.example.com"),
    ]
    converted = convert(Registry().update(facts))
    assert converted.virtual_services == ()
    (parent,) = converted.statuses[0].parents
    accepted = parent.conditions[0]
    assert (accepted.status, accepted.reason) == (False, "NoMatchingListenerHostname")


async def test_a_tls_route_takes_no_name_of_another_listener(start_proxy: StartProxy, tmp_path: Path) -> None:
    port = free_port()
    async with programs("bank", "evil") as running:
        objects = [
            *NAMESPACES,
            *running,
            listeners(
                listener("tenants", port, "TLS", EVERYBODY, "*.tenants.com"),
                listener("bank", port, "TLS", BANK_ALONE, "bank.example.com"),
            ),
            route("TLSRoute", "evil", PASSES_ON, "a.tenants.com", "bank.example.com"),
        ]
        async with front(start_proxy, objects, tmp_path, gateway_name="edge") as edge:
            await heard(port, "a.tenants.com", "evil")
            assert await answer_for(port, "bank.example.com") == ""
            registry = edge.plane.discovery.snapshot.registry
            edge.plane.discovery.publish(
                registry.update([route("TLSRoute", "bank", PASSES_ON, "bank.example.com")])
            )
            await heard(port, "bank.example.com", "bank")
            assert await answer_for(port, "a.tenants.com") == "evil"

"""What one namespace's objects may not take from another's at a gateway that both use: names, ports, the listener."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from envoy.config.route.v3 import route_pb2
from google.protobuf import any_pb2
from mesh_testing.backends import GATEWAY, Front, free_port, front
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.running import StartProxy

from hauberk.mesh.gateway_api import convert
from hauberk.mesh.registry import Registry
from hauberk.mesh.serialization import ROUTE
from hauberk.mesh.server_names import ServerNames
from hauberk.mesh.snapshot import Snapshot

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
                listener("vault", port, "TLS", BANK_ALONE, "vault.tenants.com"),
            ),
            route("TLSRoute", "evil", PASSES_ON, "*.tenants.com", "bank.example.com"),
        ]
        async with front(start_proxy, objects, tmp_path, gateway_name="edge") as edge:
            await heard(port, "a.tenants.com", "evil")
            assert await answer_for(port, "bank.example.com") == ""
            assert await answer_for(port, "vault.tenants.com") == ""
            registry = edge.plane.discovery.snapshot.registry
            edge.plane.discovery.publish(
                registry.update([route("TLSRoute", "bank", PASSES_ON, "bank.example.com")])
            )
            await heard(port, "bank.example.com", "bank")
            assert await answer_for(port, "a.tenants.com") == "evil"
            edge.plane.discovery.publish(
                registry.update([route("TLSRoute", "bank", [{"backendRefs": []}], "a.tenants.com")])
            )
            await heard(port, "a.tenants.com", "")


def istio_gateway(name: str, namespace: str, created: str, *servers: dict[str, Any]) -> dict[str, Any]:
    spec = {"selector": {"istio": "ingressgateway"}, "servers": list(servers)}
    return configuration("Gateway", name, spec, namespace, created)


def server(port: int, protocol: str, *hosts: str, mode: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"port": {"number": port, "name": protocol, "protocol": protocol}, "hosts": hosts}
    return made | ({"tls": {"mode": mode}} if mode else {})


def by_name(namespace: str, gateway: str, hosts: list[str], *server_names: str) -> dict[str, Any]:
    """A VirtualService that leads these TLS server names to the namespace's program."""
    spec = {
        "hosts": hosts,
        "gateways": [gateway],
        "tls": [{"match": [{"sniHosts": [name]}], "route": [TO_PROGRAM]} for name in server_names],
    }
    return configuration("VirtualService", namespace, spec, namespace, EARLY if namespace == "bank" else LATE)


TO_PROGRAM = {"destination": {"host": "program", "port": {"number": 443}}}


async def test_a_virtual_service_has_no_server_name_beyond_its_own_hosts(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    port, gateway = free_port(), "default/edge"
    served = server(port, "TLS", "bank/bank.example.com", "evil/evil.example.com", mode="PASSTHROUGH")
    asked = by_name("evil", gateway, ["evil.example.com"], "bank.example.com", "*")
    async with programs("bank", "evil") as running:
        objects = [*running, istio_gateway("edge", "default", EARLY, served), asked]
        async with front(start_proxy, objects, tmp_path) as edge:
            await heard(port, "evil.example.com", "evil")
            assert await answer_for(port, "bank.example.com") == ""
            registry = edge.plane.discovery.snapshot.registry
            wider = by_name("evil", gateway, ["bank.example.com", "evil.example.com"], "*")
            own = by_name("bank", gateway, ["bank.example.com"], "bank.example.com")
            edge.plane.discovery.publish(registry.update([wider, own]))
            await heard(port, "bank.example.com", "bank")
            await heard(port, "evil.example.com", "evil")


async def test_no_gateway_holds_up_the_listener_of_another(start_proxy: StartProxy, tmp_path: Path) -> None:
    """Names and ports that are given already stay where they are, and the rest of the younger Gateway is served."""
    port, plain = free_port(), free_port()
    asked = ["bank.example.com", "evil.example.com", "*-x.example.com"]
    async with programs("bank", "evil") as running:
        tcp = configuration(
            "VirtualService",
            "plain",
            {"hosts": ["*"], "gateways": ["default/edge"], "tcp": [{"route": [TO_PROGRAM]}]},
            "bank",
        )
        objects = [
            *running,
            istio_gateway(
                "edge",
                "default",
                EARLY,
                server(port, "TLS", "bank/Bank.example.com", mode="PASSTHROUGH"),
                server(plain, "TCP", "*"),
            ),
            istio_gateway(
                "edge",
                "evil",
                LATE,
                server(port, "TLS", *(f"*/{name}" for name in asked), mode="PASSTHROUGH"),
                server(port, "HTTPS", "*/bank.example.com", mode="ISTIO_MUTUAL"),
                server(plain, "HTTP", "*"),
            ),
            by_name("bank", "default/edge", ["bank.example.com"], "bank.example.com", "bank.example.com"),
            by_name("evil", "evil/edge", asked, *asked, "*"),
            tcp,
        ]
        async with front(start_proxy, objects, tmp_path):  # which sees that the proxy refuses nothing
            await heard(port, "bank.example.com", "bank")
            await heard(port, "evil.example.com", "evil")
            await heard(plain, "bank.example.com", "bank")


def test_who_has_a_server_name_is_said(caplog: pytest.LogCaptureFixture) -> None:
    names = ServerNames(443)
    assert names.give(["a.example", "*.example", "*"], "Gateway a/a") == ["a.example", "*.example", "*"]
    assert names.give(["a.example", "b.example", "*"], "Gateway b/b") == ["b.example"]
    assert "Gateway b/b does not get the server name a.example: Gateway a/a has it" in caplog.text


def test_one_virtual_service_is_served_at_every_host_that_it_covers() -> None:
    facts = [
        istio_gateway("edge", "default", EARLY, server(80, "HTTP", "a.example.com", "b.example.com")),
        configuration(
            "VirtualService",
            "all",
            {
                "hosts": ["*.example.com"],
                "gateways": ["edge"],
                "http": [{"directResponse": {"status": 204}}],
            },
        ),
    ]
    found = Snapshot(Registry().update(facts)).resources(GATEWAY).of(ROUTE)
    (resource,) = found.values()
    made = route_pb2.RouteConfiguration()
    assert any_pb2.Any.FromString(resource.any).Unpack(made)
    assert [list(one.domains) for one in made.virtual_hosts] == [["a.example.com"], ["b.example.com"]]

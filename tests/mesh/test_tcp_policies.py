"""Traffic policies of TCP connections, in a real Envoy and in our proxy: times, limits, hashing, tunnels."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from mesh_testing.backends import VERSIONS, Front, free_port, front
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, endpoint_slice, service
from mesh_testing.running import StartProxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says at which address it was reached, then everything once more."""
    writer.write(writer.get_extra_info("sockname")[0].encode() + b"\n")
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()


async def http_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP/1.1 proxy that says what it was asked for, and echoes in capitals. It refuses `forbidden:1`."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    asked, *fields = head.split("\r\n")
    hosts = [field for field in fields if field.lower().startswith("host:")]
    if "forbidden:1" in head:
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        return
    post = asked.startswith("POST")

    def send(data: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(data), data) if post else data)

    writer.write(b"HTTP/1.1 200 OK\r\n" + (b"transfer-encoding: chunked\r\n" if post else b"") + b"\r\n")
    send(f"{asked} {hosts[0].partition(':')[2].strip()}\n".encode())
    while True:
        if post:
            size = int(await reader.readline(), 16)
            data = await reader.readexactly(size)
            await reader.readexactly(2)
        else:
            data = await reader.read(4096)
        if not data:
            break
        send(data.upper())
    writer.close()


@asynccontextmanager
async def gateway_of(
    start_proxy: StartProxy, folder: Path, policy: dict[str, Any], program: Any = echo
) -> AsyncIterator[Front]:
    """A gateway that passes TCP connections on to `database`, at three addresses, under a traffic policy."""
    programs_port, port = free_port(), free_port()
    servers = [await asyncio.start_server(program, address, programs_port) for address in VERSIONS.values()]
    listening = {"port": {"number": port, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}
    objects = [
        service("database", address="10.96.0.40", tcp=5432),
        endpoint_slice("database", list(VERSIONS.values()), tcp=programs_port),
        configuration("DestinationRule", "database", {"host": "database", "trafficPolicy": policy}),
        configuration("Gateway", "tcp", {"selector": {"istio": "ingressgateway"}, "servers": [listening]}),
        configuration(
            "VirtualService",
            "database",
            {
                "hosts": ["*"],
                "gateways": ["tcp"],
                "tcp": [{"route": [{"destination": {"host": "database"}}]}],
            },
        ),
    ]
    try:
        async with front(start_proxy, objects, folder) as gateway:
            gateway.port = port
            yield gateway
    finally:
        for one in servers:
            one.close()


async def connect(gateway: Front, source: str = "127.0.0.1") -> Streams:
    return await asyncio.open_connection("127.0.0.1", gateway.port, local_addr=(source, 0))


async def test_a_connection_without_bytes_is_closed(start_proxy: StartProxy, tmp_path: Path) -> None:
    pool = {"connectionPool": {"tcp": {"idleTimeout": "1s"}}}
    async with gateway_of(start_proxy, tmp_path, pool) as gateway:
        reader, writer = await connect(gateway)
        await reader.readline()
        began = monotonic()
        for _ in range(8):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            await asyncio.sleep(0.2)
        assert await asyncio.wait_for(reader.read(), 10) == b"", "closed by nobody but the proxy"
        assert 2 <= monotonic() - began < 8
        writer.close()


async def test_no_connection_lasts_longer(start_proxy: StartProxy, tmp_path: Path) -> None:
    pool = {"connectionPool": {"tcp": {"maxConnectionDuration": "1s"}}}
    async with gateway_of(start_proxy, tmp_path, pool) as gateway:
        began = monotonic()
        reader, writer = await connect(gateway)
        await reader.readline()

        async def talk() -> None:
            while True:
                writer.write(b"x")
                if await reader.read(1) != b"x":
                    return
                await asyncio.sleep(0.05)

        with suppress(ConnectionError):  # closed while a byte was on its way
            await asyncio.wait_for(talk(), 10)
        assert 0.9 <= monotonic() - began < 6
        writer.close()


async def test_the_limit_of_connections(start_proxy: StartProxy, tmp_path: Path) -> None:
    pool = {"connectionPool": {"tcp": {"maxConnections": 2}}, "loadBalancer": {"simple": "ROUND_ROBIN"}}
    async with gateway_of(start_proxy, tmp_path, pool) as gateway:
        held = [await connect(gateway) for _ in range(2)]
        for reader, _ in held:
            assert await reader.readline()
        reader, writer = await connect(gateway)
        assert await asyncio.wait_for(reader.read(), 5) == b"", "one too many"
        writer.close()

        def logged() -> list[str]:
            return [one["response_flags"] for one in gateway.running.accesses()]

        assert await eventually(logged) == ["UO"]
        held[0][1].close()

        async def admitted() -> bool:
            reader, writer = await connect(gateway)
            line = await asyncio.wait_for(reader.readline(), 5)
            writer.close()
            return bool(line)

        await eventually(admitted)
        held[1][1].close()


async def test_a_caller_stays_with_its_endpoint(start_proxy: StartProxy, tmp_path: Path) -> None:
    async def reached(gateway: Front, source: str) -> str:
        reader, writer = await connect(gateway, source)
        line = await reader.readline()
        writer.close()
        return line.decode().strip()

    balancer = {"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 251}}}}
    async with gateway_of(start_proxy, tmp_path, balancer) as gateway:
        found = {
            f"127.0.1.{last}": {await reached(gateway, f"127.0.1.{last}") for _ in range(4)}
            for last in range(1, 25)
        }
        assert {len(one) for one in found.values()} == {1}
        assert len(Counter(next(iter(one)) for one in found.values())) == 3, "all endpoints for all callers"


@pytest.mark.parametrize("protocol", ["CONNECT", "POST"])
async def test_connections_go_through_a_proxy(start_proxy: StartProxy, tmp_path: Path, protocol: str) -> None:
    tunnel = {"targetHost": "db.example", "targetPort": 5432, "protocol": protocol}
    async with gateway_of(start_proxy, tmp_path, {"tunnel": tunnel}, http_proxy) as gateway:
        for _ in range(2):
            reader, writer = await connect(gateway)
            writer.write(b"hello ")
            asked = (await asyncio.wait_for(reader.readline(), 5)).decode().split()
            if protocol == "CONNECT":
                assert asked == ["CONNECT", "db.example:5432", "HTTP/1.1", "db.example:5432"]
            else:
                assert asked == ["POST", "/", "HTTP/1.1", "db.example:5432"]
            writer.write(b"database")
            assert await asyncio.wait_for(reader.readexactly(14), 5) == b"HELLO DATABASE"
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()


async def test_a_tunnel_that_is_refused_is_no_connection(start_proxy: StartProxy, tmp_path: Path) -> None:
    tunnel = {"targetHost": "forbidden", "targetPort": 1}
    async with gateway_of(start_proxy, tmp_path, {"tunnel": tunnel}, http_proxy) as gateway:
        reader, writer = await connect(gateway)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()

"""What a client of `port-forward` can have the node hold is bounded."""

import asyncio
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from tests.node.test_spdy import Client

from hauberk.node import port_forward

pytestmark = [pytest.mark.root, pytest.mark.timeout(30)]


@asynccontextmanager
async def forwarded() -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client's connection to a pod that is this machine."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")

    async def handle(request: web.Request) -> web.StreamResponse:
        return await port_forward.serve(request, Path("/proc/self/ns/net"), "127.0.0.1")

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/", protocols=port_forward.PROTOCOLS) as connection,
        ):
            yield connection
    finally:
        await runner.cleanup()


async def received(connection: aiohttp.ClientWebSocketResponse) -> bytes:
    """All that comes until the node ends the connection."""
    found = b""
    async with asyncio.timeout(20):
        while (message := await connection.receive()).type is aiohttp.WSMsgType.BINARY:
            found += message.data
    return found


@contextmanager
def deaf() -> Iterator[int]:
    """A port where no connection comes about: nobody takes any, and the queue is full."""
    with socket.socket() as listening, socket.socket() as one, socket.socket() as two:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        for each in (one, two):
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        yield port


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_bytes_go_to_and_fro() -> None:
    async with echo() as port, forwarded() as connection:
        client = Client()
        await connection.send_bytes(client.open(1, streamtype="error", port=str(port), requestid="0"))
        await connection.send_bytes(client.open(3, streamtype="data", port=str(port), requestid="0"))
        await connection.send_bytes(struct.pack(">II", 3, 5) + b"hello")
        await connection.send_bytes(struct.pack(">II", 3, 1 << 24))
        found = b""
        while struct.pack(">II", 3, 1 << 24) not in found:
            found += (await connection.receive(20)).data
    assert struct.pack(">II", 3, 5) + b"hello" in found


@pytest.mark.parametrize("kind", ["error", "data"])
async def test_more_streams_than_a_connection_may_have_end_it(kind: str) -> None:
    with deaf() as port:
        async with forwarded() as connection:
            client = Client()
            for number in range(port_forward.MOST_STREAMS + 1):
                await connection.send_bytes(
                    client.open(2 * number + 1, streamtype=kind, port=str(port), requestid=str(number))
                )
            await received(connection)


@pytest.mark.parametrize("kinds", [("error", "error"), ("data", "data"), ("error", "data")])
async def test_a_stream_that_is_in_use_is_not_begun_again(kinds: tuple[str, str]) -> None:
    with deaf() as port:
        async with forwarded() as connection:
            client = Client()
            for kind in kinds:
                await connection.send_bytes(client.open(1, streamtype=kind, port=str(port), requestid=kind))
            await received(connection)


async def test_streams_that_wait_for_their_connection_cost_no_threads() -> None:
    before = threading.active_count()
    with deaf() as port:
        async with forwarded() as connection:
            client = Client()
            for number in range(100):
                await connection.send_bytes(client.open(2 * number + 1, streamtype="data", port=str(port)))
            async with asyncio.timeout(20):
                for _ in range(100):
                    await connection.receive()
                while threading.active_count() > before + 5:  # noqa: ASYNC110 - threads tell nobody of their end
                    await asyncio.sleep(0.01)


async def test_a_port_where_nobody_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "CONNECT_SECONDS", 0.2)
    with deaf() as port:
        async with forwarded() as connection:
            client = Client()
            await connection.send_bytes(client.open(1, streamtype="error", port=str(port), requestid="0"))
            await connection.send_bytes(client.open(3, streamtype="data", port=str(port), requestid="0"))
            found = b""
            while b"cannot reach port" not in found:
                found += (await connection.receive(20)).data
    assert b"no answer within 0.2 s" in found

"""Our proxy's process under pressure: signals, no descriptors left, callers that are slow, rude or many."""

import asyncio
import functools
import re
import resource
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import aiohttp
import pytest
from mesh_testing.backends import Front, front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.running import StartProxy

OBJECTS = [virtual_service({"retries": {"attempts": 0}, "route": [to("v1")]})]
GET = b"GET / HTTP/1.1\r\nhost: reviews.example\r\n\r\n"
MEGABYTE = 1 << 20


def with_settings(**settings: int) -> StartProxy:
    return functools.partial(hauberk_proxy, **settings)


async def metric(gateway: Front, name: str) -> float:
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", await gateway.running.admin("/stats/prometheus"), re.M)
    return sum(map(float, found))


async def connect(gateway: Front) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", gateway.port)


async def test_sigterm_lets_requests_finish_and_takes_no_more(tmp_path: Path) -> None:
    async with front(with_settings(drain_seconds=20), OBJECTS, tmp_path) as gateway:
        idle, _ = await connect(gateway)
        kept, kept_writer = await connect(gateway)
        kept_writer.write(GET)
        await kept.readuntil(b"}}")
        under_way = asyncio.create_task(gateway.get(sleep="1"))
        await eventually(lambda: len(gateway.heard) == 2)
        began = monotonic()
        gateway.running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(kept.read(), 5) == b"", "a connection without a request is closed"
        with pytest.raises(OSError):
            await eventually(lambda: refused_to_connect(gateway))
        status, _, headers = await under_way
        assert (status, headers["connection"]) == (200, "close")
        idle.feed_eof()
        assert await asyncio.wait_for(gateway.running.process.wait(), 10) == 0
        assert monotonic() - began < 10, "it waits for the last call, not for the whole time that it has"


async def refused_to_connect(gateway: Front) -> bool:
    """Raises once nobody listens."""
    _, writer = await connect(gateway)
    writer.close()
    return False


async def test_the_time_to_drain_ends(tmp_path: Path) -> None:
    async with front(with_settings(drain_seconds=1), OBJECTS, tmp_path) as gateway:
        under_way = asyncio.create_task(gateway.get(sleep="5"))
        await eventually(lambda: len(gateway.heard) == 1)
        gateway.running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(gateway.running.process.wait(), 10) == 0
        with pytest.raises(aiohttp.ClientError):
            await under_way
        assert "what is left is cut connections=1" in gateway.running.log.read_text()


async def test_sigusr1_opens_the_logs_anew(tmp_path: Path) -> None:
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway:
        log, old = tmp_path / "hauberk-access.log", tmp_path / "old.log"
        await gateway.get("/before")
        await eventually(lambda: "/before" in log.read_text())
        log.rename(old)
        gateway.running.process.send_signal(signal.SIGUSR1)
        await eventually(log.exists)
        await gateway.get("/after")
        await eventually(lambda: "/after" in log.read_text())
        assert "/after" not in old.read_text()


async def test_no_descriptors_left(tmp_path: Path) -> None:
    """New callers wait, those who are there are served, it is said in log and metrics, and it ends by itself."""
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, AsyncExitStack() as stack:
        kept, kept_writer = await connect(gateway)
        kept_writer.write(GET)
        await kept.readuntil(b"}}")
        admin = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(tmp_path / "hauberk.sock")))
        )

        async def failed_accepts() -> float:
            async with admin.get("http://proxy/stats/prometheus") as response:
                text = await response.text()
            return float(re.findall(r"^hauberk_failed_accepts_total (\S+)$", text, re.M)[0])

        assert await failed_accepts() == 0
        resource.prlimit(gateway.running.process.pid, resource.RLIMIT_NOFILE, (40, 1024))
        crowd = [await connect(gateway) for _ in range(60)]
        await eventually(failed_accepts)
        assert gateway.running.log.read_text().count("cannot accept connections") == 1
        kept_writer.write(GET)
        assert b"200 OK" in await asyncio.wait_for(kept.readuntil(b"}}"), 5)
        for _, writer in crowd:
            writer.close()
        assert (await asyncio.wait_for(gateway.get(), 10))[0] == 200
        assert "accepting connections again" in gateway.running.log.read_text()


async def test_rude_callers_are_told_and_disturb_nobody(tmp_path: Path) -> None:
    rude = {
        b"GET / HTTP/1.1\r\n\r\n": b" 400 ",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n": b" 400 ",
        b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n": b" 400 ",
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n": b" 400 ",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n": b" 400 ",
        b"GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n": b" 400 ",
        b"GET / HTTP/1.1\r\nhost : a\r\n\r\n": b" 400 ",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd": b" 400 ",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n": b" 400 ",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n": b" 400 ",
        b"GET / HTTP/1.1\r\nhost: a\r\nlong: " + b"x" * 100_000 + b"\r\n\r\n": b" 431 ",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n": b" 431 ",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)): b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64: b"",
    }
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway:
        for sent, told in rude.items():
            reader, writer = await connect(gateway)
            writer.write(sent)
            try:
                answer = await asyncio.wait_for(reader.read(), 5)
            except TimeoutError as error:
                raise AssertionError(f"no answer to {sent[:60]!r}") from error
            assert told in answer.split(b"\r\n")[0], (sent[:60], answer[:80])
            writer.close()
            assert (await gateway.get())[0] == 200, sent
        assert all(one.host == "reviews.example" for one in gateway.heard), "none came through"


async def test_one_request_is_not_read_as_two(tmp_path: Path) -> None:
    """RFC 9112 section 6.3: both lengths are an attempt to smuggle; nothing of it reaches the program."""
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: reviews.example\r\n\r\n"
    sent = (
        b"POST /outer HTTP/1.1\r\nhost: reviews.example\r\n"
        + f"content-length: {len(smuggled)}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        + smuggled
    )
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway:
        reader, writer = await connect(gateway)
        writer.write(sent)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1
        assert gateway.heard == []


async def memory_while(gateway: Front, act: Callable[[], Awaitable[None]]) -> float:
    """By how many bytes the process grew."""
    before = await metric(gateway, "process_resident_memory_bytes")
    await act()
    return await metric(gateway, "process_resident_memory_bytes") - before


async def test_slow_callers_cost_little(tmp_path: Path) -> None:
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway:
        assert (await gateway.get())[0] == 200
        crowd = []

        async def dawdle() -> None:
            for _ in range(200):
                crowd.append(await connect(gateway))
                crowd[-1][1].write(b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 30_000)
            await eventually(lambda: _connections(gateway, 200))
            assert (await gateway.get())[0] == 200

        assert await memory_while(gateway, dawdle) < 200 * 150_000
        for _, writer in crowd:
            writer.close()


async def _connections(gateway: Front, least: int) -> bool:
    return await metric(gateway, "hauberk_worker_connections") >= least


async def test_a_caller_that_does_not_read_stops_the_program_not_the_memory(tmp_path: Path) -> None:
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway:
        assert (await gateway.get())[0] == 200
        readers = []

        async def refuse_to_read() -> None:
            for _ in range(8):
                reader, writer = await connect(gateway)
                writer.transport.pause_reading()
                writer.write(GET.replace(b"GET /", b"GET /large"))
                readers.append((reader, writer))
            await eventually(lambda: len(gateway.heard) == 9)
            for _ in range(20):
                assert (await gateway.get())[0] == 200

        assert await memory_while(gateway, refuse_to_read) < 16 * MEGABYTE
        for _, writer in readers:
            writer.close()


async def test_several_workers_share_the_work(tmp_path: Path) -> None:
    async with front(with_settings(workers=3, drain_seconds=5), OBJECTS, tmp_path) as gateway:
        crowd = [await connect(gateway) for _ in range(60)]
        for reader, writer in crowd:
            writer.write(GET)
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"}}"), 5)

        async def spread() -> bool:
            text = await gateway.running.admin("/stats/prometheus")
            found = re.findall(r'^hauberk_worker_connections{worker="\d"} (\d+)$', text, re.M)
            return len(found) == 3 and all(int(one) >= 5 for one in found) and sum(map(int, found)) == 60

        await eventually(spread)
        assert len(gateway.heard) == 60
        assert await metric(gateway, "istio_requests_total") == 60, "counted together"
        registry = gateway.plane.discovery.snapshot.registry.update([virtual_service({"route": [to("v2")]})])
        gateway.plane.discovery.publish(registry)
        gateway.heard.clear()

        async def everybody_moved() -> bool:
            gateway.heard.clear()
            for reader, writer in crowd:
                writer.write(GET)
                await asyncio.wait_for(reader.readuntil(b"}}"), 5)
            return set(gateway.answered) == {"v2"}

        await eventually(everybody_moved)
        gateway.running.process.send_signal(signal.SIGTERM)
        for reader, _ in crowd:
            assert await asyncio.wait_for(reader.read(), 5) == b""
        assert await asyncio.wait_for(gateway.running.process.wait(), 5) == 0

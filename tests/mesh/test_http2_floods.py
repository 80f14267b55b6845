"""Floods of HTTP/2 frames against the proxy's process: the connection ends, and everybody else is served meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from mesh_testing.backends import Front, front, to, virtual_service
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.http2 import POST, REQUEST, Caller, caller, memory

OBJECTS = [virtual_service({"retries": {"attempts": 0}, "route": [to("v1")]})]
MEGABYTE = 1 << 20
ENHANCE_YOUR_CALM = 11


async def attack(gateway: Front, act: Callable[[], Awaitable[None]]) -> None:
    """Others are answered while `act` goes on, and memory stays bounded."""
    assert (await gateway.get())[0] == 200
    before = await memory(gateway)
    acting = asyncio.ensure_future(act())
    answered = 0
    while not acting.done():
        assert (await asyncio.wait_for(gateway.get(), 10))[0] == 200
        answered += 1
    await acting
    assert answered > 0
    assert await memory(gateway) - before < 32 * MEGABYTE
    assert (await gateway.get())[0] == 200


FLOODS: dict[str, Frame] = {
    "ping": PingFrame(0, b"12345678"),
    "ping-ack": PingFrame(0, b"12345678", flags=["ACK"]),
    "settings": SettingsFrame(0, {3: 100}),
    "settings-ack": SettingsFrame(0, flags=["ACK"]),
    "window-update-connection": WindowUpdateFrame(0, 1),
    "window-update-stream": WindowUpdateFrame(1, 1),
    "priority-stream": PriorityFrame(1, depends_on=0, stream_weight=1),
    "priority-idle": PriorityFrame(9, depends_on=0, stream_weight=1),
    "rst-stream-closed": RstStreamFrame(3, 8),
    "data-empty": DataFrame(1, b""),
    "data-of-padding": DataFrame(1, b"", pad_length=1, flags=["PADDED"]),
    "unknown": ExtensionFrame(type=0x99, stream_id=0, body=b"grease"),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_flood_of_frames_that_serve_no_request(tmp_path: Path, name: str) -> None:
    """PING (CVE-2019-9512), SETTINGS (9515), empty frames (9518), and the others of their kind."""
    chunk = FLOODS[name].serialize() * 1000
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, caller(gateway.port) as hostile:
        hostile.send(hostile.request(1, POST, end_stream=False), hostile.request(3), RstStreamFrame(3, 8))
        await hostile.ping()

        async def act() -> None:
            await hostile.flood(chunk, 1000)
            await hostile.end()

        await attack(gateway, act)


async def test_as_many_useless_frames_as_honest_peers_send_end_nothing(tmp_path: Path) -> None:
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, caller(gateway.port) as honest:
        for stream in range(1, 401, 2):
            honest.send(
                honest.request(stream, POST, end_stream=False),
                *([DataFrame(stream, b"")] if stream < 100 else []),
                DataFrame(stream, b"", flags=["END_STREAM"]),
                PriorityFrame(stream, depends_on=0, stream_weight=1),
                PingFrame(0, b"12345678"),
                WindowUpdateFrame(0, 100),
            )
            assert await honest.answered(stream) == "200"
            honest.send(WindowUpdateFrame(stream, 100))
        assert not honest.ended


def rapid_reset(hostile: Caller) -> Iterator[list[Frame]]:
    """CVE-2023-44487: a request and its end, and the next, so that never more are open than may be."""
    for stream in range(1, 1_000_000, 2):
        yield [hostile.request(stream), RstStreamFrame(stream, 8)]


def made_reset_by_window(hostile: Caller) -> Iterator[list[Frame]]:
    """CVE-2025-8671: the caller has the proxy reset the stream, here by a window that overflows."""
    for stream in range(1, 1_000_000, 2):
        yield [hostile.request(stream), WindowUpdateFrame(stream, 0x7FFFFFFF)]


def made_reset_by_empty_update(hostile: Caller) -> Iterator[list[Frame]]:
    for stream in range(1, 1_000_000, 2):
        yield [hostile.request(stream), WindowUpdateFrame(stream, 0)]


def made_reset_by_data(hostile: Caller) -> Iterator[list[Frame]]:
    """DATA on a stream that the caller has ended."""
    for stream in range(1, 1_000_000, 2):
        yield [hostile.request(stream), DataFrame(stream, b"more")]


def made_reset_by_length(hostile: Caller) -> Iterator[list[Frame]]:
    """More DATA than `content-length` says."""
    for stream in range(1, 1_000_000, 2):
        told = (*POST, ("content-length", "1"))
        yield [hostile.request(stream, told, end_stream=False), DataFrame(stream, b"more")]


def made_reset_by_headers(hostile: Caller) -> Iterator[list[Frame]]:
    for stream in range(1, 1_000_000, 2):
        yield [hostile.request(stream, (*REQUEST, ("connection", "close")))]


def requests_beyond_the_limit(hostile: Caller) -> Iterator[list[Frame]]:
    """Streams that stay open, many more than SETTINGS_MAX_CONCURRENT_STREAMS."""
    for stream in range(1, 1_000_000, 2):
        yield [hostile.request(stream, POST, end_stream=False)]


STREAMS: list[Callable[[Caller], Iterator[list[Frame]]]] = [
    rapid_reset,
    made_reset_by_window,
    made_reset_by_empty_update,
    made_reset_by_data,
    made_reset_by_length,
    made_reset_by_headers,
    requests_beyond_the_limit,
]


@pytest.mark.parametrize("streams", STREAMS)
async def test_flood_of_streams_that_come_to_nothing(
    tmp_path: Path, streams: Callable[[Caller], Iterator[list[Frame]]]
) -> None:
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, caller(gateway.port) as hostile:
        made = streams(hostile)

        async def act() -> None:
            while not hostile.ended:
                frames = [frame for _ in range(100) for frame in next(made)]
                await hostile.flood(b"".join(frame.serialize() for frame in frames), 1)
            await hostile.end()

        await attack(gateway, act)
        assert len(gateway.heard) < 6000, "what comes of the flood at the program"


async def test_continuation_flood(tmp_path: Path) -> None:
    """CVE-2024-27316: headers that never end."""
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, caller(gateway.port) as hostile:
        hostile.send(hostile.request(1, end_headers=False))
        field = hostile.field("x", "y" * 1000)
        chunk = ContinuationFrame(1, field * 15).serialize()

        async def act() -> None:
            await hostile.flood(chunk, 10_000)
            await hostile.end()

        await attack(gateway, act)


async def test_continuation_flood_of_empty_frames(tmp_path: Path) -> None:
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, caller(gateway.port) as hostile:
        hostile.send(hostile.request(1, end_headers=False))
        chunk = ContinuationFrame(1, b"").serialize() * 1000

        async def act() -> None:
            await hostile.flood(chunk, 1000)
            await hostile.end()

        await attack(gateway, act)


async def test_headers_that_unpack_to_too_much(tmp_path: Path) -> None:
    """An HPACK bomb: one large field in the dynamic table, named by a byte each time. 60 KiB is the most."""
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, caller(gateway.port) as hostile:
        bomb = hostile.field("bomb", "x" * 4000, index=True)
        again = b"\xbe"  # the newest entry of the table
        hostile.send(hostile.request(1))
        assert await hostile.answered(1) == "200"
        frame = hostile.request(3)
        frame.data += bomb + again * 20
        hostile.send(frame)
        assert await hostile.answered(3) == "431"

        async def act() -> None:
            frame = hostile.request(5)
            frame.data += again * 12_000  # 48 MB if it were unpacked
            hostile.send(frame)
            await hostile.end()

        await attack(gateway, act)
        assert hostile.farewell == ENHANCE_YOUR_CALM


async def test_headers_in_great_number(tmp_path: Path) -> None:
    """100 is the most for HTTP/2 as for HTTP/1.1, however short they are."""
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, caller(gateway.port) as hostile:
        hostile.send(hostile.request(1, (*REQUEST, *((f"x-{number}", "y") for number in range(80)))))
        assert await hostile.answered(1) == "200"
        hostile.send(hostile.request(3, (*REQUEST, *((f"x-{number}", "y") for number in range(200)))))
        assert await hostile.answered(3) == "431"
        hostile.send(hostile.request(5, (*REQUEST, *(("x", "y") for _ in range(200)))))
        assert await hostile.answered(5) == "431"
        assert len(gateway.heard) == 1

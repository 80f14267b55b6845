"""HTTP/2 toward the program: only what was surely not processed is sent again, and its limits are kept to."""

import asyncio
import functools
import signal
from pathlib import Path

from hyperframe.frame import DataFrame, Frame, GoAwayFrame, PingFrame, RstStreamFrame
from mesh_testing.backends import front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.http2 import POST, REQUEST, Caller, caller
from mesh_testing.http2_endpoint import Connection, Endpoint, gateway_to

NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM = 0, 2, 7
MAX_CONCURRENT_STREAMS = 3


def path(name: str) -> tuple[tuple[str, str], ...]:
    return (*REQUEST[:3], (":path", name))


def post(client: Caller, stream: int, name: str) -> None:
    head = (*POST[:3], (":path", name), ("content-type", "application/grpc"), ("te", "trailers"))
    client.send(
        client.request(stream, head, end_stream=False), DataFrame(stream, b"\0\0\0\0\0", flags=["END_STREAM"])
    )


async def test_a_refused_stream_is_sent_again(tmp_path: Path) -> None:
    """RFC 9113 section 8.7, without any retry policy, and with its body."""
    refused: set[str] = set()

    def behave(_endpoint: Endpoint, connection: Connection, stream: int, headers: dict[str, str]) -> None:
        if headers[":path"] in refused:
            connection.answer(stream)
        else:
            refused.add(headers[":path"])
            connection.send(RstStreamFrame(stream, REFUSED_STREAM))

    async with gateway_to(behave, tmp_path) as (endpoint, _, port), caller(port) as client:
        client.send(client.request(1, path("/get")))
        post(client, 3, "/post")
        assert [await client.answered(stream) for stream in (1, 3)] == ["200", "200"]
        assert endpoint.requests == ["/get", "/get", "/post", "/post"]


async def test_what_is_refused_again_and_again_is_given_up(tmp_path: Path) -> None:
    def behave(_endpoint: Endpoint, connection: Connection, stream: int, _headers: dict[str, str]) -> None:
        connection.send(RstStreamFrame(stream, REFUSED_STREAM))

    async with gateway_to(behave, tmp_path) as (endpoint, _, port), caller(port) as client:
        client.send(client.request(1, path("/get")))
        assert await client.answered(1) == "503"
        assert len(endpoint.requests) == 5


async def test_streams_above_the_last_of_a_goaway_are_sent_again_and_others_are_not(tmp_path: Path) -> None:
    """The first connection processes its first stream, says so in GOAWAY, and has four more by then."""

    def behave(_endpoint: Endpoint, connection: Connection, stream: int, _headers: dict[str, str]) -> None:
        if connection.number > 0:
            connection.answer(stream)
        elif len(connection.requests) == 5:
            first = min(connection.requests)
            connection.send(GoAwayFrame(0, last_stream_id=first, error_code=NO_ERROR))
            connection.answer(first)

    async with gateway_to(behave, tmp_path) as (endpoint, _, port), caller(port) as client:
        client.send(client.request(1, path("/0")))
        await eventually(lambda: endpoint.requests == ["/0"])
        for number in range(1, 5):
            post(client, 2 * number + 1, f"/{number}")
        assert {await client.answered(stream) for stream in range(1, 10, 2)} == {"200"}
        assert endpoint.requests.count("/0") == 1, "it was processed, so it is not sent again"
        assert [endpoint.requests.count(f"/{number}") for number in range(1, 5)] == [2] * 4
        assert len(endpoint.connections) == 2


async def test_streams_that_may_have_been_processed_are_not_sent_again(tmp_path: Path) -> None:
    """The last stream of the GOAWAY is above them all, and the connection ends without an answer."""

    def behave(_endpoint: Endpoint, connection: Connection, stream: int, _headers: dict[str, str]) -> None:
        if len(connection.requests) == 3:
            connection.send(GoAwayFrame(0, last_stream_id=stream, error_code=INTERNAL_ERROR))
            connection.writer.close()

    async with gateway_to(behave, tmp_path) as (endpoint, running, port), caller(port) as client:
        client.send(*(client.request(stream, path(f"/{stream}")) for stream in (1, 3, 5)))
        assert {await client.answered(stream) for stream in (1, 3, 5)} == {"503"}
        assert endpoint.requests == ["/1", "/3", "/5"]
        await eventually(lambda: [line["response_flags"] for line in running.accesses()] == ["UC"] * 3)


async def test_a_stream_that_the_program_resets_is_not_sent_again(tmp_path: Path) -> None:
    def behave(_endpoint: Endpoint, connection: Connection, stream: int, _headers: dict[str, str]) -> None:
        connection.send(RstStreamFrame(stream, INTERNAL_ERROR))

    async with gateway_to(behave, tmp_path) as (endpoint, _, port), caller(port) as client:
        client.send(client.request(1, path("/get")))
        assert await client.answered(1) == "503"
        assert endpoint.requests == ["/get"]


async def test_a_connection_lost_with_many_streams(tmp_path: Path) -> None:
    def behave(_endpoint: Endpoint, connection: Connection, stream: int, headers: dict[str, str]) -> None:
        if headers[":path"] == "/after":
            connection.answer(stream)
        elif len(connection.requests) == 100:
            connection.writer.transport.abort()

    async with gateway_to(behave, tmp_path) as (endpoint, _, port), caller(port) as client:
        streams = range(1, 200, 2)
        client.send(*(client.request(stream, path("/lost")) for stream in streams))
        assert {await client.answered(stream) for stream in streams} == {"503"}
        assert endpoint.requests == ["/lost"] * 100
        client.send(client.request(201, path("/after")))
        assert await client.answered(201) == "200"
        assert len(endpoint.connections) == 2


async def test_as_many_streams_as_the_program_takes_and_no_more(tmp_path: Path) -> None:
    """SETTINGS_MAX_CONCURRENT_STREAMS: more requests have more connections, rather than wait."""
    held: list[tuple[Connection, int]] = []

    def behave(_endpoint: Endpoint, connection: Connection, stream: int, headers: dict[str, str]) -> None:
        if headers[":path"] == "/first":
            connection.answer(stream)
        else:
            held.append((connection, stream))

    limit = {MAX_CONCURRENT_STREAMS: 2}
    async with gateway_to(behave, tmp_path, limit) as (endpoint, _, port), caller(port) as client:
        client.send(client.request(1, path("/first")))
        assert await client.answered(1) == "200"
        client.send(*(client.request(stream, path("/held")) for stream in range(3, 15, 2)))
        await eventually(lambda: len(held) == 6)
        for connection, stream in held:
            connection.answer(stream)
        assert {await client.answered(stream) for stream in range(3, 15, 2)} == {"200"}
        assert endpoint.most_at_once <= 2
        assert len(endpoint.connections) == 3


async def test_a_program_that_floods_the_proxy(tmp_path: Path) -> None:
    def behave(_endpoint: Endpoint, connection: Connection, stream: int, _headers: dict[str, str]) -> None:
        if connection.number > 0:
            connection.answer(stream)

    async with gateway_to(behave, tmp_path) as (endpoint, _, port), caller(port) as client:
        client.send(client.request(1, path("/flood")))
        await eventually(lambda: endpoint.requests == ["/flood"])
        hostile = endpoint.connections[0]
        await hostile.flood(PingFrame(0, b"12345678").serialize() * 1000, 1000)
        assert hostile.ended
        assert await client.answered(1) == "503"
        client.send(client.request(3, path("/after")))
        assert await client.answered(3) == "200"


def acknowledge(client: Caller, frame: Frame) -> None:
    if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
        client.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))


async def test_a_drain_says_goaway_and_lets_streams_finish(tmp_path: Path) -> None:
    """RFC 9113 section 6.8: GOAWAY first with the highest number, then with the last stream that is served."""
    objects = [virtual_service({"retries": {"attempts": 0}, "route": [to("v1")]})]
    settings = functools.partial(hauberk_proxy, drain_seconds=20)
    async with front(settings, objects, tmp_path) as gateway, caller(gateway.port) as client:
        client.on_frame = functools.partial(acknowledge, client)
        client.send(client.request(1, (*REQUEST, ("sleep", "1"))))
        await eventually(lambda: len(gateway.heard) == 1)
        gateway.running.process.send_signal(signal.SIGTERM)
        await client.until(lambda: client.farewell is not None)
        assert client.farewell == NO_ERROR
        assert await client.answered(1) == "200"
        await client.end()
        last = [frame.last_stream_id for frame in client.of(GoAwayFrame)]
        assert last == [2**31 - 1, 1]
        assert await asyncio.wait_for(gateway.running.process.wait(), 10) == 0

"""HTTP/2 messages that could mean two things, or try to last for ever, against the proxy's process."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hyperframe.frame import DataFrame, WindowUpdateFrame
from mesh_testing.backends import Front, destination_rule, front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.http2 import POST, PREFACE, REQUEST, caller, memory

OBJECTS = [virtual_service({"retries": {"attempts": 0}, "route": [to("v1")]})]
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, COMPRESSION_ERROR = 1, 3, 7, 9
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS = 4, 3

METHOD, SCHEME, AUTHORITY, PATH = REQUEST
MALFORMED = {
    "no method": (SCHEME, AUTHORITY, PATH),
    "no scheme": (METHOD, AUTHORITY, PATH),
    "no path": (METHOD, SCHEME, AUTHORITY),
    "an empty path": (METHOD, SCHEME, AUTHORITY, (":path", "")),
    "a path without a slash": (METHOD, SCHEME, AUTHORITY, (":path", "secret")),
    "two methods": (METHOD, *REQUEST),
    "two schemes": (*REQUEST, SCHEME),
    "two authorities": (*REQUEST, (":authority", "other.example")),
    "two paths": (*REQUEST, (":path", "/secret")),
    "pseudo-header after a header": (METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH),
    "a pseudo-header of responses": (*REQUEST, (":status", "200")),
    "an unknown pseudo-header": (*REQUEST, (":secret", "y")),
    "a name in upper case": (*REQUEST, ("X-Upper", "y")),
    "a name with a space": (*REQUEST, ("x y", "z")),
    "a name with a colon": (*REQUEST, ("x:y", "z")),
    "a name with CR and LF": (*REQUEST, ("x\r\ny", "z")),
    "an empty name": (*REQUEST, ("", "z")),
    "a value with CR and LF": (*REQUEST, ("x", "y\r\nsmuggled: z")),
    "a value with LF": (*REQUEST, ("x", "y\nsmuggled: z")),
    "a value with NUL": (*REQUEST, ("x", "y\x00z")),
    "a path with CR and LF": (
        METHOD,
        SCHEME,
        AUTHORITY,
        (":path", "/ HTTP/1.1\r\nhost: a\r\n\r\nGET /secret"),
    ),
    "a path with a space": (METHOD, SCHEME, AUTHORITY, (":path", "/ HTTP/1.1")),
    "a method with a space": ((":method", "GET /secret HTTP/1.1"), SCHEME, AUTHORITY, PATH),
    "a method with CR and LF": ((":method", "GET / HTTP/1.1\r\nx: y"), SCHEME, AUTHORITY, PATH),
    "an authority with CR and LF": (METHOD, SCHEME, (":authority", "a\r\nx: y"), PATH),
    "an authority with a slash": (METHOD, SCHEME, (":authority", "a/secret"), PATH),
    "an authority with a user": (METHOD, SCHEME, (":authority", "user@reviews.example"), PATH),
    "connection": (*REQUEST, ("connection", "keep-alive")),
    "keep-alive": (*REQUEST, ("keep-alive", "timeout=5")),
    "proxy-connection": (*REQUEST, ("proxy-connection", "keep-alive")),
    "transfer-encoding": (*REQUEST, ("transfer-encoding", "chunked")),
    "upgrade": (*REQUEST, ("upgrade", "websocket")),
    "te other than trailers": (*REQUEST, ("te", "gzip")),
    "two hosts": (METHOD, SCHEME, PATH, ("host", "reviews.example"), ("host", "other.example")),
    "no host at all": (METHOD, SCHEME, PATH),
    "a length that is none": (*POST, ("content-length", "1x")),
    "two lengths": (*POST, ("content-length", "0"), ("content-length", "5")),
    "a length without a body": (*POST, ("content-length", "5")),
    "a path for CONNECT": ((":method", "CONNECT"), AUTHORITY, PATH),
}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Front]:
    async with front(hauberk_proxy, OBJECTS, tmp_path) as made:
        yield made


async def test_malformed_requests_reach_nobody(gateway: Front) -> None:
    """RFC 9113 section 8.1.1: such a stream is reset or answered 400 and others go on, or the connection ends."""
    for name, headers in MALFORMED.items():
        async with caller(gateway.port) as hostile:
            hostile.send(hostile.request(1, headers))
            await hostile.until(lambda: hostile.over(1) or hostile.ended)
            told = hostile.status(1) or f"reset {hostile.reset(1)}, goaway {hostile.farewell}"
            assert told in ("400", "reset 1, goaway None", "reset None, goaway 1"), f"{name}: {told}"
            assert gateway.heard == [], name
            if hostile.farewell is None:
                hostile.send(hostile.request(3))
                assert await hostile.answered(3) == "200", name
        gateway.heard.clear()


BODIES = {
    "more than its length": ("3", [b"abcd"]),
    "more in a second frame": ("3", [b"abc", b"d"]),
    "less than its length": ("5", [b"abcd"]),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_of_another_length_than_told(gateway: Front, name: str) -> None:
    length, pieces = BODIES[name]
    async with caller(gateway.port) as hostile:
        hostile.send(hostile.request(1, (*POST, ("content-length", length)), end_stream=False))
        for piece in pieces:
            hostile.send(DataFrame(1, piece))
        hostile.send(DataFrame(1, b"", flags=["END_STREAM"]))
        await hostile.until(lambda: hostile.over(1))
        assert hostile.reset(1) == PROTOCOL_ERROR or hostile.status(1) == "400"
        hostile.send(hostile.request(3))
        assert await hostile.answered(3) == "200"
    # What was told had come, whole, before there was more of it: that much may have been passed on, and no more.
    told = [b"abc"] if len(pieces) > 1 else []
    assert [one.body for one in gateway.heard] in ([b""], [*told, b""]), (
        "the program did not take the request for a whole one"
    )


async def test_trailers_do_not_become_pseudo_headers(gateway: Front) -> None:
    """RFC 9113 section 8.1: pseudo-headers among trailers come to nothing, what else may not be there is refused."""
    for trailers in (((":path", "/secret"), (":method", "DELETE")), ((":status", "500"),)):
        async with caller(gateway.port) as hostile:
            hostile.send(hostile.request(1, POST, end_stream=False), DataFrame(1, b"x"))
            hostile.send(hostile.request(1, trailers))
            assert await hostile.answered(1) == "200"
            assert b'"path": "/", "method": "POST"' in hostile.body(1)
            assert b"secret" not in hostile.body(1)
    gateway.heard.clear()
    for trailers in ((("X-Upper", "y"),), (("connection", "x"),), (("x", "y\r\nz: a"),)):
        async with caller(gateway.port) as hostile:
            hostile.send(hostile.request(1, POST, end_stream=False), DataFrame(1, b"x"))
            hostile.send(hostile.request(1, trailers))
            await hostile.until(lambda: hostile.over(1) or hostile.ended)
            told = hostile.status(1) or f"reset {hostile.reset(1)}, goaway {hostile.farewell}"
            assert told in ("400", "reset 1, goaway None", "reset None, goaway 1"), f"{trailers}: {told}"
    assert gateway.heard == []


async def test_trailers_that_do_not_end_the_stream(gateway: Front) -> None:
    async with caller(gateway.port) as hostile:
        hostile.send(hostile.request(1, POST, end_stream=False), DataFrame(1, b"x"))
        hostile.send(hostile.request(1, (("x", "y"),), end_stream=False))
        await hostile.until(lambda: hostile.over(1) or hostile.ended)
        assert hostile.reset(1) == PROTOCOL_ERROR or hostile.farewell == PROTOCOL_ERROR
    assert gateway.heard == []


async def test_the_authority_counts_not_the_host_header(gateway: Front) -> None:
    """RFC 9113 section 8.3.1: `host` may not say another host than `:authority`; the program and the rules see one."""
    async with caller(gateway.port) as hostile:
        hostile.send(hostile.request(1, (*REQUEST, ("host", "other.example"))))
        assert await hostile.answered(1) == "200"
    assert [one.host for one in gateway.heard] == ["reviews.example"]


async def test_a_cookie_in_pieces_reaches_the_program_whole(gateway: Front) -> None:
    async with caller(gateway.port) as honest:
        honest.send(honest.request(1, (*REQUEST, ("cookie", "a=1"), ("cookie", "b=2"))))
        assert await honest.answered(1) == "200"
        assert b'"cookie": "a=1; b=2"' in honest.body(1)


async def test_http2_by_upgrade_is_not_spoken(gateway: Front) -> None:
    """h2c smuggling: neither the proxy nor the program behind it may change to HTTP/2 on an HTTP/1.1 connection."""
    settings = "AAMAAABkAAQAoAAAAAIAAAAA"
    for asked in ("Upgrade, HTTP2-Settings", "upgrade", "HTTP2-Settings"):
        for protocol in ("h2c", "H2C", "h2c, websocket", "websocket, h2c", "h2", "h2c-14"):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(
                f"GET / HTTP/1.1\r\nhost: reviews.example\r\nconnection: {asked}\r\nupgrade: {protocol}\r\n"
                f"http2-settings: {settings}\r\n\r\n".encode()
            )
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
            assert head.split()[1] in ("200", "403"), (protocol, head)
            if " 200 " in head:
                body = await asyncio.wait_for(reader.readuntil(b"}}"), 10)
                assert b"upgrade" not in body.lower() and b"http2-settings" not in body.lower(), body
            writer.write(PREFACE)
            rest = await asyncio.wait_for(reader.read(), 10)
            assert rest == b"" or rest.startswith(b"HTTP/1.1 4"), rest
            writer.close()


async def test_frames_that_break_the_connection(gateway: Front) -> None:
    """RFC 9113 sections 5.4.1 and 6.9.1: GOAWAY with the code, then the end."""
    async with caller(gateway.port) as hostile:
        hostile.send(WindowUpdateFrame(0, 0x7FFFFFFF))
        await hostile.end()
        assert hostile.farewell == FLOW_CONTROL_ERROR
    async with caller(gateway.port) as hostile:
        frame = hostile.request(1)
        frame.data = b"\xff\xff\xff\xff\xff\xff"
        hostile.send(frame)
        await hostile.end()
        assert hostile.farewell in (PROTOCOL_ERROR, COMPRESSION_ERROR)
    async with caller(gateway.port) as hostile:
        hostile.send(hostile.request(1, POST, end_stream=False))
        await hostile.flood(DataFrame(1, bytes(16_384)).serialize(), 200)
        await hostile.end()
        # More than the window of the connection; GOAWAY may be lost to what the proxy has not read.
        assert hostile.farewell in (FLOW_CONTROL_ERROR, None)
    assert (await gateway.get())[0] == 200


async def test_a_window_that_overflows_ends_its_stream_alone(gateway: Front) -> None:
    async with caller(gateway.port) as hostile:
        hostile.send(hostile.request(1, POST, end_stream=False), WindowUpdateFrame(1, 0x7FFFFFFF))
        await hostile.until(lambda: hostile.over(1))
        assert hostile.reset(1) == FLOW_CONTROL_ERROR
        hostile.send(hostile.request(3))
        assert await hostile.answered(3) == "200"


async def test_a_broken_request_is_not_held_against_the_endpoint(tmp_path: Path) -> None:
    """Outlier detection that ends an endpoint after one failure: callers must not be able to have it end one."""
    strict = {
        "consecutiveGatewayErrors": 1,
        "consecutive5xxErrors": 1,
        "baseEjectionTime": "60s",
        "maxEjectionPercent": 100,
    }
    objects = [*OBJECTS, destination_rule(outlierDetection=strict)]
    async with front(hauberk_proxy, objects, tmp_path) as gateway, caller(gateway.port) as hostile:
        for stream in (1, 3, 5):
            hostile.send(hostile.request(stream, (*POST, ("content-length", "3")), end_stream=False))
            hostile.send(DataFrame(stream, b"ab"), DataFrame(stream, b"cdef", flags=["END_STREAM"]))
            await hostile.until(lambda: hostile.over(stream))  # noqa: B023  waited for here
            assert (await gateway.get())[0] == 200
        for rest in (b"zz\r\n", b"5\r\nabcdefgh"):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(
                b"POST / HTTP/1.1\r\nhost: reviews.example\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"
                + rest
            )
            answer = await asyncio.wait_for(reader.read(), 10)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer
            assert (await gateway.get())[0] == 200
            writer.close()


WINDOWS = {"never any window": 0, "a window of one byte, once": 1}


@pytest.mark.parametrize("name", WINDOWS)
async def test_a_caller_that_never_takes_the_answer(tmp_path: Path, name: str) -> None:
    """The route's time counts on while the answer waits for a window; then stream and endpoint are free."""
    objects = [virtual_service({"timeout": "1s", "retries": {"attempts": 0}, "route": [to("v1")]})]
    async with (
        front(hauberk_proxy, objects, tmp_path) as gateway,
        caller(gateway.port, {INITIAL_WINDOW_SIZE: WINDOWS[name]}) as hostile,
    ):
        large = (METHOD, SCHEME, AUTHORITY, (":path", "/endless"))
        for stream in range(1, 41, 2):
            hostile.send(hostile.request(stream, large))
        for stream in range(1, 41, 2):
            await hostile.until(lambda: hostile.reset(stream) is not None, 15)  # noqa: B023  waited for here
        assert (await gateway.get())[0] == 200

        def flags() -> list[str]:
            return [
                line["response_flags"] for line in gateway.running.accesses() if line["path"] == "/endless"
            ]

        await eventually(lambda: flags() == ["UT"] * 20)


async def test_windows_held_at_zero_hold_little_memory(tmp_path: Path) -> None:
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, AsyncExitStack() as stack:
        assert (await gateway.get())[0] == 200
        before = await memory(gateway)
        large = (METHOD, SCHEME, AUTHORITY, (":path", "/endless"))
        for _ in range(4):
            hostile = await stack.enter_async_context(caller(gateway.port, {INITIAL_WINDOW_SIZE: 0}))
            hostile.send(*(hostile.request(stream, large) for stream in range(1, 81, 2)))
            await hostile.until(lambda: all(hostile.status(stream) for stream in range(1, 81, 2)))  # noqa: B023
            hostile.send(*(WindowUpdateFrame(stream, 1) for stream in range(1, 81, 2)))
        assert (await gateway.get())[0] == 200
        assert await memory(gateway) - before < 160 * 320 * 1024, "of 160 answers without end"


async def test_a_request_that_never_ends(tmp_path: Path) -> None:
    """Half-closed for ever: it costs little, disturbs nobody, and goes with its connection."""
    async with front(hauberk_proxy, OBJECTS, tmp_path) as gateway, caller(gateway.port) as hostile:
        for stream in range(1, 201, 2):
            hostile.send(hostile.request(stream, POST, end_stream=False), DataFrame(stream, b"x"))
        await hostile.ping()
        assert (await gateway.get())[0] == 200
        hostile.writer.close()
        await eventually(lambda: _active(gateway, 0))


async def _active(gateway: Front, expected: int) -> bool:
    text = await gateway.running.admin("/stats/prometheus")
    found = re.search(r"^hauberk_worker_connections{.*} (\S+)$", text, re.M)
    return found is not None and float(found[1]) <= expected + 1

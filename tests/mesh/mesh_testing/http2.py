"""An HTTP/2 caller that sends frames as a test makes them, and says nothing of its own but its preface."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from hpack import Decoder, Encoder
from hpack.hpack import encode_integer
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from mesh_testing.backends import Front

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Headers = Iterable[tuple[str, str]]
Kind = TypeVar("Kind", bound=Frame)

REQUEST = ((":method", "GET"), (":scheme", "http"), (":authority", "reviews.example"), (":path", "/"))
POST = ((":method", "POST"), *REQUEST[1:])


class Caller:
    """One connection. `received` is every frame so far, in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.received: list[Frame] = []
        self.ended = False
        """The proxy closed the connection."""
        self.on_frame: Callable[[Frame], None] = lambda _frame: None
        """Called with each frame that comes."""
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._changed = asyncio.Event()
        self.reading = asyncio.Event()
        """Cleared: the caller reads nothing more."""
        self.reading.set()

    def send(self, *frames: Frame) -> None:
        self.writer.write(b"".join(frame.serialize() for frame in frames))

    def request(
        self, stream: int, headers: Headers = REQUEST, *, end_stream: bool = True, end_headers: bool = True
    ) -> HeadersFrame:
        """A HEADERS frame; headers are never compressed into names that a test did not write."""
        frame = HeadersFrame(stream, self._encoder.encode(list(headers), huffman=False))
        if end_stream:
            frame.flags.add("END_STREAM")
        if end_headers:
            frame.flags.add("END_HEADERS")
        return frame

    def field(self, name: str, value: str, *, index: bool = False) -> bytes:
        """A header field in HPACK's literal form (RFC 7541 section 6.2), put into the table or not."""
        assert len(name) < 127
        kind = b"\x40" if index else b"\x00"
        encoded = encode_integer(len(value), 7)
        return kind + bytes([len(name)]) + name.encode() + bytes(encoded) + value.encode()

    async def read(self) -> None:
        """Takes in frames until the connection ends."""
        try:
            while True:
                await self.reading.wait()
                head = await self._reader.readexactly(9)
                frame, length = Frame.parse_frame_header(memoryview(head))
                frame.parse_body(memoryview(await self._reader.readexactly(length)))
                if isinstance(frame, HeadersFrame):
                    frame.headers = dict(self._decoder.decode(frame.data))  # type: ignore[attr-defined]
                self.received.append(frame)
                self.on_frame(frame)
                self._changed.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended = True
            self._changed.set()

    def of(self, kind: type[Kind], stream: int | None = None) -> list[Kind]:
        return [one for one in self.received if isinstance(one, kind) and stream in (None, one.stream_id)]

    @property
    def farewell(self) -> int | None:
        """The code of the last GOAWAY."""
        found = self.of(GoAwayFrame)
        return found[-1].error_code if found else None

    def status(self, stream: int) -> str | None:
        found = self.of(HeadersFrame, stream)
        return found[0].headers[":status"] if found else None  # type: ignore[attr-defined]

    def reset(self, stream: int) -> int | None:
        """The code of the RST_STREAM that came for it."""
        found = self.of(RstStreamFrame, stream)
        return found[0].error_code if found else None

    def body(self, stream: int) -> bytes:
        return b"".join(frame.data for frame in self.of(DataFrame, stream))

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Waits until it holds; fails if the connection ends first, or nothing comes in time."""
        async with asyncio.timeout(seconds):
            while not condition():
                assert not self.ended, f"the connection ended, GOAWAY {self.farewell}: {self.received[-5:]}"
                self._changed.clear()
                await self._changed.wait()

    async def end(self, seconds: float = 20.0) -> None:
        """Waits until the proxy closes the connection."""
        async with asyncio.timeout(seconds):
            while not self.ended:
                self._changed.clear()
                await self._changed.wait()

    def over(self, stream: int) -> bool:
        """The proxy has ended or reset it."""
        ended = any("END_STREAM" in one.flags for one in self.received if one.stream_id == stream)
        return ended or self.reset(stream) is not None

    async def answered(self, stream: int, seconds: float = 20.0) -> str:
        """The status of the response on `stream`, once it is complete."""
        await self.until(lambda: self.over(stream), seconds)
        status = self.status(stream)
        assert status is not None, f"reset {self.reset(stream)}"
        return status

    async def flood(self, chunk: bytes, most: int) -> int:
        """Sends `chunk` up to `most` times, as long as it is taken; how often it was."""
        for sent in range(most):
            if self.ended:
                return sent
            self.writer.write(chunk)
            try:
                await self.writer.drain()
            except ConnectionError:
                await self.end()
                return sent
            await asyncio.sleep(0)
        return most

    async def ping(self) -> None:
        """A round trip: what was sent before has been read."""
        before = len(self.of(PingFrame))
        self.send(PingFrame(0, b"roundtrp"))
        await self.until(lambda: len(self.of(PingFrame)) > before)


@asynccontextmanager
async def caller(port: int, settings: dict[int, int] | None = None) -> AsyncIterator[Caller]:
    """Connects and sends the preface with `settings`; acknowledges the proxy's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    made = Caller(reader, writer)
    writer.write(PREFACE)
    made.send(SettingsFrame(0, settings or {}))
    made.send(SettingsFrame(0, flags=["ACK"]))
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(made.read())
        try:
            await made.until(lambda: bool(made.of(SettingsFrame)))
            yield made
        finally:
            reading.cancel()
            writer.close()


async def memory(gateway: Front) -> float:
    """Resident bytes of the proxy."""
    text = await gateway.running.admin("/stats/prometheus")
    found = re.search(r"^process_resident_memory_bytes (\S+)$", text, re.M)
    assert found is not None
    return float(found[1])

"""SPDY/3.1 as a client of Kubernetes speaks it, cut anywhere; what is no SPDY is refused."""

import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.node.spdy import (
    DICTIONARY,
    LARGEST_HEADERS,
    Connection,
    Data,
    Opened,
    ProtocolError,
    Reply,
    Reset,
)


def test_the_dictionary_is_the_drafts() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


class Client:
    """The other side, as little of it as the tests need."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def open(self, stream: int, **headers: str) -> bytes:
        text = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for part in (name.encode(), value.encode()):
                text += struct.pack(">I", len(part)) + part
        block = self._deflate.compress(text) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return control(1, struct.pack(">IIH", stream, 0, 0) + block)


def control(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(payload)) + payload


def conversation() -> bytes:
    client = Client()
    return b"".join(
        [
            client.open(1, streamtype="error", port="80", requestid="0"),
            client.open(3, streamtype="data", port="80", requestid="0"),
            struct.pack(">II", 3, 5) + b"hello",
            control(6, b"\0\0\0\1"),
            control(9, struct.pack(">II", 3, 99)),
            struct.pack(">II", 3, 1 << 24),
            control(3, struct.pack(">II", 1, 5)),
        ]
    )


@given(st.lists(st.integers(1, 50), min_size=1))
def test_frames_are_understood_wherever_they_are_cut(sizes: list[int]) -> None:
    connection, said, found, at = Connection(), conversation(), [], 0
    for size in [*sizes, len(said)]:
        found += list(connection.receive(said[at : at + size]))
        at += size
    assert found == [
        Opened(1, {"streamtype": "error", "port": "80", "requestid": "0"}),
        Opened(3, {"streamtype": "data", "port": "80", "requestid": "0"}),
        Data(3, b"hello", last=False),
        Reply(control(6, b"\0\0\0\1")),
        Data(3, b"", last=True),
        Reset(1),
    ]


def test_replies_are_what_a_client_reads() -> None:
    connection, inflate = Connection(), zlib.decompressobj(zdict=DICTIONARY)
    for stream in (1, 3):
        reply = connection.accept(stream)
        assert reply[:4] == struct.pack(">HH", 0x8003, 2)
        assert reply[8:12] == struct.pack(">I", stream)
        assert inflate.decompress(reply[12:]) == b"\0\0\0\0"
    assert connection.send(3, b"abc", last=True) == struct.pack(">II", 3, 1 << 24 | 3) + b"abc"


@given(st.binary(max_size=400))
def test_garbage_is_refused_and_nothing_else_happens(garbage: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        list(Connection().receive(garbage))
    with contextlib.suppress(ProtocolError):
        list(Connection().receive(control(1, struct.pack(">IIH", 1, 0, 0) + garbage)))


def test_a_frame_without_end_is_refused() -> None:
    with pytest.raises(ProtocolError, match="at most"):
        list(Connection().receive(struct.pack(">II", 1, 0xFF_FFFF)))


def test_a_header_block_is_bounded_however_well_it_is_compressed() -> None:
    client, connection = Client(), Connection()
    assert len(list(connection.receive(client.open(1, requestid="x" * (LARGEST_HEADERS - 100))))) == 1
    with pytest.raises(ProtocolError, match="header block"):
        list(connection.receive(client.open(3, requestid="x" * LARGEST_HEADERS)))


def test_headers_after_the_end_of_their_compression_are_refused() -> None:
    deflate = zlib.compressobj(zdict=DICTIONARY)
    ended = control(1, struct.pack(">IIH", 1, 0, 0) + deflate.compress(b"\0\0\0\0") + deflate.flush())
    with pytest.raises(ProtocolError, match="header block"):
        list(Connection().receive(ended))

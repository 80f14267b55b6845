"""SPDY/3.1 without I/O, as far as Kubernetes' port-forward needs it: bytes in, events out; commands give bytes.

The draft: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/. Kubernetes' clients neither keep nor
heed flow control windows; frames that do not concern streams are passed over, pings are answered.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LARGEST_FRAME = 1024 * 1024
LARGEST_HEADERS = 16 * 1024
"""Bytes of a header block once decompressed; those of port-forward have about 100."""
_CONTROL = 0x8003_0000
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING = 1, 2, 3, 6
_FIN = 0x01
_CANCEL = 5

_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_MORE_WORDS = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(len(word).to_bytes(4, "big") + word.encode() for word in [*_NAMES.split(), *_MORE_WORDS])
    + _TAIL.encode()
)
"""What header blocks are compressed with, section 2.6.10.1."""


class ProtocolError(ValueError):
    """The peer does not speak SPDY/3.1; the message says where it went wrong."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer began a stream."""

    stream: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; `last` if the peer sends no more on it."""

    stream: int
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The peer wants no more of a stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes that are owed to the peer."""

    data: bytes


Event = Opened | Data | Reset | Reply


class Connection:
    """The server's side of one connection."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, data: bytes) -> Iterator[Event]:
        """What the peer's bytes say. Raises `ProtocolError`."""
        self._pending += data
        while len(self._pending) >= 8:
            head, rest = struct.unpack_from(">II", self._pending)
            flags, length = rest >> 24, rest & 0xFF_FFFF
            if length > LARGEST_FRAME:
                raise ProtocolError(
                    f"expected a frame of at most {LARGEST_FRAME} bytes, found one of {length}"
                )
            if len(self._pending) < 8 + length:
                return
            payload = bytes(self._pending[8 : 8 + length])
            del self._pending[: 8 + length]
            if head & 0x8000_0000:
                yield from self._control(head, flags, payload)
            else:
                yield Data(head, payload, bool(flags & _FIN))

    def accept(self, stream: int) -> bytes:
        """Agrees to a stream that the peer began."""
        block = self._deflate.compress(b"\0\0\0\0") + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _frame(_SYN_REPLY, stream.to_bytes(4, "big") + block)

    def send(self, stream: int, data: bytes, *, last: bool = False) -> bytes:
        """Bytes of a stream."""
        return struct.pack(">II", stream, (_FIN if last else 0) << 24 | len(data)) + data

    def reset(self, stream: int) -> bytes:
        """Breaks a stream off."""
        return _frame(_RST_STREAM, struct.pack(">II", stream, _CANCEL))

    def _control(self, head: int, flags: int, payload: bytes) -> Iterator[Event]:
        if head & 0xFFFF_0000 != _CONTROL:
            raise ProtocolError(f"expected a frame of version 3, found {head >> 16 & 0x7FFF}")
        kind = head & 0xFFFF
        if kind in {_SYN_STREAM, _RST_STREAM} and len(payload) < 8:
            raise ProtocolError(f"frame of type {kind}: expected 8 bytes or more, found {len(payload)}")
        stream = int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF
        if kind == _SYN_STREAM:
            yield Opened(stream, self._headers(payload[10:]))
            if flags & _FIN:
                yield Data(stream, b"", last=True)
        elif kind == _RST_STREAM:
            yield Reset(stream)
        elif kind == _PING:
            yield Reply(_frame(_PING, payload))

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, LARGEST_HEADERS)
        except zlib.error as error:
            raise ProtocolError(f"header block: {error}") from error
        if self._inflate.unconsumed_tail:
            raise ProtocolError(f"header block: expected at most {LARGEST_HEADERS} bytes, found more")
        if self._inflate.eof:
            raise ProtocolError("header block: expected compression that goes on, found its end")
        found, at = {}, 4
        for _ in range(int.from_bytes(text[:4], "big")):
            name, at = _string(text, at)
            value, at = _string(text, at)
            found[name.lower()] = value
        return found


def _string(text: bytes, at: int) -> tuple[str, int]:
    end = at + 4 + int.from_bytes(text[at : at + 4], "big")
    if at + 4 > len(text) or end > len(text):
        raise ProtocolError(f"header block: expected {end} bytes, found {len(text)}")
    return text[at + 4 : end].decode(errors="replace"), end


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">II", _CONTROL | kind, len(payload)) + payload

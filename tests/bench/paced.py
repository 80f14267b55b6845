"""A caller at a fixed rate: `python -m tests.bench.paced PROTOCOL HOST PORT --rate 1000` prints percentiles.

With `--closed` it has one connection and sends each request when the last answer has come.

Requests are due at fixed moments. One that could not be sent when it was due, because an earlier answer had not come,
counts from that moment on, so that a slow answer is not hidden by the requests that it held back.
"""

import argparse
import gc
import itertools
import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Protocol

from hpack import Encoder
from tests.bench.spread import percentile

CONNECTIONS = 8
WARM_UP = 100
"""The first answers do not count: connections and pools are made."""

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GO_AWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
WIDEST_WINDOW = 2**31 - 1


class BadAnswerError(Exception):
    """An answer is not what the request should bring; the message shows it."""


class Caller(Protocol):
    """The client's side of one connection, without its socket: bytes to send, bytes that came."""

    def opening(self) -> bytes: ...

    def request(self) -> bytes: ...

    def receive(self, data: bytes) -> tuple[bool, bytes]:
        """Whether the answer to the last request is whole, and what to send at once. Raises BadAnswerError."""


class Http1:
    """GET, with answers that say their length (RFC 9112)."""

    def __init__(self, authority: str) -> None:
        self._request = f"GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()
        self._received = b""

    def opening(self) -> bytes:
        return b""

    def request(self) -> bytes:
        self._received = b""
        return self._request

    def receive(self, data: bytes) -> tuple[bool, bytes]:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return False, b""
        if not head.startswith(b"HTTP/1.1 200"):
            raise BadAnswerError(f"expected HTTP/1.1 200, found {head[:200]!r}")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return len(body) >= int(line.partition(b":")[2]), b""
        raise BadAnswerError(f"expected content-length, found {head[:500]!r}")


class Http2:
    """One request at a time over HTTP/2 with prior knowledge (RFC 9113); an answer is whole at END_STREAM."""

    def __init__(self, authority: str, body: bytes | None = None) -> None:
        """With `body`, a gRPC call that is to be answered with the same bytes."""
        self._authority = authority
        self._body = body
        self._encoder = Encoder()
        self._stream = -1
        self._received = b""
        self._answered = b""

    def opening(self) -> bytes:
        wide = struct.pack("!HI", 0x4, WIDEST_WINDOW)  # SETTINGS_INITIAL_WINDOW_SIZE
        more = struct.pack("!I", WIDEST_WINDOW - 65535)
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        return preface + frame(SETTINGS, 0, 0, wide) + frame(WINDOW_UPDATE, 0, 0, more)

    def request(self) -> bytes:
        self._stream += 2
        self._answered = b""
        headers = [
            (":method", "GET" if self._body is None else "POST"),
            (":scheme", "http"),
            (":path", "/" if self._body is None else "/bench.Echo/Call"),
            (":authority", self._authority),
        ]
        if self._body is None:
            return frame(
                HEADERS, END_HEADERS | END_STREAM, self._stream, bytes(self._encoder.encode(headers))
            )
        headers += [("content-type", "application/grpc"), ("te", "trailers")]
        return frame(HEADERS, END_HEADERS, self._stream, bytes(self._encoder.encode(headers))) + frame(
            DATA, END_STREAM, self._stream, self._body
        )

    def receive(self, data: bytes) -> tuple[bool, bytes]:
        self._received += data
        done, reply = False, b""
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + length:
                break
            kind, flags = self._received[3], self._received[4]
            stream = int.from_bytes(self._received[5:9], "big") & WIDEST_WINDOW
            payload = self._received[9 : 9 + length]
            self._received = self._received[9 + length :]
            if kind == SETTINGS and not flags & ACK:
                reply += frame(SETTINGS, ACK, 0, b"")
            elif kind == PING and not flags & ACK:
                reply += frame(PING, ACK, 0, payload)
            elif kind in (GO_AWAY, RST_STREAM):
                raise BadAnswerError(f"expected an answer, found a frame of type {kind}: {payload!r}")
            elif stream == self._stream and kind in (DATA, HEADERS):
                if kind == DATA:
                    self._answered += payload
                done = bool(flags & END_STREAM)
        if done and (self._answered != self._body if self._body else not self._answered):
            raise BadAnswerError(f"expected the answer's body, found {self._answered[:200]!r}")
        return done, reply


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack("!I", stream) + payload


PROTOCOLS: dict[str, Callable[[str], Caller]] = {
    "http1": Http1,
    "http2": Http2,
    "grpc": lambda authority: Http2(authority, bytes(5)),
}


def call(protocol: str, host: str, port: int, rate: int, seconds: float) -> list[float]:
    """The time of each answer in microseconds. Raises BadAnswerError, OSError."""
    connected = [connect(protocol, host, port) for _ in range(CONNECTIONS)]
    taken: list[float] = []
    count = WARM_UP + int(rate * seconds)
    began = time.perf_counter()
    free = began
    turns = itertools.cycle(connected)
    for number, (caller, connection) in zip(range(count), turns, strict=False):
        due = began + number / rate
        if (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
        request = caller.request()
        # Awake too late is the fault of this program; held back by an earlier answer is not.
        start = due if free > due else time.perf_counter()
        exchange(caller, connection, request)
        free = time.perf_counter()
        taken.append((free - start) * 1e6)
    for _, connection in connected:
        connection.close()
    return taken[WARM_UP:]


def call_closed(protocol: str, host: str, port: int, seconds: float) -> list[float]:
    """The same on one connection, one request after another. Raises BadAnswerError, OSError."""
    caller, connection = connect(protocol, host, port)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    with connection:
        while (start := time.perf_counter()) < end or len(taken) <= WARM_UP:
            exchange(caller, connection, caller.request())
            taken.append((time.perf_counter() - start) * 1e6)
    return taken[WARM_UP:]


def connect(protocol: str, host: str, port: int) -> tuple[Caller, socket.socket]:
    caller = PROTOCOLS[protocol](f"{host}:{port}")
    connection = socket.create_connection((host, port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(caller.opening())
    return caller, connection


def exchange(caller: Caller, connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    whole = False
    while not whole:
        data = connection.recv(65536)
        if not data:
            raise BadAnswerError("expected an answer, found the connection closed")
        whole, reply = caller.receive(data)
        if reply:
            connection.sendall(reply)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--closed", action="store_true", help="one connection, as fast as it is answered")
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    gc.disable()
    protocol, host, port, seconds = options.protocol, options.host, options.port, options.seconds
    taken = (
        call_closed(protocol, host, port, seconds)
        if options.closed
        else call(protocol, host, port, options.rate, seconds)
    )
    json.dump({"p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)}, sys.stdout)


if __name__ == "__main__":
    main()

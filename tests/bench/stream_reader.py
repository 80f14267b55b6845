"""Reads nginx's `/stream` over one connection: `python -m tests.bench.stream_reader HOST PORT TIMES`.

Prints the number of bytes.
"""

import socket
import sys

from tests.bench.load import LoadError
from tests.bench.peers.nginx import STREAM_BYTES

BUFFER = 1 << 18


def receive(host: str, port: int, times: int) -> int:
    """Bytes of all answers' bodies. Raises LoadError if bytes are missing, OSError."""
    buffer = bytearray(BUFFER)
    with socket.create_connection((host, port), 30) as connection:
        for _ in range(times):
            connection.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            missing = STREAM_BYTES - beginning(connection)
            while missing > 0 and (count := connection.recv_into(buffer, min(BUFFER, missing))):
                missing -= count
            if missing > 0:
                raise LoadError(f"expected {STREAM_BYTES} bytes, found {missing} missing")
    return times * STREAM_BYTES


def beginning(connection: socket.socket) -> int:
    """Reads an answer's headers; returns how many bytes of its body came with them."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        if not data:
            raise LoadError(f"expected an answer's headers, found {received!r}")
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise LoadError(f"expected an answer of 200, found {head!r}")
    return len(body)


def main() -> None:
    sys.stdout.write(str(receive(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))


if __name__ == "__main__":
    main()

"""Bytes from a server through one plain TCP hop: rate, and CPU time a gigabyte."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.peers import envoy, haproxy, hauberk
from tests.bench.report import OURS, Row, compare
from tests.bench.rows.hops import ROUNDS, Subject

SENT = 2_000_000_000
BLOCK = bytes(1 << 18)


def tcp_stream() -> list[Row]:
    subjects: dict[str, Subject] = {
        OURS: hauberk.tcp_hop, "envoy": envoy.tcp_hop, "haproxy": haproxy.tcp_hop,
    }  # fmt: skip
    rate: dict[str, list[float]] = {name: [] for name in subjects}
    cpu: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            with (
                TemporaryDirectory() as folder,
                source() as backend_port,
                subject(Path(folder), backend_port) as measured,
            ):
                before, began = measured.cpu_seconds(), time.monotonic()
                received = receive(measured.port)
                rate[name].append(received / 1e6 / (time.monotonic() - began))
                cpu[name].append((measured.cpu_seconds() - before) / (received / 1e9))
    return compare("tcp_stream", "MB/s", rate) + compare("tcp_stream_cpu", "CPU s/GB", cpu)


def receive(port: int) -> int:
    """Ask for the stream, and count it to its end. Raises RuntimeError if bytes are missing."""
    received, buffer = 0, bytearray(1 << 18)
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(b"go")
        while count := connection.recv_into(buffer):
            received += count
    if received < SENT:
        raise RuntimeError(f"expected {SENT} bytes, found {received}")
    return received


@contextmanager
def source() -> Iterator[int]:
    """Sends `SENT` bytes on each connection that asks; the probes that connect and leave get nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)


def accept(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # shut down: the measurement is over
            return
        threading.Thread(target=send, args=(connection,), daemon=True).start()


def send(connection: socket.socket) -> None:
    with connection:
        if connection.recv(2) != b"go":
            return
        for _ in range(-(-SENT // len(BLOCK))):
            connection.sendall(BLOCK)

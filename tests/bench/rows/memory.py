"""Resident memory of one plain hop: just started, and with 1,000 idle connections that each made a request."""

import socket
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.peers import envoy, haproxy, hauberk, nginx
from tests.bench.process import Measured
from tests.bench.report import OURS, Row, compare
from tests.bench.rows.hops import ROUNDS, Subject

CONNECTIONS = 1000
MEGABYTE = 1e6
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def memory() -> list[Row]:
    subjects: dict[str, Subject] = {
        OURS: hauberk.hop, "envoy": envoy.hop, "nginx": nginx.hop, "haproxy": haproxy.hop,
    }  # fmt: skip
    idle: dict[str, list[float]] = {name: [] for name in subjects}
    connected: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            with (
                TemporaryDirectory() as folder,
                nginx.backend(Path(folder)) as backend,
                subject(Path(folder), backend.port) as measured,
            ):
                idle[name].append(measured.resident_bytes() / MEGABYTE)
                connected[name].append(with_connections(measured) / MEGABYTE)
    return compare("memory_idle", "MB", idle) + compare("memory_connections", "MB", connected)


def with_connections(measured: Measured) -> int:
    """Resident bytes while every connection is open and has had one answer."""
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", measured.port), 10))
            connection.sendall(REQUEST)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"expected an answer of 200 on 127.0.0.1:{measured.port}")
        return measured.resident_bytes()

"""Resident memory of one plain hop: just started, and with 1,000 idle connections that each made a request."""

import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.load import LoadError
from tests.bench.peers import envoy, haproxy, hauberk, nginx
from tests.bench.process import Measured
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject
from tests.bench.settings import Settings

CONNECTIONS = 1000
MEGABYTE = 1e6
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def memory(settings: Settings, progress: Progress) -> list[Measurement]:
    with TemporaryDirectory() as folder, nginx.backend(Path(folder)) as backend:
        port = backend.port
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.hop, backend_port=port),
            "envoy": partial(envoy.hop, backend_port=port),
            "nginx": partial(nginx.hop, backend_port=port),
            "haproxy": partial(haproxy.hop, backend_port=port),
        }
        idle: dict[str, list[float]] = {name: [] for name in subjects}
        connected: dict[str, list[float]] = {name: [] for name in subjects}
        for number in range(1, settings.rounds + 1):
            for name, start in subjects.items():
                with TemporaryDirectory() as inner, start(Path(inner)) as measured:
                    idle[name].append(measured.resident_bytes() / MEGABYTE)
                    connected[name].append(with_connections(measured) / MEGABYTE)
                progress.say(
                    f"memory {number}/{settings.rounds} {name}: {idle[name][-1]:.1f} MB idle, "
                    f"{connected[name][-1]:.1f} MB with {CONNECTIONS} connections"
                )
    each = {
        name: [
            (after - before) * 1000 / CONNECTIONS
            for before, after in zip(idle[name], connected[name], strict=True)
        ]
        for name in subjects
    }
    return [
        Measurement("memory_idle", "MB", idle),
        Measurement("memory_connections", "MB", connected),
        Measurement("memory_a_connection", "KB", each),
    ]


def with_connections(measured: Measured) -> int:
    """Resident bytes while every connection is open and has had one answer."""
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection((measured.host, measured.port), 10))
            connection.sendall(REQUEST)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                raise LoadError(f"expected an answer of 200 on {measured.host}:{measured.port}")
        return measured.resident_bytes()

"""Bytes through one plain TCP hop: rate, CPU time a gigabyte, and latency of small requests over it."""

import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench import load
from tests.bench.load import LoadError, Paced
from tests.bench.peers import envoy, haproxy, hauberk, nginx
from tests.bench.process import Measured
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject
from tests.bench.settings import Settings

TIMES = 8
"""The server's stream is asked for so often, on one connection."""
BUFFERS = {"1 MiB": None, "256 KiB": 256 << 10, "64 KiB": 64 << 10}
"""Of Envoy, a connection."""
LATENCIES: dict[str, Callable[[Paced, Paced], float]] = {
    "p50": lambda through, _: through.p50,
    "p99": lambda through, _: through.p99,
    "added_p50": lambda through, direct: through.p50 - direct.p50,
    "added_p99": lambda through, direct: through.p99 - direct.p99,
}


def tcp_stream(settings: Settings, progress: Progress) -> list[Measurement]:
    with TemporaryDirectory() as folder, nginx.backend(Path(folder)) as backend:
        port = backend.port
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.hop, backend_port=port, protocol="tcp"),
            "haproxy": partial(haproxy.hop, backend_port=port, tcp=True),
        }
        for size, count in BUFFERS.items():
            chosen = envoy.Settings(buffer_bytes=count)
            subjects[f"envoy {size}"] = partial(envoy.hop, backend_port=port, protocol="tcp", settings=chosen)
        rate: dict[str, list[float]] = {name: [] for name in subjects}
        cpu: dict[str, list[float]] = {name: [] for name in subjects}
        paced: dict[str, list[tuple[Paced, Paced]]] = {name: [] for name in subjects}
        for number in range(1, settings.rounds + 1):
            direct = load.pace("http1", backend, settings.rate, settings.seconds)
            for name, start in subjects.items():
                with TemporaryDirectory() as inner, start(Path(inner)) as measured:
                    receive(measured, 1)
                    before, began = measured.cpu_seconds(), time.monotonic()
                    received = receive(measured, TIMES)
                    rate[name].append(received / 1e6 / (time.monotonic() - began))
                    cpu[name].append((measured.cpu_seconds() - before) / (received / 1e9))
                    paced[name].append(
                        (load.pace("http1", measured, settings.rate, settings.seconds), direct)
                    )
                progress.say(
                    f"tcp_stream {number}/{settings.rounds} {name}: {rate[name][-1]:.0f} MB/s, "
                    f"{cpu[name][-1]:.2f} CPU s/GB, p50 {paced[name][-1][0].p50:.0f} us"
                )
    better = max((name for name in rate if name.startswith("envoy")), key=lambda name: median(rate[name]))
    tried = ", ".join(f"{name} {median(rate[name]):.0f}" for name in rate if name.startswith("envoy"))
    names = {OURS: OURS, "envoy": better, "haproxy": "haproxy"}
    return [
        Measurement("tcp_stream", "MB/s", only(rate, names), [f"best of Envoy's buffers (MB/s: {tried})"]),
        Measurement("tcp_stream_cpu", "CPU s/GB", only(cpu, names)),
        *[
            Measurement(
                f"tcp_stream_{suffix}",
                "us",
                {side: [figure(*one) for one in paced[name]] for side, name in names.items()},
            )
            for suffix, figure in LATENCIES.items()
        ],
    ]


def only(samples: Mapping[str, list[float]], names: Mapping[str, str]) -> dict[str, list[float]]:
    return {side: samples[name] for side, name in names.items()}


def receive(measured: Measured, times: int) -> int:
    """Ask for the stream so many times and count its bytes. Raises LoadError if bytes are missing."""
    buffer = bytearray(1 << 18)
    total = 0
    with socket.create_connection((measured.host, measured.port), 30) as connection:
        for _ in range(times):
            connection.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            missing = nginx.STREAM_BYTES - beginning(connection)
            while missing > 0 and (count := connection.recv_into(buffer, min(len(buffer), missing))):
                missing -= count
            if missing > 0:
                raise LoadError(f"expected {nginx.STREAM_BYTES} bytes, found {missing} missing")
            total += nginx.STREAM_BYTES
    return total


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

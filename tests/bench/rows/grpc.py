"""Unary gRPC calls through one plain hop, HTTP/2 on both sides."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import objects
from tests.bench.gates import Place
from tests.bench.peers import envoy, haproxy, hauberk, nginx
from tests.bench.process import Measured, accepts, free_port, running, says_ready
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject, measure, measurements
from tests.bench.settings import Settings


@contextmanager
def backend(folder: Path) -> Iterator[Measured]:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.grpc_server", "127.0.0.1", str(port)]
    with running(command, accepts(port), folder / "grpc.log"):
        yield Measured((), port)


@contextmanager
def program(folder: Path, place: Place) -> Iterator[Measured]:
    """The same server in a pod, at the pod's own address."""
    host, port = str(place.network.address), objects.PROGRAM_PORT
    command = [*place.in_pod, sys.executable, "-m", "tests.bench.grpc_server", host, str(port)]
    log = folder / "grpc.log"
    with running(command, says_ready(log), log):
        yield Measured((), port, host, place.in_pod)


def grpc_hop(settings: Settings, progress: Progress) -> list[Measurement]:
    with TemporaryDirectory() as folder, backend(Path(folder)) as server:
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.hop, backend_port=server.port, protocol="grpc"),
            "envoy": partial(envoy.hop, backend_port=server.port, protocol="grpc"),
            "nginx": partial(nginx.hop, backend_port=server.port, front_http2=True, grpc=True),
            "haproxy": partial(haproxy.hop, backend_port=server.port, front_http2=True, back_http2=True),
        }
        results = measure("grpc_hop", subjects, server, "grpc", settings, progress)
    note = "the server, grpcio in Python, is what limits the rate: compare CPU time and latency"
    return measurements("grpc_hop", results, [note])

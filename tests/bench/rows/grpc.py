"""Unary gRPC calls through one plain hop, HTTP/2 on both sides."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import load
from tests.bench.peers import envoy, hauberk
from tests.bench.process import Measured, free_port, running
from tests.bench.report import OURS, Row
from tests.bench.rows.hops import measure, rows


@contextmanager
def backend(folder: Path) -> Iterator[Measured]:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.grpc_server", str(port)]
    with running(command, port, folder / "grpc.log") as measured:
        yield measured


def grpc_hop() -> list[Row]:
    subjects = {OURS: hauberk.grpc_hop, "envoy": envoy.grpc_hop}
    return rows("grpc_hop", measure(subjects, load.grpc, backend))

"""Hauberk's data plane: the example `two_hop` runs it from snapshots made in the process."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.process import Measured, free_port, running

PROGRAM = Path("target/release/examples/two_hop")


def build() -> None:
    """Build the program as it is released, so that what is measured is what the sources say."""
    command = ["cargo", "build", "--quiet", "--release", "-p", "hauberk-proxy", "--example", "two_hop"]
    subprocess.run(command, check=True)


@contextmanager
def hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    with start(folder, backend_port, "plain") as measured:
        yield measured


@contextmanager
def grpc_hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    """HTTP/2 without TLS on both sides."""
    with start(folder, backend_port, "h2c") as measured:
        yield measured


@contextmanager
def tcp_hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    with start(folder, backend_port, "tcp") as measured:
        yield measured


@contextmanager
def two_hops(folder: Path, backend_port: int, protocol: str) -> Iterator[Measured]:
    """Both proxies in one process, so that its CPU time is that of the two. `protocol` is an ALPN name."""
    with start(folder, backend_port, protocol) as measured:
        yield measured


@contextmanager
def start(folder: Path, backend_port: int, protocol: str) -> Iterator[Measured]:
    port = free_port()
    command = [str(PROGRAM), str(port), str(backend_port), protocol]
    with running(command, port, folder / "hauberk.log") as measured:
        yield measured

"""Hauberk's data plane: the example `two_hop` runs it from snapshots made in the process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.process import Measured, free_port, running

PROGRAM = Path("target/release/examples/two_hop")


@contextmanager
def hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    with start(folder, backend_port, "plain") as measured:
        yield measured


@contextmanager
def two_hops(folder: Path, backend_port: int, protocol: str) -> Iterator[Measured]:
    """Both proxies in one process, so that its CPU time is that of the two. `protocol` is an ALPN name."""
    with start(folder, backend_port, protocol) as measured:
        yield measured


@contextmanager
def start(folder: Path, backend_port: int, protocol: str) -> Iterator[Measured]:
    if not PROGRAM.exists():
        raise FileNotFoundError(
            f"expected {PROGRAM}; build it: cargo build --release -p hauberk-proxy --example two_hop"
        )
    port = free_port()
    command = [str(PROGRAM), str(port), str(backend_port), protocol]
    with running(command, port, folder / "hauberk.log") as measured:
        yield measured

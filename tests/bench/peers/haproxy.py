"""haproxy with one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.process import Measured, free_port, running


@contextmanager
def hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    with start(folder, backend_port, "http") as measured:
        yield measured


@contextmanager
def tcp_hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    with start(folder, backend_port, "tcp") as measured:
        yield measured


@contextmanager
def start(folder: Path, backend_port: int, mode: str) -> Iterator[Measured]:
    port = free_port()
    file = folder / "haproxy.cfg"
    file.write_text(
        f"""global
  nbthread 1
  maxconn 8192
defaults
  mode {mode}
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  {"http-reuse always" if mode == "http" else ""}
frontend front
  bind 127.0.0.1:{port}
  default_backend app
backend app
  server one 127.0.0.1:{backend_port}
"""
    )
    with running(["haproxy", "-db", "-f", str(file)], port, folder / "haproxy.log") as measured:
        yield measured

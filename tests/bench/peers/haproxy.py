"""haproxy with one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.process import Measured, accepts, free_port, running

LOG = (
    r'log-format "{\"start_time\":\"%tr\",\"method\":\"%HM\",\"path\":\"%HP\",\"protocol\":\"%HV\",'
    r"\"response_code\":\"%ST\",\"response_flags\":\"%tsc\",\"bytes_received\":\"%U\",\"bytes_sent\":\"%B\","
    r"\"duration\":\"%Ta\",\"request_id\":\"%ID\",\"upstream_cluster\":\"%b\",\"upstream_host\":\"%si:%sp\","
    r'\"downstream_local_address\":\"%fi:%fp\",\"downstream_remote_address\":\"%ci:%cp\"}"'
)


@contextmanager
def hop(
    folder: Path,
    backend_port: int,
    *,
    front_http2: bool = False,
    back_http2: bool = False,
    tcp: bool = False,
    access_log: bool = True,
) -> Iterator[Measured]:
    """Without TLS. `front_http2`, `back_http2`: HTTP/2 by prior knowledge from the caller, to the server."""
    port = free_port()
    file = folder / "haproxy.cfg"
    file.write_text(
        f"""global
  nbthread 1
  maxconn 8192
  {"log stdout format raw local0 info" if access_log else ""}
defaults
  mode {"tcp" if tcp else "http"}
  {"log global" if access_log else ""}
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  {"" if tcp else "http-reuse always"}
frontend front
  bind 127.0.0.1:{port} {"proto h2" if front_http2 else ""}
  {("option tcplog" if tcp else LOG) if access_log else ""}
  default_backend app
backend app
  server one 127.0.0.1:{backend_port} {"proto h2" if back_http2 else ""}
"""
    )
    # Its log goes to standard output, which is a file here.
    with running(["haproxy", "-db", "-f", str(file)], accepts(port), folder / "haproxy.log") as pid:
        yield Measured((pid,), port)

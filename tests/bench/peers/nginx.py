"""nginx: the server behind every proxy, and a proxy to compare with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.process import Measured, free_port, running

BODY = "x" * 128


@contextmanager
def backend(folder: Path) -> Iterator[Measured]:
    """Answers every request with 200 and 128 bytes over HTTP/1.1."""
    with serve(folder, "backend", "", f'default_type text/plain; return 200 "{BODY}";') as measured:
        yield measured


@contextmanager
def hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    upstream = (
        f"upstream app {{ server 127.0.0.1:{backend_port}; keepalive 64; keepalive_requests 100000000; }}"
    )
    proxy = 'proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";'
    with serve(folder, "nginx", upstream, proxy) as measured:
        yield measured


@contextmanager
def serve(folder: Path, name: str, upstream: str, location: str) -> Iterator[Measured]:
    port = free_port()
    file = folder / f"{name}.conf"
    file.write_text(
        f"""daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 3600s;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-fastcgi; uwsgi_temp_path {folder}/{name}-uwsgi;
  scgi_temp_path {folder}/{name}-scgi;
  {upstream}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ {location} }} }}
}}
"""
    )
    with running(["nginx", "-c", str(file), "-e", "stderr"], port, folder / f"{name}.log") as measured:
        yield measured

"""nginx: the server behind every proxy, and a proxy to compare with."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.process import Measured, accepts, free_port, running

ANSWER = f'default_type text/plain; return 200 "{"x" * 128}";'
STREAM_BYTES = 256_000_000
USER = "user root;" if os.geteuid() == 0 else ""
"""A worker must read `/stream` in a folder that is the user's alone."""
LOG = (
    'log_format bench escape=json \'{"start_time":"$time_iso8601","method":"$request_method","authority":"$host",'
    '"path":"$request_uri","protocol":"$server_protocol","response_code":"$status","bytes_received":"$request_length",'
    '"bytes_sent":"$body_bytes_sent","duration":"$request_time","request_id":"$request_id",'
    '"upstream_host":"$upstream_addr","downstream_local_address":"$server_addr:$server_port",'
    '"downstream_remote_address":"$remote_addr:$remote_port"}\';'
)


@contextmanager
def backend(folder: Path, *, http2: bool = False) -> Iterator[Measured]:
    """Answers every request with 200 and 128 bytes, but `/stream` with `STREAM_BYTES` zeros."""
    port = free_port()
    name = "backend2" if http2 else "backend"
    listen = f"127.0.0.1:{port}{' http2' if http2 else ''}"
    written = configuration(folder, name, listen, ANSWER, more=stream(folder))
    with running(command(written), accepts(port), folder / f"{name}.log"):
        yield Measured((), port)


def stream(folder: Path) -> str:
    """The location of a file without blocks: reading it costs the server no disk."""
    file = folder / "stream"
    with file.open("wb") as made:
        made.truncate(STREAM_BYTES)
    return f"location = /stream {{ alias {file}; }}"


@contextmanager
def program(folder: Path, address: str, port: int, prefix: Sequence[str]) -> Iterator[Measured]:
    """The same server in a pod, at the pod's own address. `prefix` is what a command begins with to run there."""
    file = configuration(folder, "program", f"{address}:{port}", ANSWER, more=stream(folder))
    pid_file = folder / "program.pid"
    with running([*prefix, *command(file)], pid_file.exists, folder / "program.log"):
        yield Measured((), port, address, tuple(prefix))


@contextmanager
def hop(
    folder: Path,
    backend_port: int,
    *,
    front_http2: bool = False,
    grpc: bool = False,
    access_log: bool = True,
) -> Iterator[Measured]:
    """Without TLS. `front_http2`: HTTP/2 by prior knowledge from the caller; `grpc`: to the server too."""
    port = free_port()
    outside = (
        f"upstream app {{ server 127.0.0.1:{backend_port}; keepalive 64; keepalive_requests 100000000; }}"
    )
    if access_log:
        outside += f" {LOG} access_log {folder}/nginx-access.log bench buffer=64k flush=1s;"
    http1 = 'proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";'
    listen = f"127.0.0.1:{port}{' http2' if front_http2 else ''}"
    location = "grpc_pass grpc://app;" if grpc else http1
    file = configuration(folder, "nginx", listen, location, outside, log_off=not access_log)
    with running(command(file), accepts(port), folder / "nginx.log") as pid:
        yield Measured((pid,), port)


def command(file: Path) -> list[str]:
    return ["nginx", "-c", str(file), "-e", "stderr"]


def configuration(
    folder: Path,
    name: str,
    listen: str,
    location: str,
    outside: str = "",
    *,
    more: str = "",
    log_off: bool = True,
) -> Path:
    """One worker; `outside` stands beside the server, `more` within it."""
    file = folder / f"{name}.conf"
    file.write_text(
        f"""{USER} daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr;
events {{ worker_connections 8192; }}
http {{
  sendfile on;
  {"access_log off;" if log_off else ""} keepalive_requests 100000000; keepalive_timeout 3600s;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-fastcgi; uwsgi_temp_path {folder}/{name}-uwsgi;
  scgi_temp_path {folder}/{name}-scgi;
  {outside}
  server {{ listen {listen} backlog=4096; location / {{ {location} }} {more} }}
}}
"""
    )
    return file

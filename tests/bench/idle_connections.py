"""Idle connections over mutual TLS: `python -m tests.bench.idle_connections HOST PORT COUNT FOLDER SOURCE`.

It runs in a gate and calls as that gate's proxy does: from SOURCE, marked, with `web.pem`, `web.key` and `ca.pem` of
FOLDER. Each connection makes one request; then it writes `ready` and keeps them all until its standard input ends.
"""

import socket
import ssl
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.bench.load import LoadError

from hauberk.node.rules import UPSTREAM_MARK

IP_TRANSPARENT = 19
REQUEST = b"GET / HTTP/1.1\r\nHost: ledger\r\n\r\n"


def main() -> None:
    host, port, count, folder, source = sys.argv[1:]
    context = ssl.create_default_context(cafile=str(Path(folder) / "ca.pem"))
    context.check_hostname = False  # names of the mesh are URIs
    context.load_cert_chain(Path(folder) / "web.pem", Path(folder) / "web.key")
    context.set_alpn_protocols(["istio-http", "http/1.1"])
    with ExitStack() as stack:
        for _ in range(int(count)):
            connection = stack.enter_context(context.wrap_socket(connect(host, int(port), source)))
            connection.sendall(REQUEST)
            if not (answer := connection.recv(65536)).startswith(b"HTTP/1.1 200"):
                raise LoadError(f"expected an answer of 200 on {host}:{port}, found {answer[:200]!r}")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


def connect(host: str, port: int, source: str) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(10)
    connection.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, UPSTREAM_MARK)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.bind((source, 0))
    connection.connect((host, port))
    return connection


if __name__ == "__main__":
    main()

"""`python -m tests.bench [NAME…]`: measure the named rows, or all, into build/bench.json and a table."""

import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import report
from tests.bench.peers import hauberk
from tests.bench.rows import control_plane, grpc, hops, memory, tcp

ROWS: dict[str, Callable[[], list[report.Row]]] = {
    "http1_hop": hops.http1_hop,
    "http2_hop": hops.http2_hop,
    "grpc_hop": grpc.grpc_hop,
    "tcp_stream": tcp.tcp_stream,
    "http1_mtls_two_hop": hops.http1_mtls_two_hop,
    "memory": memory.memory,
    "push_one_endpoint": control_plane.push_one_endpoint,
}


def main(names: list[str]) -> None:
    if unknown := [name for name in names if name not in ROWS]:
        sys.exit(f"expected names among {', '.join(ROWS)}, found {', '.join(unknown)}")
    hauberk.build()
    rows = [row for name in names or ROWS for row in ROWS[name]()]
    report.write(rows, Path("build/bench.json"))
    sys.stdout.write(report.table(rows) + "\n")


main(sys.argv[1:])

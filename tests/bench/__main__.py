"""Measures Hauberk beside Envoy, nginx and haproxy into build/bench.json, build/bench-run.json and a table."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.bench import report
from tests.bench.machine import this_machine
from tests.bench.peers import hauberk
from tests.bench.progress import Progress
from tests.bench.rows import (
    control_plane,
    grpc,
    hops,
    memory,
    mtls_memory,
    new_connection,
    payment,
    policy,
    routes,
    tcp,
    two_hops,
    workers,
)
from tests.bench.settings import FULL, QUICK, Settings

ROWS: dict[str, Callable[[Settings, Progress], list[report.Measurement]]] = {
    "http1_hop": hops.http1_hop,
    "http2_hop": hops.http2_hop,
    "grpc_hop": grpc.grpc_hop,
    "tcp_plain_stream": tcp.tcp_plain_stream,
    "tcp_stream": tcp.tcp_stream,
    "http1_mtls_two_hop": two_hops.http1_mtls_two_hop,
    "grpc_mtls_two_hop": two_hops.grpc_mtls_two_hop,
    "http1_hop_unlogged": hops.http1_hop_unlogged,
    "http1_mtls_two_hop_unlogged": two_hops.http1_mtls_two_hop_unlogged,
    "mtls_new_connection": new_connection.mtls_new_connection,
    "memory": memory.memory,
    "memory_mtls": mtls_memory.memory_mtls,
    "policy_1000": policy.policy_1000,
    "routes_10000": routes.routes_10000,
    "workers": workers.workers,
    "payment_overhead": payment.payment_overhead,
    "push_one_endpoint": control_plane.push_one_endpoint,
    "rolling_deployment": control_plane.rolling_deployment,
    "control_plane_curve": control_plane.control_plane_curve,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="one short round: that it works, not how fast")
    parser.add_argument("--rounds", type=int, help=f"rounds of every subject in turn ({FULL.rounds})")
    parser.add_argument(
        "--output", type=Path, default=Path("build"), help="the folder of the results (build)"
    )
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"expected rows of {', '.join(ROWS)}, found {', '.join(unknown)}")
    settings = QUICK if options.quick else FULL
    if options.rounds:
        settings = Settings(**{**asdict(settings), "rounds": options.rounds})
    machine, progress = this_machine(), Progress()
    progress.say(str(machine))
    progress.say("building the release binaries")
    hauberk.build()
    measured: list[report.Measurement] = []
    text = ""
    for name in options.rows or ROWS:
        measured += ROWS[name](settings, progress)
        # After each row, so that a run that is ended early leaves what it has found.
        text = report.write(measured, machine, asdict(settings), options.output)
    sys.stdout.write(text)
    progress.say(f"written: {options.output}/bench.json, bench-run.json, bench.txt")


if __name__ == "__main__":
    main()

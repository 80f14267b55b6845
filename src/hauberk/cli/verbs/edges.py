"""`hauberk edges`: who calls whom, how often, how fast, and as whom."""

from typing import Any

import click

from hauberk.cli.context import Context, asynchronous
from hauberk.cli.node_api import edges
from hauberk.cli.output import BAD, GOOD, console, duration, print_json, print_table, size, styled

Edge = dict[str, Any]


@click.command("edges")
@click.option("--seconds", default=30, show_default=True, help="Over how long the rates are reckoned.")
@click.option("-n", "--namespace", default="", help="Only edges that begin or end there.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@asynchronous
async def command(context: Context, seconds: int, namespace: str, output: str) -> int:
    """Who calls whom: rates, latencies, and the identities that both sides proved.

    \b
    Examples:
      hauberk edges
      hauberk edges -n bank --seconds 60 -o json
    """
    async with context.connect() as client:
        found = [
            edge for edge in await edges(client, seconds)
            if not namespace or namespace in (_namespace(edge["source"]), _namespace(edge["destination"]))
        ]  # fmt: skip
    if output == "json":
        print_json(found)
        return 0
    print_edges(found)
    if not found:
        console().print(f"Nobody called anybody in the last {seconds} s.")
    return 0


def print_edges(found: list[Edge]) -> None:
    """A table of edges."""
    rows = []
    for edge in sorted(found, key=lambda edge: -(edge["requests_per_second"] or 0)):
        success = edge["success_rate"]
        rows.append(
            (
                _workload(edge["source"]),
                _workload(edge["destination"]),
                f"{edge['requests_per_second']:.1f}" if edge["requests_per_second"] else "-",
                "-" if success is None else styled(f"{100 * success:.1f}%", GOOD if success > 0.99 else BAD),
                duration(edge["p50_ms"]),
                duration(edge["p99_ms"]),
                f"{size(edge['tcp_bytes_per_second'])}/s" if edge["tcp_bytes_per_second"] else "-",
                str(edge["open_connections"] if edge["open_connections"] is not None else "-"),
                styled("mTLS", GOOD) if edge["mtls"] else styled("PLAIN", BAD),
                _identity(edge["source"]),
                _identity(edge["destination"]),
            )
        )
    headers = (
        "FROM", "TO", "RPS", "SUCCESS", "P50", "P99", "TCP", "OPEN", "LINK", "CALLER", "CALLEE",
    )  # fmt: skip
    print_table(headers, rows)


def _workload(side: dict[str, Any]) -> str:
    return f"{_namespace(side)}/{side.get('workload') or '?'}"


def _namespace(side: dict[str, Any]) -> str:
    """As the metrics say, or else as the identity says."""
    parts = str(side.get("spiffe_id") or "").split("/")
    return side.get("namespace") or (parts[parts.index("ns") + 1] if "ns" in parts[:-1] else "?")


def _identity(side: dict[str, Any]) -> str:
    return str(side.get("spiffe_id") or "none proved").removeprefix("spiffe://")

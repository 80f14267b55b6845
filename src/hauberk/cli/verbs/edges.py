"""`hauberk edges`: who calls whom, how often, how fast, and as whom."""

from typing import Any

import click

from hauberk.cli.completing import complete_namespaces
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.node_api import edges
from hauberk.cli.output import BAD, GOOD, console, duration, print_json, print_table, size, styled
from hauberk.store.http_client import HttpClient

Edge = dict[str, Any]
OUTCOMES = ("success", "denied", "error")


@click.command("edges")
@click.option("--seconds", default=30, show_default=True, help="Over how long the rates are reckoned.")
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Only edges that begin or end there.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@asynchronous
async def command(context: Context, seconds: int, namespace: str, output: str) -> int:
    """Who calls whom: rates, what became of the requests, latencies, and the identities that both sides proved.

    DENIED are requests answered 401 or 403 (in gRPC PERMISSION_DENIED, UNAUTHENTICATED), ERROR those answered 5xx or
    not at all (in gRPC the statuses of a failed server); the rest is SUCCESS.

    \b
    Examples:
      hauberk edges
      hauberk edges -n bank --seconds 60 -o json
    """
    async with context.connect() as client:
        found = await edges_of(client, seconds, namespace)
    if output == "json":
        print_json(found)
        return 0
    print_edges(found)
    if not found:
        console().print(f"Nobody called anybody in the last {seconds} s.")
    return 0


async def edges_of(client: HttpClient, seconds: int, namespace: str) -> list[Edge]:
    """The edges that begin or end in `namespace`; all of them if it is empty."""
    return [
        edge for edge in await edges(client, seconds)
        if not namespace or namespace in (_namespace(edge["source"]), _namespace(edge["destination"]))
    ]  # fmt: skip


def print_edges(found: list[Edge]) -> None:
    """A table of edges."""
    rows = []
    for edge in sorted(found, key=lambda edge: -(edge["requests_per_second"] or 0)):
        rows.append(
            (
                _workload(edge["source"]),
                _workload(edge["destination"]),
                f"{edge['requests_per_second']:.1f}" if edge["requests_per_second"] else "-",
                *(_share(edge, outcome) for outcome in OUTCOMES),
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
        "FROM", "TO", "RPS", *map(str.upper, OUTCOMES), "P50", "P99", "TCP", "OPEN", "LINK", "CALLER", "CALLEE",
    )  # fmt: skip
    print_table(headers, rows)


def _share(edge: Edge, outcome: str) -> Any:
    """Of the requests, in per cent; good is success alone."""
    rates, all_of_them = edge["outcomes_per_second"], edge["requests_per_second"]
    if not all_of_them or (outcome != "success" and not rates[outcome]):
        return "-"
    return styled(f"{100 * rates[outcome] / all_of_them:.1f}%", GOOD if outcome == "success" else BAD)


def _workload(side: dict[str, Any]) -> str:
    return f"{_namespace(side)}/{side.get('workload') or '?'}"


def _namespace(side: dict[str, Any]) -> str:
    """As the metrics say, or else as the identity says."""
    parts = str(side.get("spiffe_id") or "").split("/")
    return side.get("namespace") or (parts[parts.index("ns") + 1] if "ns" in parts[:-1] else "?")


def _identity(side: dict[str, Any]) -> str:
    return str(side.get("spiffe_id") or "none proved").removeprefix("spiffe://")

"""`hauberk proxy-status`: what each proxy was sent, has, and refused."""

from typing import Any

import click

from hauberk.cli.completing import complete_namespaces
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.errors import ExitCode
from hauberk.cli.output import BAD, GOOD, print_json, print_table, styled

TYPES = ("CDS", "LDS", "EDS", "RDS")
STYLES = {"SYNCED": GOOD, "NACK": BAD, "STALE": BAD}


@click.command("proxy-status")
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Only proxies of this namespace.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@asynchronous
async def command(context: Context, namespace: str, output: str) -> int:
    """Show whether each connected proxy has what the control plane sent it, and which objects cannot be translated.

    Exit code 1 if there is such an object, or a proxy refused what it was sent.

    \b
    Examples:
      hauberk proxy-status
      hauberk proxy-status -n bank -o json
    """
    async with context.connect() as client:
        answer = await client.raw("GET", "/hauberk/v1/proxy-status")
    proxies = [each for each in answer["proxies"] if namespace in {"", each["namespace"]}]
    refused = [each for each in answer["refused"] if namespace in {"", each["namespace"]}]
    if output == "json":
        print_json({"proxies": proxies, "refused": refused})
    else:
        _print(proxies)
        for one in refused:
            name = f"{one['kind']} {one['namespace']}/{one['name']}"
            click.echo(f"{name} has no effect, since it cannot be translated: {one['reason']}")
    if refused:
        return ExitCode.FAILED
    return ExitCode.FAILED if any(_refusals(each) for each in proxies) else ExitCode.OK


def _print(proxies: list[dict[str, Any]]) -> None:
    rows = []
    for each in sorted(proxies, key=lambda proxy: (proxy["namespace"], proxy["name"])):
        by_type = {one["type"]: one for one in each["types"]}
        cells = [_cell(by_type.get(name)) for name in TYPES]
        rows.append((each["namespace"], each["name"], each["kind"], *cells, each["protocol"]))
    print_table(("NAMESPACE", "PROXY", "KIND", *TYPES, "PROTOCOL"), rows)
    for each in proxies:
        for name, reason in _refusals(each):
            click.echo(f"{each['namespace']}/{each['name']} refused {name}: {reason}")
    if not proxies:
        click.echo("No proxy is connected.", err=True)


def _cell(one: dict[str, Any] | None) -> Any:
    if one is None:
        return "-"
    return styled(f"{one['agreement']} ({one['resources']})", STYLES.get(one["agreement"], ""))


def _refusals(proxy: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["type"], one["reason"]) for one in proxy["types"] if one["reason"]]

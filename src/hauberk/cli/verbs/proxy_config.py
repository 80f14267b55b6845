"""`hauberk proxy-config`: what a pod's proxy runs with, or is meant to run with."""

from typing import Any
from urllib.parse import quote

import click

from hauberk.cli.context import Context, asynchronous
from hauberk.cli.node_api import node_path
from hauberk.cli.output import print_json, print_table, print_yaml
from hauberk.cli.pods import find_pod, node_of
from hauberk.store.http_client import HttpClient

SECTIONS = ("listeners", "routes", "clusters", "endpoints", "secrets")
INTENDED = {"listeners": "LDS", "routes": "RDS", "clusters": "CDS", "endpoints": "EDS"}
COLUMNS = {"listeners": ("address", "service", "policy_revision")}


@click.command("proxy-config")
@click.argument("pod", metavar="POD | KIND/NAME")
@click.argument("section", required=False, type=click.Choice(SECTIONS))
@click.option("-n", "--namespace", default="", help="Namespace. [default: the kubeconfig's]")
@click.option("--intended", is_flag=True, help="What the control plane means it to have.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table")
@asynchronous
async def command(
    context: Context, pod: str, section: str | None, namespace: str, intended: bool, output: str
) -> int:
    """Show the configuration that a pod's proxy runs: one SECTION, or all of them. Keys are never shown.

    \b
    Examples:
      hauberk proxy-config deploy/web -n bank
      hauberk proxy-config web-1 clusters -n bank -o json
      hauberk proxy-config web-1 listeners -n bank --intended -o yaml
    """
    async with context.connect() as client:
        where = namespace or client.connection.namespace
        if intended and section == "secrets":
            raise click.UsageError(
                "--intended: secrets come from the node's agent, not from the control plane"
            )
        found = await _read(client, where, pod, intended=intended)
    shown = {name: found.get(name, []) for name in SECTIONS if section in {None, name} and name in found}
    value = shown[section] if section else shown
    if output == "json":
        print_json(value)
    elif output == "yaml":
        print_yaml(value)
    else:
        for name, entries in shown.items():
            _print(name, entries, alone=section is not None)
    return 0


async def _read(client: HttpClient, namespace: str, word: str, *, intended: bool) -> dict[str, Any]:
    """Entries by section."""
    pod = await find_pod(client, namespace, word)
    name = pod["metadata"]["name"]
    if intended:
        answer = await client.raw("GET", f"/hauberk/v1/snapshot/{quote(namespace)}/{quote(name)}")
        return {section: answer[short] for section, short in INTENDED.items()}
    page = f"proxy/{quote(namespace)}/{quote(name)}/config_dump"
    found: dict[str, Any] = await client.raw("GET", node_path(node_of(pod), page))
    return found


def _print(section: str, entries: list[dict[str, Any]], *, alone: bool) -> None:
    columns = ("name", *COLUMNS.get(section, ()), "version")
    used = [name for name in columns if name == "name" or any(name in each for each in entries)]
    if not alone:
        click.echo(f"{section} ({len(entries)})")
    rows = [[_cell(each, name) for name in used] for each in entries]
    print_table([name.upper().replace("_", " ") for name in used], rows)
    if not alone:
        click.echo()


def _cell(entry: dict[str, Any], name: str) -> str:
    if name == "name":
        return str(entry.get("name") or entry.get("cluster_name") or "-")
    value = entry.get(name)
    if isinstance(value, dict):  # an address as Envoy writes it
        at = value.get("socket_address", {})
        return f"{at.get('address')}:{at.get('port_value')}"
    return str(value or "-")

"""`hauberk proxy-config`: what a pod's proxy runs with, or is meant to run with."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from hauberk.cli import envoy_config_dump
from hauberk.cli.completing import complete_namespaces, complete_pods
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.node_api import node_path
from hauberk.cli.output import BAD, print_json, print_table, print_yaml, styled
from hauberk.cli.pods import find_pod, node_of
from hauberk.cli.proxy_tables import SECTIONS, Resource, name_of, port_of, rows_of
from hauberk.store.http_client import HttpClient

SECRETS = "secrets"
NAMES = (*SECTIONS, SECRETS)


@click.command("proxy-config")
@click.argument("pod", metavar="POD | KIND/NAME", shell_complete=complete_pods)
@click.argument("section", required=False, type=click.Choice(NAMES))
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Namespace. [default: the kubeconfig's]",
)  # fmt: skip
@click.option("--name", default="", help="Only what has this in its name.")
@click.option("--port", type=click.IntRange(1, 65535), help="Only what is about this port.")
@click.option("--intended", is_flag=True, help="What the control plane means it to have.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table")
@asynchronous
async def command(
    context: Context,
    pod: str,
    section: str | None,
    namespace: str,
    name: str,
    port: int | None,
    intended: bool,
    output: str,
) -> int:
    """Show the configuration that a pod's proxy runs: one SECTION, or all of them. Keys are never shown.

    In a table, rows say what the control plane intends; STATE is `missing` for what the proxy does not have, and
    `left over` for what it has and should not. As JSON and YAML you get what the proxy itself says.

    \b
    Examples:
      hauberk proxy-config deploy/web -n bank
      hauberk proxy-config web-1 clusters -n bank --port 5432
      hauberk proxy-config web-1 routes -n bank --name ledger -o json
      hauberk proxy-config web-1 listeners -n bank --intended -o yaml
    """
    wanted = [each for each in NAMES if section in {None, each}]
    if intended and section == SECRETS:
        raise click.UsageError("--intended: secrets come from the node's agent, not from the control plane")
    chosen = _Chosen(name, port)
    async with context.connect() as client:
        proxy = _Proxy(client, await find_pod(client, namespace or client.connection.namespace, pod))
        if output == "table":
            for each in wanted:
                await _print(proxy, each, chosen, intended=intended, alone=section is not None)
            return 0
        found = await proxy.intended() if intended else await proxy.running()
    shown = {
        each: [entry for entry in found[each] if chosen.has(each, entry)] for each in wanted if each in found
    }
    value = shown[section] if section else shown
    print_json(value) if output == "json" else print_yaml(value)
    return 0


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What the filters leave."""

    name: str
    port: int | None

    def has(self, section: str, resource: Resource) -> bool:
        if self.port is not None and (section == SECRETS or self.port != port_of(section, resource)):
            return False
        return self.name in name_of(resource)


@dataclass(frozen=True, slots=True)
class _Proxy:
    """The proxy of a pod, asked through the control plane."""

    client: HttpClient
    pod: Resource

    async def intended(self) -> dict[str, list[Resource]]:
        metadata = self.pod["metadata"]
        where = f"/hauberk/v1/snapshot/{quote(metadata['namespace'])}/{quote(metadata['name'])}"
        answer = await self.client.raw("GET", where)
        return {section.name: answer[section.short] for section in SECTIONS.values()}

    async def running(self) -> dict[str, list[Resource]]:
        found = await self._page("config_dump")
        if envoy_config_dump.is_envoys(found):
            # Unless it is asked for them, an Envoy leaves out the endpoints.
            found = envoy_config_dump.sections(await self._page("config_dump", {"include_eds": "true"}))
        return {section: found.get(section, []) for section in NAMES}

    async def certificates(self) -> list[Resource]:
        found = await self._page("certs")
        return found if isinstance(found, list) else envoy_config_dump.certificates(found)

    async def _page(self, page: str, query: dict[str, str | int] | None = None) -> Any:
        metadata = self.pod["metadata"]
        where = f"proxy/{quote(metadata['namespace'])}/{quote(metadata['name'])}/{page}"
        return await self.client.raw("GET", node_path(node_of(self.pod), where, query))


async def _print(proxy: _Proxy, section: str, chosen: _Chosen, *, intended: bool, alone: bool) -> None:
    if section == SECRETS:
        if not intended:
            _print_secrets(
                [each for each in await proxy.certificates() if chosen.has(SECRETS, each)], alone=alone
            )
        return
    meant = [each for each in (await proxy.intended())[section] if chosen.has(section, each)]
    headers: tuple[str, ...] = SECTIONS[section].headers
    rows: list[tuple[Any, ...]]
    if intended:
        rows = [row for each in meant for row in rows_of(section, each)]
    else:
        running = {name_of(each): each for each in (await proxy.running())[section]}
        headers = (*headers, "STATE")
        rows = [
            (*row, "live" if name_of(each) in running else styled("missing", BAD))
            for each in meant
            for row in rows_of(section, each)
        ]
        named = {name_of(each) for each in meant}
        rows += [
            (name, *("-" for _ in headers[2:]), styled("left over", BAD))
            for name, each in running.items()
            if name not in named and chosen.has(section, each)
        ]
    _print_section(section, headers, rows, alone=alone)


def _print_secrets(found: list[Resource], *, alone: bool) -> None:
    rows = [
        (
            str(each.get("name")),
            str(each.get("spiffe_id") or each.get("error") or "-"),
            str(each.get("serial") or "-"),
            *(_moment(each.get(key)) for key in ("not_before", "not_after")),
        )
        for each in found
    ]
    _print_section(SECRETS, ("NAME", "IDENTITY", "SERIAL", "NOT BEFORE", "NOT AFTER"), rows, alone=alone)


def _moment(seconds: int | None) -> str:
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _print_section(
    section: str, headers: tuple[str, ...], rows: list[tuple[Any, ...]], *, alone: bool
) -> None:
    if not alone:
        click.echo(f"{section} ({len(rows)})")
    if rows:
        print_table(headers, rows)
    elif alone:
        click.echo(f"No {section} that the proxy has fit.", err=True)
    if not alone:
        click.echo()

"""`hauberk get`: objects as the server prints them, or as YAML, JSON or names."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from hauberk.cli.context import Context, asynchronous
from hauberk.cli.custom_kinds import served_kinds
from hauberk.cli.output import print_json, print_table, print_yaml
from hauberk.cli.references import Reference, parse_references
from hauberk.model.kind import Kind, Object
from hauberk.store.client import ObjectList
from hauberk.store.http_client import HttpClient, path
from hauberk.store.tables import table

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@click.command("get")
@click.argument("what", nargs=-1, required=True, metavar="KIND [NAME]... | KIND/NAME...")
@click.option("-n", "--namespace", default="", help="Namespace. [default: the kubeconfig's]")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-l", "--selector", default="", help="Only objects with these labels.")
@click.option("--field-selector", default="", help="Only objects with these fields.")
@click.option("-o", "--output", type=click.Choice(["table", "wide", "yaml", "json", "name"]), default="table")
@click.option("-w", "--watch", is_flag=True, help="Go on with what changes, until Ctrl-C.")
@asynchronous
async def command(
    context: Context,
    what: tuple[str, ...],
    namespace: str,
    all_namespaces: bool,
    selector: str,
    field_selector: str,
    output: str,
    watch: bool,
) -> int:
    """List objects, as the server prints them.

    \b
    Examples:
      hauberk get pods -A -o wide
      hauberk get pods,svc -n bank -l app=web
      hauberk get deploy/web -n bank -o yaml
      hauberk get pods -w
    """
    async with context.connect() as client:
        found = parse_references(what, await served_kinds(client))
        where = None if all_namespaces else namespace or client.connection.namespace
        asked = _Asked(client, where, selector, field_selector)
        if watch:
            if len(found) != 1 or isinstance(found[0], Reference):
                raise click.UsageError(
                    "--watch: expected one kind; for one object: --field-selector metadata.name=NAME"
                )
            await asked.watch(found[0], output)
        elif output in {"table", "wide"}:
            await _print_tables(asked, found, wide=output == "wide")
        else:
            single = len(found) == 1 and isinstance(found[0], Reference)
            print_objects(await asked.objects(found), output, single=single)
    return 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which objects of a kind."""

    client: HttpClient
    namespace: str | None
    label_selector: str
    field_selector: str

    async def objects(self, found: Sequence[Kind | Reference]) -> list[Object]:
        objects: list[Object] = []
        for each in found:
            if isinstance(each, Reference):
                objects.append(await self.client.get(each.kind, self.namespace, each.name))
            else:
                objects += (await self._list(each)).items
        return objects

    async def table(self, each: Kind | Reference) -> Object:
        if isinstance(each, Reference):
            where, query = path(each.kind, self.namespace, each.name), {}
        else:
            where = path(each, self.namespace)
            query = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        answer: Object = await self.client.raw("GET", where, query=query, accept=TABLE)
        return answer

    async def watch(self, kind: Kind, output: str) -> None:
        """Prints what is there and then each change; a watch that ends is begun again where it was."""
        listed = await self._list(kind)
        self._print(kind, listed.items, output, headers=True)
        version = listed.resource_version
        while True:
            async for event in self.client.watch(
                kind,
                self.namespace,
                resource_version=version,
                label_selector=self.label_selector,
                field_selector=self.field_selector,
            ):
                version = event.object["metadata"]["resourceVersion"]
                if event.type != "BOOKMARK":
                    self._print(kind, [event.object], output, headers=False)

    def _print(self, kind: Kind, objects: list[Object], output: str, *, headers: bool) -> None:
        if output in {"table", "wide"}:
            rows = table(kind, objects, now=datetime.now(UTC))
            print_rows(rows, wide=output == "wide", namespaces=self.namespace is None, headers=headers)
        else:
            for each in objects:
                print_objects([each], output, single=True)
        sys.stdout.flush()

    async def _list(self, kind: Kind) -> ObjectList:
        return await self.client.list(
            kind, self.namespace, label_selector=self.label_selector, field_selector=self.field_selector
        )


async def _print_tables(asked: _Asked, found: Sequence[Kind | Reference], *, wide: bool) -> None:
    """A table for each kind; named objects of one kind share theirs."""
    tables: dict[str, Object] = {}
    for each in found:
        kind = each.kind if isinstance(each, Reference) else each
        name = f"{kind.name}.{kind.group}"
        answer = await asked.table(each)
        if name in tables:
            tables[name]["rows"] += answer["rows"]
        else:
            tables[name] = answer
    shown = [each for each in tables.values() if each["rows"]]
    for number, answer in enumerate(shown):
        if number:
            click.echo()
        print_rows(answer, wide=wide, namespaces=asked.namespace is None)
    if not shown:
        where = f" in namespace {asked.namespace}" if asked.namespace else ""
        click.echo(f"No objects found{where}.", err=True)


def print_rows(answer: Object, *, wide: bool, namespaces: bool, headers: bool = True) -> None:
    """A `meta.k8s.io/v1` Table; `wide` shows the columns of lower priority too."""
    shown = [
        number
        for number, column in enumerate(answer["columnDefinitions"])
        if wide or not column.get("priority")
    ]
    titles = [answer["columnDefinitions"][number]["name"].upper() for number in shown]
    rows = []
    for row in answer["rows"]:
        cells = [row["cells"][number] for number in shown]
        metadata = (row.get("object") or {}).get("metadata", {})
        rows.append([metadata.get("namespace", ""), *cells] if namespaces else cells)
    if namespaces and any(row[0] for row in rows):
        titles = ["NAMESPACE", *titles]
    elif namespaces:
        rows = [row[1:] for row in rows]
    print_table(titles if headers else (), rows)


def print_objects(objects: list[Object], output: str, *, single: bool) -> None:
    """Objects as `yaml`, `json` or `name`; several as a `List`."""
    if output == "name":
        for each in objects:
            group = each["apiVersion"].rpartition("/")[0]
            click.echo(f"{each['kind'].lower()}{f'.{group}' if group else ''}/{each['metadata']['name']}")
        return
    value = objects[0] if single else {"apiVersion": "v1", "kind": "List", "items": objects}
    if output == "json":
        print_json(value)
    else:
        print_yaml(value)

"""`hauberk get`: objects as the server prints them, or as YAML, JSON or names."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import click

from hauberk.cli.completing import complete_namespaces, complete_objects
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.custom_kinds import served_kinds
from hauberk.cli.output import GrowingTable, print_json, print_table, print_yaml
from hauberk.cli.references import Reference, parse_references
from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError, ObjectList
from hauberk.store.http_client import HttpClient, path
from hauberk.store.tables import table

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@click.command("get")
@click.argument(
    "what", nargs=-1, required=True, shell_complete=complete_objects, metavar="KIND [NAME]... | KIND/NAME..."
)
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Namespace. [default: the kubeconfig's]",
)  # fmt: skip
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
      hauberk get deploy/web -n bank -w
    """
    async with context.connect() as client:
        found = parse_references(what, await served_kinds(client))
        where = None if all_namespaces else namespace or client.connection.namespace
        asked = Asked(client, where, selector, field_selector)
        if watch:
            if len(found) != 1:
                raise click.UsageError("--watch: expected one kind, or one object, found several")
            each = found[0]
            if isinstance(each, Reference):
                asked = replace(asked, field_selector=f"metadata.name={each.name}")
            await asked.watch(each.kind if isinstance(each, Reference) else each, output)
        elif output in {"table", "wide"}:
            await _print_tables(asked, found, wide=output == "wide")
        else:
            single = len(found) == 1 and isinstance(found[0], Reference)
            print_objects(await asked.objects(found), output, single=single)
    return 0


@dataclass(frozen=True, slots=True)
class Asked:
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
        """Prints what is there and then each change.

        A watch that ends is begun again where it was; one whose place in history is forgotten, from what there is
        now: of that only what was not printed yet.
        """
        printed: dict[str, str] = {}
        shown = GrowingTable()
        listed = await self._list(kind)
        self._print(kind, listed.items, output, shown, headers=True)
        while True:
            printed |= {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in listed.items}
            try:
                await self._follow(kind, listed.resource_version, output, shown, printed)
            except ApiError as error:
                if error.code != 410:
                    raise
            listed = await self._list(kind)
            new = [
                each for each in listed.items
                if printed.get(each["metadata"]["uid"]) != each["metadata"]["resourceVersion"]
            ]  # fmt: skip
            self._print(kind, new, output, shown, headers=False)

    async def _follow(
        self, kind: Kind, version: str, output: str, shown: GrowingTable, printed: dict[str, str]
    ) -> None:
        """Prints changes for as long as the server remembers where it was; raises `ApiError` 410 then."""
        while True:
            async for event in self.client.watch(
                kind,
                self.namespace,
                resource_version=version,
                label_selector=self.label_selector,
                field_selector=self.field_selector,
            ):
                metadata = event.object["metadata"]
                version = metadata["resourceVersion"]
                if event.type != "BOOKMARK":
                    printed[metadata["uid"]] = version
                    self._print(kind, [event.object], output, shown, headers=False)

    def _print(
        self, kind: Kind, objects: list[Object], output: str, shown: GrowingTable, *, headers: bool
    ) -> None:
        if output in {"table", "wide"}:
            found = table(kind, objects, now=datetime.now(UTC))
            titles, rows = cells_of(found, wide=output == "wide", namespaces=self.namespace is None)
            shown.print([titles, *rows] if headers else rows)
        else:
            for each in objects:
                print_objects([each], output, single=True)
        sys.stdout.flush()

    async def _list(self, kind: Kind) -> ObjectList:
        return await self.client.list(
            kind, self.namespace, label_selector=self.label_selector, field_selector=self.field_selector
        )


async def _print_tables(asked: Asked, found: Sequence[Kind | Reference], *, wide: bool) -> None:
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


def print_rows(answer: Object, *, wide: bool, namespaces: bool) -> None:
    """A `meta.k8s.io/v1` Table."""
    print_table(*cells_of(answer, wide=wide, namespaces=namespaces))


def cells_of(answer: Object, *, wide: bool, namespaces: bool) -> tuple[list[str], list[list[Any]]]:
    """Titles and rows of a `meta.k8s.io/v1` Table; `wide` has the columns of lower priority too."""
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
    return titles, rows


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

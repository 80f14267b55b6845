"""`hauberk describe`: an object as a person reads it, with its events."""

from typing import Any

import click

from hauberk.cli.completing import complete_namespaces, complete_objects
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.custom_kinds import served_kinds
from hauberk.cli.describing import age, lines_of
from hauberk.cli.output import print_table
from hauberk.cli.pod_traffic import describe_traffic
from hauberk.cli.references import Reference, parse_references
from hauberk.model import kinds
from hauberk.model.kind import Kind, Object
from hauberk.model.kubernetes.networking import NetworkPolicy
from hauberk.model.struct import parse
from hauberk.node.network_policy import directions, selects
from hauberk.store.http_client import HttpClient


@click.command("describe")
@click.argument(
    "what", nargs=-1, required=True, shell_complete=complete_objects, metavar="KIND [NAME]... | KIND/NAME..."
)
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Namespace. [default: the kubeconfig's]",
)  # fmt: skip
@click.option("-l", "--selector", default="", help="Only objects with these labels.")
@asynchronous
async def command(context: Context, what: tuple[str, ...], namespace: str, selector: str) -> int:
    """Show objects in full, with what happened to them. Secrets' data is shown by its size only.
    Of a pod it says in words what traffic policy does to it.

    \b
    Examples:
      hauberk describe pod web-1 -n bank
      hauberk describe deploy/web svc/web -n bank
    """
    async with context.connect() as client:
        where = namespace or client.connection.namespace
        found = await _find(client, what, where, selector)
        for number, (kind, obj) in enumerate(found):
            if number:
                click.echo("\n")
            for line in lines_of(kind, obj):
                click.echo(line)
            if kind is kinds.POD:
                for line in await describe_traffic(client, obj):
                    click.echo(line)
                await _print_network_policies(client, obj)
            await _print_events(client, obj)
    if not found:
        click.echo(f"No objects found in namespace {where}.", err=True)
    return 0


async def _find(
    client: HttpClient, what: tuple[str, ...], where: str, selector: str
) -> list[tuple[Kind, Object]]:
    found: list[tuple[Kind, Object]] = []
    for each in parse_references(what, await served_kinds(client)):
        if isinstance(each, Reference):
            found.append((each.kind, await client.get(each.kind, where, each.name)))
        else:
            listed = await client.list(each, where, label_selector=selector)
            found += [(each, item) for item in listed.items]
    return found


async def _print_network_policies(client: HttpClient, pod: Object) -> None:
    """Which select the pod, and in which directions they let through what they name and nothing else."""
    metadata = pod["metadata"]
    listed = await client.list(kinds.NETWORK_POLICY, metadata["namespace"])
    policies = [parse(NetworkPolicy, each) for each in listed.items]
    chosen = [each for each in policies if selects(each, metadata["namespace"], metadata.get("labels") or {})]
    if not chosen:
        click.echo("Network policies: <none: any pod may call it, and it may call any>")
        return
    click.echo("Network policies:")
    for each in chosen:
        click.echo(f"  {each.metadata.name} ({', '.join(sorted(directions(each), reverse=True))})")


async def _print_events(client: HttpClient, obj: Object) -> None:
    metadata = obj["metadata"]
    selector = f"involvedObject.name={metadata['name']},involvedObject.kind={obj['kind']}"
    events = await client.list(kinds.EVENT, metadata.get("namespace"), field_selector=selector)
    if not events.items:
        click.echo("Events: <none>")
        return
    click.echo("Events:")
    print_table(
        ("  TYPE", "REASON", "AGE", "COUNT", "FROM", "MESSAGE"),
        [_event_row(each) for each in sorted(events.items, key=_seen)],
    )


def _event_row(event: Object) -> tuple[Any, ...]:
    source = (event.get("source") or {}).get("component") or event.get("reportingComponent") or "-"
    return (
        f"  {event.get('type', 'Normal')}",
        event.get("reason"),
        age(_seen(event)),
        event.get("count") or 1,
        source,
        str(event.get("message") or "").strip(),
    )


def _seen(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])

"""`hauberk delete`: objects out of the API."""

from pathlib import Path

import click

from hauberk.cli.applying import in_order, read_manifests
from hauberk.cli.completing import complete_namespaces, complete_objects
from hauberk.cli.context import Context, asynchronous, wait_for
from hauberk.cli.custom_kinds import Kinds, served_kinds
from hauberk.cli.errors import ExitCode
from hauberk.cli.references import Reference, parse_references
from hauberk.cli.tour import FILE_NAME
from hauberk.model.kind import Kind
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient, path

Target = tuple[Kind, str | None, str]
"""Kind, namespace (None if it has none), name."""
OPTIONS = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}


@click.command("delete")
@click.argument("what", nargs=-1, shell_complete=complete_objects, metavar="[KIND NAME... | KIND/NAME...]")
@click.option(
    "-f", "--filename", "paths", multiple=True,
    type=click.Path(path_type=Path, exists=True, allow_dash=True),
    help="Delete what these manifests describe.",
)  # fmt: skip
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Namespace. [default: the kubeconfig's]",
)  # fmt: skip
@click.option("-l", "--selector", default="", help="With a kind: all of it with these labels.")
@click.option("--all", "everything", is_flag=True, help="With a kind: all of it in the namespace.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Return once they are gone.")
@click.option("--timeout", default=60, show_default=True, help="Seconds to wait.")
@click.option("--ignore-not-found", is_flag=True, help="What is gone already is no failure.")
@asynchronous
async def command(
    context: Context,
    what: tuple[str, ...],
    paths: tuple[Path, ...],
    namespace: str,
    selector: str,
    everything: bool,
    wait: bool,
    timeout: int,
    ignore_not_found: bool,
) -> int:
    """Delete objects, and what they own; with -f, in the reverse order of `apply`.

    \b
    Examples:
      hauberk delete deploy/web svc/web -n bank
      hauberk delete pods -n bank -l app=web
      hauberk delete -f examples/bank --no-wait
    """
    if bool(what) == bool(paths):
        raise click.UsageError("expected either KIND NAME or -f FILE")
    if paths and (selector or everything):
        raise click.UsageError(
            f"{_chosen(selector)} goes with a kind, found it with -f, which deletes all that the files describe: "
            f"use `hauberk delete KIND {_chosen(selector)}`, or -f alone"
        )
    async with context.connect() as client:
        known = await served_kinds(client)
        where = namespace or client.connection.namespace
        if paths:
            targets = _written(paths, known)
        else:
            targets = await _named(client, what, where, known, selector, everything)
        deleted = [(target, await delete_one(client, target)) for target in targets]
        if wait:
            await until_gone(client, [(target, uid) for target, uid in deleted if uid is not None], timeout)
    return 0 if ignore_not_found or all(uid is not None for _, uid in deleted) else ExitCode.REFUSED


def _chosen(selector: str) -> str:
    return "-l SELECTOR" if selector else "--all"


def _written(paths: tuple[Path, ...], known: Kinds) -> list[Target]:
    located = in_order(read_manifests(paths, without={FILE_NAME}, lookup=known.by_gvk))
    return [(item.kind, item.namespace or None, item.name) for item in reversed(located)]


async def _named(
    client: HttpClient, what: tuple[str, ...], where: str, known: Kinds, selector: str, everything: bool
) -> list[Target]:
    targets: list[Target] = []
    for each in parse_references(what, known):
        kind = each.kind if isinstance(each, Reference) else each
        within = where if kind.namespaced else None
        if isinstance(each, Reference):
            if selector or everything:
                raise click.UsageError(
                    f"expected a kind alone with {_chosen(selector)}, found the name {each.name} too: "
                    "leave one of them out"
                )
            targets.append((kind, within, each.name))
        elif not selector and not everything:
            raise click.UsageError(f"expected a name after {what[0]}, or -l SELECTOR, or --all")
        else:
            listed = await client.list(kind, within, label_selector=selector)
            targets += [(kind, within, item["metadata"]["name"]) for item in listed.items]
    return targets


async def delete_one(client: HttpClient, target: Target) -> str | None:
    """The UID of what was deleted; None if it was not there."""
    kind, namespace, name = target
    label = f"{kind.singular}{f'.{kind.group}' if kind.group else ''}/{name}"
    try:
        answer = await client.raw("DELETE", path(kind, namespace, name), OPTIONS)
    except ApiError as error:
        if error.code != 404:
            raise
        click.echo(f"{label} not found", err=True)
        return None
    click.echo(f"{label} deleted")
    told = answer["details"] if answer["kind"] == "Status" else answer["metadata"]
    return str(told["uid"])


async def until_gone(client: HttpClient, deleted: list[tuple[Target, str]], seconds: float) -> None:
    """Returns when none of them is there; what has come in the place of one, under its name, has another UID."""
    left = list(deleted)

    async def gone() -> bool:
        while left:
            (kind, namespace, name), uid = left[0]
            try:
                found = await client.get(kind, namespace, name)
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                if found["metadata"]["uid"] == uid:
                    return False
            del left[0]
        return True

    await wait_for(
        gone,
        seconds=seconds,
        what="expected all of it to be gone",
        remedy="see what holds it: `hauberk get KIND NAME -o yaml` (finalizers, owners), or use --no-wait",
    )

"""`hauberk analyze`: mistakes in manifests or in a namespace."""

from pathlib import Path

import click

from hauberk.cli.applying import read_texts
from hauberk.cli.completing import complete_namespaces
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.output import print_json
from hauberk.cli.tour import FILE_NAME
from hauberk.model import kinds
from hauberk.model.analysis.report import Report, analyze_files, analyze_objects
from hauberk.model.manifest import Located
from hauberk.store.http_client import HttpClient


@click.command("analyze")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, allow_dash=True))
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Judge what is in this namespace.",
)  # fmt: skip
@click.option("-A", "--all-namespaces", is_flag=True, help="Judge what is in every namespace.")
@click.option("-R", "--recursive", is_flag=True, help="Also the folders within.")
@click.option("--strict", is_flag=True, help="Warnings too make the exit code 1.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@asynchronous
async def command(
    context: Context,
    files: tuple[Path, ...],
    namespace: str,
    all_namespaces: bool,
    recursive: bool,
    strict: bool,
    output: str,
) -> int:
    """Find mistakes: in FILES alone (no control plane is needed), or in a namespace of the control plane.

    FILES beside -n are judged together with what the control plane has. Exit code 2 if there are errors, 1 with
    --strict if there are warnings.

    \b
    Examples:
      hauberk analyze examples/bank --strict
      hauberk analyze -n bank
      hauberk analyze new.yaml -n bank -o json
    """
    if not files and not namespace and not all_namespaces:
        raise click.UsageError("expected FILES, or -n NAMESPACE, or -A")
    texts = read_texts(files, without={FILE_NAME}, recursive=recursive)
    if namespace or all_namespaces:
        async with context.connect() as client:
            found = await _objects(client)
        report = (
            analyze_files(texts, beside=found) if texts else _within(analyze_objects(found), found, namespace)
        )
    else:
        report = analyze_files(texts)
    if output == "json":
        print_json(report.to_json())
    else:
        click.echo(report.render_text())
    return report.exit_code(strict=strict)


async def _objects(client: HttpClient) -> list[Located]:
    """Everything that rules look at, of all namespaces: what refers to what knows no bounds."""
    found = []
    for kind in kinds.ALL:
        if kind.storage_version or kind.name in {"Event", "Lease", "ControllerRevision"}:
            continue
        found += [Located(kind, item) for item in (await client.list(kind)).items]
    return found


def _within(report: Report, found: list[Located], namespace: str) -> Report:
    """Only what concerns `namespace`; everything if that is empty."""
    if not namespace:
        return report
    kept = tuple(each for each in report.findings if f" {namespace}/" in each.subject)
    return Report(kept, sum(item.namespace == namespace for item in found))

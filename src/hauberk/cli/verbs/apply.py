"""`hauberk apply`: manifests into the API."""

from pathlib import Path

import click

from hauberk.cli.applying import apply_objects, read_manifests
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.custom_kinds import served_kinds
from hauberk.cli.tour import FILE_NAME


@click.command("apply")
@click.option(
    "-f", "--filename", "paths", multiple=True, required=True,
    type=click.Path(path_type=Path, exists=True, allow_dash=True),
    help="A manifest, a folder of manifests, or - for standard input.",
)  # fmt: skip
@click.option("-R", "--recursive", is_flag=True, help="Also the folders within.")
@click.option("--dry-run", is_flag=True, help="Try it on the server, and change nothing.")
@asynchronous
async def command(context: Context, paths: tuple[Path, ...], recursive: bool, dry_run: bool) -> int:
    """Create or change objects as manifests describe them.

    Everything is checked before anything is applied: if one document is wrong, nothing changes, and every error
    is listed with its file and line.

    \b
    Examples:
      hauberk apply -f bank.yaml
      hauberk apply -f examples/bank --dry-run
      cat web.yaml | hauberk apply -f -
    """
    async with context.connect() as client:
        located = read_manifests(
            paths, without={FILE_NAME}, recursive=recursive, lookup=(await served_kinds(client)).by_gvk
        )
        for outcome in await apply_objects(client, located, dry_run=dry_run):
            click.echo(outcome.line + (" (dry run)" if dry_run else ""))
    return 0

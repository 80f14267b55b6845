"""`hauberk down`: ends an instance and leaves nothing of it running."""

import shutil

import click

from hauberk.cli import processes
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.output import progress_console


@click.command("down")
@click.option("--purge", is_flag=True, help="Also delete its state: objects, secrets, volumes, CA, key file.")
@asynchronous
async def command(context: Context, purge: bool) -> int:
    """End the instance: its pods, its node, its control plane. Its state stays unless --purge is given.

    \b
    Examples:
      hauberk down
      hauberk --instance try down --purge
    """

    async def report(what: str) -> None:
        progress_console().print(f"{what} …")

    ran = await processes.stop(context.instance, report)
    shutil.rmtree(context.instance.run, ignore_errors=True)
    if purge:
        remove_state(context)
    progress_console().print("stopped" if ran else "nothing was running")
    return 0


def remove_state(context: Context) -> None:
    """Deletes all that the instance kept on disk."""
    shutil.rmtree(context.instance.state, ignore_errors=True)
    context.instance.key_file.unlink(missing_ok=True)

"""`hauberk restore`: an instance made anew from a backup."""

from pathlib import Path

import click

from hauberk.cli.context import current_context
from hauberk.cli.errors import CommandError
from hauberk.daemon import backup as daemon_backup
from hauberk.daemon.lock import AlreadyRunningError
from hauberk.store.backup import BackupError
from hauberk.store.database import DatabaseError


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--database", default="", help="hauberkd's --database, if it is not SQLite in the state folder."
)
def command(file: Path, database: str) -> None:
    """Make the instance anew from FILE. It must not run, and there must be nothing that would be overwritten.

    \b
    Examples:
      hauberk down
      hauberk --instance copy restore bank.backup
    """
    instance = current_context().instance
    try:
        daemon_backup.restore(file, instance.state, database)
    except AlreadyRunningError as error:
        raise CommandError(f"nothing was restored: {error}", "end it first: `hauberk down`") from error
    except (BackupError, DatabaseError, ValueError) as error:
        raise CommandError(
            f"nothing was restored: {error}",
            "restore into another instance: `hauberk --instance NAME restore FILE`",
        ) from error
    click.echo(f"restored into {instance.state}; hauberkd needs the key file of then at {instance.key_file}")
    if not instance.key_file.exists():
        click.echo(f"there is no {instance.key_file} yet: put it there before `hauberk up`", err=True)

"""`hauberk backup`: an instance into a file."""

from pathlib import Path

import click

from hauberk.cli.context import current_context
from hauberk.cli.errors import CommandError
from hauberk.daemon import backup as daemon_backup
from hauberk.store.backup import BackupError
from hauberk.store.database import DatabaseError


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--database", default="", help="hauberkd's --database, if it is not SQLite in the state folder."
)
def command(file: Path, database: str) -> None:
    """Write the instance's objects and its certificate authority into FILE, whether it runs or not.

    Secrets in it are encrypted under the key file, which is not in it: keep that in another place.

    \b
    Examples:
      hauberk backup bank.backup
      hauberk --instance try backup /media/try.backup
    """
    instance = current_context().instance
    try:
        daemon_backup.backup(file, instance.state, database)
    except (BackupError, DatabaseError, ValueError) as error:
        raise CommandError(f"no backup was made: {error}", "mend that and try again") from error
    click.echo(
        f"{file}: {file.stat().st_size} bytes; keep {instance.key_file} too, without which it is of no use"
    )

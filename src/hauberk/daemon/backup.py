"""Backup and restore of a whole instance: the store, the issuing CA and the root. The key file is not in it."""

import contextlib
from pathlib import Path

from hauberk.daemon.api import open_database
from hauberk.daemon.files import private_folder
from hauberk.daemon.lock import instance_lock
from hauberk.daemon.options import parse_database
from hauberk.store import backup as store_backup


def backup(file: Path, state: Path, database: str = "") -> None:
    """Write the instance whose state folder is `state` into `file`, while it runs or not.

    `database` is hauberkd's `--database`; empty for SQLite in the state folder. The root's key is in the backup if
    it is in `STATE/root`. Everything secret in it is encrypted under the key file: keep that apart.

    Raises:
        BackupError: the file cannot be written, or there is nothing to write.
        DatabaseError: the database cannot be read.
    """
    if not (state / "ca").is_dir():
        raise store_backup.BackupError(
            f"expected a state folder with a CA at {state}, found none; name it with --state"
        )
    with contextlib.closing(open_database(parse_database(database, state))) as opened:
        store_backup.backup(opened, file, _folders(state))


def restore(file: Path, state: Path, database: str = "") -> None:
    """Make the instance anew from `file`. hauberkd must not run, and the store and the CA must be absent.

    Raises:
        AlreadyRunningError: hauberkd runs on `state`.
        BackupError: the file is damaged, or something is there already; nothing is overwritten.
        DatabaseError: the database is not empty, or cannot be written.
    """
    private_folder(state)
    with (
        instance_lock(state),
        contextlib.closing(open_database(parse_database(database, state))) as opened,
    ):
        store_backup.restore(file, opened, _folders(state))


def _folders(state: Path) -> dict[str, Path]:
    return {"ca": state / "ca", "root": state / "root"}

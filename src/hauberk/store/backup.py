"""Backup of the store and of directories beside it (the CA) into one file, and back.

The file is a tar archive: `manifest.json` with the SHA-256 of every other member, `store.msgpack` with the log as it
stands in the database (sensitive objects stay encrypted under the key file, which is not part of it), and
`extra/NAME/…` for each directory.
"""

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from hauberk.store.database import Contents, Database, Key, Row

FORMAT = 1
REVISION_STEP = 1_000_000
"""A restored store goes on this far ahead, so that no client takes an old revision for a new one."""


class BackupError(Exception):
    """A backup that cannot be written or read."""


class Manifest(msgspec.Struct):
    """What a backup holds."""

    format: int
    revision: int
    members: dict[str, str]
    """SHA-256 in hex by member."""


class StoredRow(msgspec.Struct, array_like=True):
    """A row of the log in a backup."""

    revision: int
    resource: str
    namespace: str
    name: str
    deleted: bool
    value: bytes


def backup(database: Database, path: Path, extra: Mapping[str, Path]) -> None:
    """Write `path` (mode 0600, whole or not at all) while the store is in use.

    `extra` are directories by the name that `restore` finds them under. Raises `BackupError`, `DatabaseError`.
    """
    contents = database.load()
    rows = [StoredRow(row.revision, *row.key, row.deleted, row.value) for row in contents.rows]
    members = {"store.msgpack": msgspec.msgpack.encode(rows)}
    try:
        for name, directory in extra.items():
            members |= {f"extra/{name}/{file}": data for file, data in _files(directory)}
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
        manifest = msgspec.json.encode(Manifest(FORMAT, contents.revision, digests))
        _write(path, {"manifest.json": manifest, **members})
    except OSError as error:
        raise BackupError(f"cannot write the backup {path}: {error}") from error


def restore(path: Path, database: Database, extra: Mapping[str, Path]) -> None:
    """Fill an empty database, and the directories named in `extra`, from a backup; it is checked whole first.

    Raises `BackupError` if the file is damaged or a directory is not empty, `DatabaseError` if the store is not.
    """
    manifest, members = _read(path)
    for directory in extra.values():
        if directory.exists() and any(directory.iterdir()):
            raise BackupError(f"expected {directory} to be empty or absent; move it away first")
    rows = msgspec.msgpack.decode(members["store.msgpack"], type=list[StoredRow])
    revision = manifest.revision + REVISION_STEP
    database.restore(
        Contents(
            [Row(r.revision, Key(r.resource, r.namespace, r.name), r.deleted, r.value) for r in rows],
            revision,
            # Whoever watched before must list again.
            revision,
        )
    )
    try:
        for member, data in members.items():
            parts = PurePosixPath(member).parts
            if parts[0] == "extra" and (root := extra.get(parts[1])) is not None:
                _put(root.joinpath(*parts[2:]), data)
    except OSError as error:
        raise BackupError(f"cannot restore a file of {path}: {error}") from error


def _files(directory: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(directory.rglob("*")):
        if file.is_file() and not file.is_symlink():
            yield file.relative_to(directory).as_posix(), file.read_bytes()


def _write(path: Path, members: Mapping[str, bytes]) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for name, data in members.items():
                    entry = tarfile.TarInfo(name)
                    entry.size, entry.mode = len(data), 0o600
                    archive.addfile(entry, io.BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for entry in archive:
                if (found := archive.extractfile(entry)) is not None:
                    members[entry.name] = found.read()
        manifest = msgspec.json.decode(members.pop("manifest.json"), type=Manifest)
    except (OSError, EOFError, tarfile.TarError, KeyError, msgspec.DecodeError) as error:
        raise BackupError(
            f"{path}: expected a backup that `hauberk backup` wrote; found: {error!r}"
        ) from error
    if manifest.format != FORMAT:
        raise BackupError(f"{path}: expected backup format {FORMAT}, found {manifest.format}")
    for name, digest in manifest.members.items():
        if hashlib.sha256(members.get(name, b"")).hexdigest() != digest:
            raise BackupError(f"{path}: {name} is missing or damaged; nothing was restored")
    for name in members:
        if name not in manifest.members or ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise BackupError(f"{path}: found {name}, which the backup's manifest does not list")
    return manifest, members


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

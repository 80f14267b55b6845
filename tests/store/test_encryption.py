"""Secrets at rest."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hauberk.model.kinds import ALL, CONFIG_MAP, SECRET
from hauberk.store import storage
from hauberk.store.bootstrap import bootstrap
from hauberk.store.database import Database, DatabaseError, Key, Put, Row, open_database
from hauberk.store.encryption import Sealer, SealError, create_key_file, generate_sealer, read_key_file
from hauberk.store.local_client import LocalClient
from hauberk.store.server import ApiServer
from hauberk.store.sqlite import SqliteDatabase

MARKER = "a-secret-nobody-should-read"


async def test_a_secret_is_not_in_the_file(tmp_path: Path) -> None:
    sealer = create_key_file(tmp_path / "key")
    path = tmp_path / "store.db"
    database = open_database(str(path))
    encoded = base64.b64encode(MARKER.encode()).decode()
    async with ApiServer.open(database, ALL, sealer=sealer) as server:
        await bootstrap(server.objects)
        client = LocalClient(server.objects)
        named = {"name": "s", "namespace": "default"}
        await client.create(CONFIG_MAP, {"metadata": named, "data": {"a": "plain-marker"}})
        await client.create(SECRET, {"metadata": named, "data": {"a": encoded}})
        await client.patch(SECRET, "default", "s", {"metadata": {"labels": {"a": "b"}}})
    files = contents_of(tmp_path)
    assert b"plain-marker" in files
    assert MARKER.encode() not in files
    assert encoded.encode() not in files
    assert b"PRIVATE KEY" not in files
    database.close()
    again = open_database(str(path))
    async with ApiServer.open(again, ALL, sealer=read_key_file(tmp_path / "key")) as server:
        found = await LocalClient(server.objects).get(SECRET, "default", "s")
        assert found["data"] == {"a": encoded}
    with pytest.raises(SealError, match="which the key file does not hold"):
        async with ApiServer.open(again, ALL, sealer=generate_sealer()):
            pass
    again.close()


def contents_of(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.glob("store.db*"))


def test_keys_rotate(tmp_path: Path) -> None:
    old = create_key_file(tmp_path / "old")
    sealed = old.seal(b"value", b"place")
    new = create_key_file(tmp_path / "new")
    both = tmp_path / "both"
    both.touch(mode=0o600)
    both.write_bytes((tmp_path / "new").read_bytes() + (tmp_path / "old").read_bytes())
    rotated = read_key_file(both)
    assert rotated.open(sealed, b"place") == b"value"
    assert not rotated.is_newest(sealed)
    assert new.open(rotated.seal(b"value", b"place"), b"place") == b"value"


class Interrupted(SqliteDatabase):
    """A database whose process is killed after one rewriting transaction."""

    def rewrite(self, rows: Sequence[Row]) -> None:
        super().rewrite(rows)
        raise DatabaseError("killed")


async def test_after_a_new_key_is_put_on_top_the_old_one_can_be_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History and deletions too; a part that was done before a kill stays done, and the rest follows."""
    monkeypatch.setattr(storage, "RESEALED_TOGETHER", 2)
    path = tmp_path / "store.db"
    old, new = generate_sealer(), generate_sealer()
    async with ApiServer.open(SqliteDatabase(path), ALL, sealer=old) as server:
        await bootstrap(server.objects)
        client = LocalClient(server.objects)
        for number in range(4):
            await client.create(
                SECRET, {"metadata": {"name": f"s{number}", "namespace": "default"}, "data": {}}
            )
        await client.patch(SECRET, "default", "s1", {"metadata": {"labels": {"a": "b"}}})
        await client.delete(SECRET, "default", "s2")
    rows = SqliteDatabase(path).load().rows
    rotated = Sealer({**new.keys, **old.keys}, new.newest)
    with pytest.raises(DatabaseError, match="killed"):
        async with ApiServer.open(Interrupted(path), ALL, sealer=rotated):
            pass
    assert 0 < count_under(path, new) < count_under(path, new) + count_under(path, old)
    async with ApiServer.open(SqliteDatabase(path), ALL, sealer=rotated):
        assert count_under(path, old) == 0
    resealed = SqliteDatabase(path).load().rows
    assert [(row.revision, row.key, row.deleted) for row in resealed[: len(rows)]] == [
        (row.revision, row.key, row.deleted) for row in rows
    ]
    async with ApiServer.open(SqliteDatabase(path), ALL, sealer=new) as server:
        assert (await LocalClient(server.objects).get(SECRET, "default", "s1"))["metadata"]["labels"]
        before = path.read_bytes()
    assert path.read_bytes() == before, "nothing is encrypted anew twice"


def count_under(path: Path, sealer: Sealer) -> int:
    rows = SqliteDatabase(path).load().rows
    return sum(sealer.is_newest(row.value) for row in rows if row.key.resource == "secrets")


def test_rewriting_changes_values_and_nothing_else(database: Database) -> None:
    key = Key("secrets", "default", "s")
    database.commit([[Put(key, b"one", 0)], [Put(Key("secrets", "default", "t"), b"two", 0)]])
    first, second = database.load().rows[-2:]
    database.rewrite([replace(first, value=b"three")])
    assert database.load().rows[-2:] == [replace(first, value=b"three"), second]
    assert database.revision() == second.revision


def test_what_was_moved_or_changed_does_not_open() -> None:
    sealer = generate_sealer()
    sealed = sealer.seal(b"value", b"place")
    with pytest.raises(SealError, match="does not open"):
        sealer.open(sealed, b"another place")
    for index in range(4, len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        with pytest.raises(SealError):
            sealer.open(bytes(changed), b"place")
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            sealer.open(sealed[:length], b"place")


def test_a_key_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SealError):
        create_key_file(path)
    path.chmod(0o644)
    with pytest.raises(SealError, match="can be read by others"):
        read_key_file(path)

"""Backup and restore, by losing both the store and the CA."""

import shutil
from pathlib import Path

import pytest

from hauberk.model.kinds import ALL, CONFIG_MAP, SECRET
from hauberk.store.backup import BackupError, backup, restore
from hauberk.store.bootstrap import bootstrap
from hauberk.store.client import ApiError
from hauberk.store.database import Database, DatabaseError, open_database
from hauberk.store.encryption import generate_sealer
from hauberk.store.local_client import LocalClient
from hauberk.store.server import ApiServer


async def test_store_and_authority_come_back(database: Database, location: str, tmp_path: Path) -> None:
    sealer = generate_sealer()
    authority = tmp_path / "ca"
    (authority / "issuing").mkdir(parents=True)
    (authority / "issuing" / "x.pem").write_bytes(b"certificate")
    file = tmp_path / "backup.tar.gz"
    secret = {"metadata": {"name": "s", "namespace": "default"}, "data": {"a": "c2VjcmV0LW1hcms="}}
    async with ApiServer.open(database, ALL, sealer=sealer) as server:
        await bootstrap(server.objects)
        client = LocalClient(server.objects)
        made = await client.create(SECRET, secret)
        other = open_database(location)  # as a command does while the server runs
        backup(other, file, {"ca": authority})
        other.close()
        late = await client.create(CONFIG_MAP, {"metadata": {"name": "late", "namespace": "default"}})
    assert file.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(authority)
    fresh = open_database(str(tmp_path / "restored.db"))
    restore(file, fresh, {"ca": authority})
    assert (authority / "issuing" / "x.pem").read_bytes() == b"certificate"
    async with ApiServer.open(fresh, ALL, sealer=sealer) as server:
        client = LocalClient(server.objects)
        found = await client.get(SECRET, "default", "s")
        assert found == made
        with pytest.raises(ApiError):
            await client.get(CONFIG_MAP, "default", "late")
        # A watch of before the loss must not go on as if nothing had happened.
        with pytest.raises(ApiError) as expired:
            async for _ in client.watch(SECRET, resource_version=late["metadata"]["resourceVersion"]):
                pass
        assert expired.value.code == 410
        new = await client.create(CONFIG_MAP, {"metadata": {"name": "n", "namespace": "default"}})
        assert int(new["metadata"]["resourceVersion"]) > int(late["metadata"]["resourceVersion"])
    with pytest.raises(DatabaseError, match="empty store"):
        restore(file, fresh, {})
    fresh.close()


def test_a_damaged_backup_restores_nothing(tmp_path: Path) -> None:
    source = open_database(str(tmp_path / "a.db"))
    file = tmp_path / "backup"
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "x").write_bytes(b"x")
    backup(source, file, {"ca": tmp_path / "ca"})
    whole = file.read_bytes()
    target = open_database(str(tmp_path / "b.db"))
    for damaged in (whole[: len(whole) // 2], b"", b"garbage" * 100, whole[:40] + b"\0\0\0" + whole[43:]):
        file.write_bytes(damaged)
        with pytest.raises(BackupError):
            restore(file, target, {})
        assert target.load().rows == []
    source.close()
    target.close()

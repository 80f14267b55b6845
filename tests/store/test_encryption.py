"""Secrets at rest."""

import base64
from pathlib import Path

import pytest

from hauberk.model.kinds import ALL, CONFIG_MAP, SECRET
from hauberk.store.bootstrap import bootstrap
from hauberk.store.database import open_database
from hauberk.store.encryption import SealError, create_key_file, generate_sealer, read_key_file
from hauberk.store.local_client import LocalClient
from hauberk.store.server import ApiServer

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

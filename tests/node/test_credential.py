"""When the node goes over to another credential: in time, and not at each start of the control plane."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hauberk.node import credential
from hauberk.node.credential import superseded, supersedes
from hauberk.store.kubeconfig import Connection, format_kubeconfig

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
NAME = x509.Name([])


def certificate(days: int) -> bytes:
    """Valid from `BEGIN` on; each call makes another."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(BEGIN + timedelta(days=days))
    )
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


def connection(*days: int, roots: bytes = b"roots") -> Connection:
    """With a chain whose certificates are valid for so many days."""
    return Connection("https://127.0.0.1:1", roots, b"".join(map(certificate, days)), PRIVATE)


USED = connection(365, 90)


@pytest.mark.parametrize(
    ("found", "day", "expected"),
    [
        (USED, 80, False),
        (connection(365), 44, False),
        (connection(365), 46, True),
        (connection(365), -1, True),
        (connection(365, roots=b"other"), 1, True),
    ],
    ids=["the same", "before half life", "after half life", "a clock set back", "other roots"],
)
def test_it_goes_over_in_time(found: Connection, day: int, expected: bool) -> None:
    assert supersedes(found, USED, BEGIN + timedelta(days=day)) is expected


async def test_a_file_that_cannot_be_read_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(credential, "LOOK_SECONDS", 0.01)
    file = tmp_path / "kubeconfig"
    file.write_text("{")
    waiting = asyncio.create_task(superseded(file, USED, lambda: BEGIN))
    await _until(lambda: "cannot be read" in caplog.text)
    assert not waiting.done()
    file.write_text(format_kubeconfig(connection(90, roots=b"other")))
    await asyncio.wait_for(waiting, 5)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a log sets no event
            await asyncio.sleep(0.01)

"""Envelope encryption of sensitive objects at rest: AES-256-GCM under a key file kept apart.

Each value has a data key of its own, wrapped by the newest key of the key file. A key file holds one
key a line, `ID:BASE64`; the first encrypts, all decrypt. Keys rotate by adding a line on top: the next start of
hauberkd encrypts everything anew (`Sealer.reseal`) and says when the lines below it can be dropped.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"HBK1"
KEY_BYTES = 32
ID_BYTES = 8
NONCE_BYTES = 12
WRAPPED_BYTES = KEY_BYTES + 16


class SealError(Exception):
    """The key file, or what is encrypted under it, cannot be used."""


@dataclass(frozen=True, repr=False)
class Sealer:
    """Encrypts under `newest`, decrypts under any of `keys`."""

    keys: Mapping[bytes, bytes]
    newest: bytes

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt; `context` (where the value belongs) must be the same when it is opened."""
        data_key = secrets.token_bytes(KEY_BYTES)
        wrapping, sealing = secrets.token_bytes(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
        wrapped = AESGCM(self.keys[self.newest]).encrypt(wrapping, data_key, context)
        sealed = AESGCM(data_key).encrypt(sealing, plaintext, context)
        return MAGIC + self.newest + wrapping + wrapped + sealing + sealed

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt. Raises `SealError` under a wrong key, or if the value or its place was changed."""
        head = len(MAGIC) + ID_BYTES
        key_id = sealed[len(MAGIC) : head]
        if sealed[: len(MAGIC)] != MAGIC:
            raise SealError(f"{context.decode()}: expected an encrypted value, found plain or damaged bytes")
        if key_id not in self.keys:
            raise SealError(
                f"{context.decode()} is encrypted under key {key_id.decode(errors='replace')}, which the key file "
                "does not hold; start with the key file that it was written under"
            )
        wrapping, rest = sealed[head : head + NONCE_BYTES], sealed[head + NONCE_BYTES :]
        wrapped, rest = rest[:WRAPPED_BYTES], rest[WRAPPED_BYTES:]
        try:
            data_key = AESGCM(self.keys[key_id]).decrypt(wrapping, wrapped, context)
            return AESGCM(data_key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise SealError(
                f"{context.decode()} does not open under key {key_id.decode(errors='replace')}: "
                "the key file's key is another of the same name, or the stored value was changed"
            ) from error

    def reseal(self, sealed: bytes, context: bytes) -> bytes:
        """The same value under the newest key; what is under it already is returned unchanged. Raises `SealError`."""
        return sealed if self.is_newest(sealed) else self.seal(self.open(sealed, context), context)

    def is_newest(self, sealed: bytes) -> bool:
        """Whether a value is encrypted under the newest key."""
        return sealed[len(MAGIC) : len(MAGIC) + ID_BYTES] == self.newest


def generate_sealer() -> Sealer:
    """A fresh key that is nowhere on disk."""
    key_id = secrets.token_hex(ID_BYTES // 2).encode()
    return Sealer({key_id: secrets.token_bytes(KEY_BYTES)}, key_id)


def create_key_file(path: Path) -> Sealer:
    """Make a key file with one fresh key, mode 0600. Raises `SealError` if it exists or cannot be made."""
    sealer = generate_sealer()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(sealer.newest + b":" + base64.b64encode(sealer.keys[sealer.newest]) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SealError(f"cannot make the key file {path}: {error}") from error
    return sealer


def read_key_file(path: Path) -> Sealer:
    """Read a key file. Raises `SealError` if it is absent, readable by others, or malformed."""
    try:
        mode = path.stat().st_mode
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise SealError(f"cannot read the key file {path}: {error}") from error
    if mode & 0o077:
        raise SealError(
            f"the key file {path} can be read by others (mode {mode & 0o777:o}): chmod 600 {path}"
        )
    keys: dict[bytes, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        key_id, _, encoded = line.strip().partition(b":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if len(key_id) != ID_BYTES or len(key) != KEY_BYTES:
            raise SealError(f"{path}:{number}: expected ID:KEY, 8 characters and 32 bytes in base64")
        keys[key_id] = key
    if not keys:
        raise SealError(f"the key file {path} holds no key")
    return Sealer(keys, next(iter(keys)))

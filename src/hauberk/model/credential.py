"""Certificates and keys in Secrets, as gateways show them: parsed, so that no malformed one ever reaches a proxy."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from hauberk.model.kind import Object

CERTIFICATE_KEYS = ("tls.crt", "cert")
PRIVATE_KEY_KEYS = ("tls.key", "key")
TRUST_KEYS = ("ca.crt", "cacert")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain and the key of its first certificate, PEM."""

    chain: bytes
    private_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a Secret holds: a key pair, certificates to trust, or both."""

    key_pair: KeyPair | None
    trusted: bytes


class MalformedCredentialError(ValueError):
    """A Secret's certificate or key cannot be used; the message never holds any of it."""


def parse_secret(obj: Object) -> Credential | str | None:
    """The credential of a Secret, what is wrong with it, or None if it holds nothing of the kind."""
    data = {**(obj.get("data") or {}), **_encoded(obj.get("stringData") or {})}
    if not any(name in data for name in (*CERTIFICATE_KEYS, *PRIVATE_KEY_KEYS, *TRUST_KEYS)):
        return None
    try:
        return _parse(data)
    except MalformedCredentialError as error:
        return str(error)


def _encoded(texts: Mapping[str, str]) -> dict[str, str]:
    """`stringData` as `data`, which it becomes when the API takes it in."""
    return {name: base64.b64encode(str(text).encode()).decode() for name, text in texts.items()}


def _parse(data: Mapping[str, str]) -> Credential:
    chain = _decoded(data, CERTIFICATE_KEYS)
    private_key = _decoded(data, PRIVATE_KEY_KEYS)
    trusted = _decoded(data, TRUST_KEYS)
    if trusted:
        _certificates(trusted, "ca.crt")
    if not chain and not private_key:
        return Credential(None, trusted)
    if not chain or not private_key:
        raise MalformedCredentialError("expected both tls.crt and tls.key, found only one of them")
    first = _certificates(chain, "tls.crt")[0]
    try:
        key = load_pem_private_key(private_key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MalformedCredentialError("tls.key: expected a PEM private key without a password") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < 2048:
        raise MalformedCredentialError(
            f"tls.key: expected an RSA key of 2048 bits or more, found {key.key_size}"
        )
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise MalformedCredentialError("tls.key: expected an RSA, ECDSA or Ed25519 key")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if first.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise MalformedCredentialError(
            "tls.key: expected the key of the first certificate in tls.crt, found another"
        )
    return Credential(KeyPair(chain, private_key), trusted)


def _decoded(data: Mapping[str, str], names: tuple[str, ...]) -> bytes:
    for name in names:
        if data.get(name):
            try:
                return base64.b64decode(data[name], validate=True)
            except (binascii.Error, TypeError):
                raise MalformedCredentialError(f"{name}: expected base64") from None
    return b""


def _certificates(pem: bytes, name: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
        for one in found:
            one.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedCredentialError(f"{name}: expected PEM certificates") from None
    return found

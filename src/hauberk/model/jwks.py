"""JSON Web Key Sets (RFC 7517): the public keys of a token's issuer, and nothing else of what the text holds."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

LARGEST_SET = 256 * 1024
"""Bytes of a set, far above any issuer's."""
MOST_KEYS = 64
_CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
}
_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


class MalformedKeySetError(ValueError):
    """A text is no key set, or holds no key that can be used."""


def parse_key_set(text: str) -> str:
    """The RSA, P-256, P-384 and Ed25519 public keys of a set, as JSON in one form; others are left out.

    Raises:
        MalformedKeySetError: it is no key set, or has no such key.
    """
    if len(text) > LARGEST_SET:
        raise MalformedKeySetError(f"expected at most {LARGEST_SET} bytes, found {len(text)}")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedKeySetError("expected JSON with a list of keys") from None
    keys = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(keys, list):
        raise MalformedKeySetError('expected an object with a list "keys"')
    found = [key for one in keys[:MOST_KEYS] if (key := _public(one)) is not None]
    if not found:
        raise MalformedKeySetError(
            "expected an RSA key of 2048 bits or more, or a P-256, P-384 or Ed25519 key"
        )
    return json.dumps({"keys": found}, sort_keys=True)


def _public(told: Any) -> dict[str, str] | None:
    """The public members of a key that can be used to verify."""
    if not isinstance(told, dict) or told.get("use", "sig") != "sig":
        return None
    members = _MEMBERS.get(str(told.get("kty")))
    if members is None or not all(isinstance(told.get(name), str) for name in members):
        return None
    try:
        _check(told)
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return None
    optional = [name for name in ("kid", "alg") if isinstance(told.get(name), str)]
    return {name: told[name] for name in ("kty", *members, *optional)}


def _check(key: dict[str, Any]) -> None:
    """Raises ValueError if the numbers are no key."""
    if key["kty"] == "RSA":
        public = rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
        if not 2048 <= public.key_size <= 8192:
            raise ValueError("key size")
    elif key["kty"] == "EC":
        curve, size = _CURVES.get(key["crv"], (None, 0))
        if curve is None or len(_bytes(key["x"])) != size or len(_bytes(key["y"])) != size:
            raise ValueError("curve")
        ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curve).public_key()
    elif key["crv"] == "Ed25519":
        ed25519.Ed25519PublicKey.from_public_bytes(_bytes(key["x"]))
    else:
        raise ValueError("curve")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text))

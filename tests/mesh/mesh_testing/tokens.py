"""JSON Web Tokens for tests: signed as an issuer would, or in ways that no verifier may accept."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**more: Any) -> dict[str, Any]:
    """Those of a token that is good for ten minutes; None takes a claim away."""
    told = {"iss": "https://issuer.example/", "sub": "anna", "exp": int(time.time()) + 600, **more}
    return {name: value for name, value in told.items() if value is not None}


def token(key: Key, payload: dict[str, Any], **header: Any) -> str:
    """Signed by the algorithm of its header, `RS256` or `ES256` unless told."""
    default = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        default = "EdDSA"
    told = {"alg": default, "typ": "JWT", **header}
    signed = f"{encoded(json.dumps(told).encode())}.{encoded(json.dumps(payload).encode())}"
    return f"{signed}.{encoded(_signature(key, told['alg'], signed.encode()))}"


def unsigned(payload: dict[str, Any]) -> str:
    """`alg: none`."""
    return f"{encoded(json.dumps({'alg': 'none'}).encode())}.{encoded(json.dumps(payload).encode())}."


def confused(public: bytes, payload: dict[str, Any], **header: Any) -> str:
    """HS256 with the public key as the secret."""
    told = {"alg": "HS256", "typ": "JWT", **header}
    signed = f"{encoded(json.dumps(told).encode())}.{encoded(json.dumps(payload).encode())}"
    return f"{signed}.{encoded(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"


def key_set(**keys: Key) -> str:
    """The public keys by `kid`."""
    return json.dumps({"keys": [{"kid": kid, "use": "sig", **_public(key)} for kid, key in keys.items()]})


def _signature(key: Key, algorithm: str, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    digest = _HASHES[algorithm[2:]]()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        size = (key.key_size + 7) // 8
        return r.to_bytes(size) + s.to_bytes(size)
    if algorithm.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(data, padding.PKCS1v15(), digest)


def _public(key: Key) -> dict[str, str]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "n": encoded(numbers.n.to_bytes(key.key_size // 8)),
            "e": encoded(b"\x01\x00\x01"),
        }
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        size = (key.key_size + 7) // 8
        return {
            "kty": "EC",
            "crv": f"P-{key.key_size}",
            "x": encoded(point.x.to_bytes(size)),
            "y": encoded(point.y.to_bytes(size)),
        }
    return {"kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key().public_bytes_raw())}

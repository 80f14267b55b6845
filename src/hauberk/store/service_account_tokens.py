"""Tokens of service accounts: JWTs (RFC 7519, ES256) signed by a key in the store, bound to a pod's life."""

import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from hauberk.model.kind import Object
from hauberk.store.database import Key
from hauberk.store.storage import Storage, Write, WriteConflictError
from hauberk.store.user import User

SIGNING_KEYS = "signingkeys.store.hauberk.io"
"""The store's own resource that holds the key; encrypted at rest."""
ISSUER = "https://kubernetes.default.svc.cluster.local"
LEAST_SECONDS = 600
MOST_SECONDS = 24 * 3600
COORDINATE_BYTES = 32
CLAIM = "kubernetes.io"


@dataclass(frozen=True, repr=False)
class TokenIssuer:
    """Signs and verifies tokens. Make one with `load_token_issuer`."""

    storage: Storage
    key: ec.EllipticCurvePrivateKey
    key_id: str
    issuer: str = ISSUER
    now: Callable[[], float] = time.time

    def issue(
        self, account: Object, audiences: list[str], seconds: int, bound: Object | None = None
    ) -> tuple[str, float]:
        """A token of `account` and when it expires (seconds since 1970).

        `bound` is the Pod, Secret or Node whose life limits the token's.
        """
        metadata = account["metadata"]
        now = self.now()
        expires = int(now) + max(LEAST_SECONDS, min(seconds, MOST_SECONDS))
        private: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if bound is not None:
            name, uid = bound["metadata"]["name"], bound["metadata"]["uid"]
            private[bound["kind"].lower()] = {"name": name, "uid": uid}
        claims = {
            "iss": self.issuer,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
            "aud": audiences or [self.issuer],
            "iat": int(now),
            "nbf": int(now),
            "exp": expires,
            "jti": secrets.token_hex(16),
            CLAIM: private,
        }
        return self._sign({"alg": "ES256", "typ": "JWT", "kid": self.key_id}, claims), float(expires)

    def verify(self, token: str) -> User | None:
        """The account that bears `token`, for this API as the audience; None if it is not, or no longer, good."""
        return self.verify_for(token, [self.issuer])

    def verify_for(self, token: str, audiences: list[str]) -> User | None:
        """As `verify`, for any of `audiences`."""
        claims = self._claims(token)
        if claims is None:
            return None
        now = self.now()
        if not (
            claims.get("iss") == self.issuer
            and isinstance(claims.get("exp"), int)
            and claims.get("nbf", 0) <= now + 5
            and now < claims["exp"]
            and set(claims.get("aud") or ()) & set(audiences)
        ):
            return None
        return self._user(claims.get(CLAIM) or {}, str(claims.get("jti", "")))

    def _user(self, private: dict[str, Any], token_id: str) -> User | None:
        namespace = str(private.get("namespace", ""))
        account = private.get("serviceaccount") or {}
        if not self._lives("serviceaccounts", namespace, account):
            return None
        extra = {"authentication.kubernetes.io/credential-id": (f"JTI={token_id}",)}
        for resource, claim in (("pods", "pod"), ("secrets", "secret")):
            if bound := private.get(claim):
                if not self._lives(resource, namespace, bound):
                    return None
                extra[f"authentication.kubernetes.io/{claim}-name"] = (bound["name"],)
                extra[f"authentication.kubernetes.io/{claim}-uid"] = (bound["uid"],)
        groups = frozenset({"system:serviceaccounts", f"system:serviceaccounts:{namespace}"})
        name = f"system:serviceaccount:{namespace}:{account['name']}"
        return User(name, groups, str(account.get("uid", "")), extra)

    def _lives(self, resource: str, namespace: str, reference: dict[str, Any]) -> bool:
        stored = self.storage.get(Key(resource, namespace, str(reference.get("name", ""))))
        return stored is not None and stored.object["metadata"]["uid"] == reference.get("uid")

    def _sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        signed = b".".join(_base64(msgspec.json.encode(part)) for part in (header, claims))
        r, s = decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(COORDINATE_BYTES, "big") + s.to_bytes(COORDINATE_BYTES, "big")
        return (signed + b"." + _base64(signature)).decode()

    def _claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that this issuer signed; None for any other text."""
        parts = token.encode().split(b".")
        if len(parts) != 3:
            return None
        try:
            header, claims, signature = (_unbase64(part) for part in parts)
            if len(signature) != 2 * COORDINATE_BYTES or msgspec.json.decode(header).get("alg") != "ES256":
                return None
            r = int.from_bytes(signature[:COORDINATE_BYTES], "big")
            s = int.from_bytes(signature[COORDINATE_BYTES:], "big")
            self.key.public_key().verify(
                encode_dss_signature(r, s), parts[0] + b"." + parts[1], ec.ECDSA(hashes.SHA256())
            )
            decoded = msgspec.json.decode(claims)
        except (ValueError, InvalidSignature, AttributeError):
            return None
        return decoded if isinstance(decoded, dict) else None


async def load_token_issuer(storage: Storage, issuer: str = ISSUER) -> TokenIssuer:
    """The issuer with the store's signing key, which is made the first time."""
    key = Key(SIGNING_KEYS, "", "service-accounts")
    stored = storage.get(key)
    if stored is None:
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        obj = {"metadata": {"name": key.name}, "id": secrets.token_hex(8), "key": pem.decode()}
        try:
            stored = (await storage.write(Write(key, obj, None)))[0]
        except WriteConflictError:
            stored = storage.get(key)
            if stored is None:
                raise
    private = serialization.load_pem_private_key(stored.object["key"].encode(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError(f"expected an elliptic curve key in {key}, found {type(private).__name__}")
    return TokenIssuer(storage, private, stored.object["id"], issuer)


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _unbase64(data: bytes) -> bytes:
    return base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))

"""JWT-SVIDs: signing with ES256, and validating against the bundle of the subject's trust domain."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt

from hauberk.identity.bundle import TrustBundles
from hauberk.identity.certificate import PrivateKey, Validity
from hauberk.identity.spiffe_id import InvalidSpiffeIdError, SpiffeId

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
"""Those that the JWT-SVID standard allows (2.1)."""


class InvalidJwtSvidError(ValueError):
    """A token is no valid JWT-SVID; the message says why and never quotes the token."""


@dataclass(frozen=True, slots=True)
class JwtKey:
    """A key that signs JWT-SVIDs."""

    key_id: str
    key: PrivateKey = field(repr=False)
    validity: Validity


@dataclass(frozen=True, slots=True)
class JwtSvid:
    """What a validated token says."""

    spiffe_id: SpiffeId
    expiry: datetime
    claims: dict[str, Any]


def sign_jwt_svid(key: JwtKey, spiffe_id: SpiffeId, audience: Sequence[str], validity: Validity) -> str:
    """A signed token. Raises `ValueError` without an audience, which every JWT-SVID must have."""
    if not audience or not all(audience):
        raise ValueError("a JWT-SVID needs at least one audience, and none may be empty")
    claims = {
        "sub": str(spiffe_id),
        "aud": list(audience),
        "exp": int(validity.not_after.timestamp()),
        "iat": int(validity.not_before.timestamp()),
    }
    return jwt.encode(claims, key.key, algorithm="ES256", headers={"kid": key.key_id, "typ": "JWT"})


def validate_jwt_svid(token: str, audience: str, bundles: TrustBundles, now: datetime) -> JwtSvid:
    """Check a token's form, signature, audience and expiry.

    Raises:
        InvalidJwtSvidError: the token is not to be trusted; the message says why.
    """
    try:
        header = jwt.get_unverified_header(token)
        subject = jwt.decode(token, options={"verify_signature": False}).get("sub")
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise InvalidJwtSvidError(f"expected an algorithm of {', '.join(ALGORITHMS)}")
        if header.get("typ", "JWT") not in {"JWT", "JOSE"}:
            raise InvalidJwtSvidError("expected the type JWT or JOSE")
        if not isinstance(subject, str):
            raise InvalidJwtSvidError("expected a SPIFFE ID as subject")
        spiffe_id = SpiffeId.parse(subject)
        if not spiffe_id.path:
            raise InvalidJwtSvidError("expected a workload as subject, found a trust domain")
        bundle = bundles.of(spiffe_id.trust_domain)
        if bundle is None:
            raise InvalidJwtSvidError(f"trust domain {spiffe_id.trust_domain} is not trusted here")
        key = bundle.jwt_authorities.get(str(key_id))
        if key is None:
            raise InvalidJwtSvidError(f"the bundle of {spiffe_id.trust_domain} has no key of the token's ID")
        options: Any = {"require": ["sub", "aud", "exp"], "verify_exp": False, "verify_iat": False}
        claims = jwt.decode(token, key, algorithms=[algorithm], audience=audience, options=options)
        expiry = datetime.fromtimestamp(int(claims["exp"]), UTC)
    except (jwt.PyJWTError, InvalidSpiffeIdError, TypeError, OverflowError, OSError) as error:
        raise InvalidJwtSvidError(str(error)) from error
    if now >= expiry:
        raise InvalidJwtSvidError(f"the token expired at {expiry.isoformat()}")
    return JwtSvid(spiffe_id, expiry, claims)

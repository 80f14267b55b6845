"""Who sent a request: the client certificate that TLS has verified, or a bearer token."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hauberk.store import status
from hauberk.store.user import ANONYMOUS, AUTHENTICATED, User


class TokenVerifier(Protocol):
    """Knows the bearer of a token."""

    def verify(self, token: str) -> User | None:
        """None if the token is not one of this verifier's, or no longer good."""
        ...


@dataclass(frozen=True, slots=True)
class StaticTokens:
    """Tokens known in advance, kept as their SHA-256 only."""

    users: Mapping[bytes, User] = field(default_factory=dict)

    @classmethod
    def of(cls, tokens: Mapping[str, User]) -> "StaticTokens":
        return cls({hashlib.sha256(token.encode()).digest(): user for token, user in tokens.items()})

    def verify(self, token: str) -> User | None:
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for known, user in self.users.items():
            if hmac.compare_digest(known, digest):
                found = user
        return found


@dataclass(frozen=True, slots=True)
class Authentication:
    """Client certificates first, then tokens by each verifier in turn, else anonymous."""

    verifiers: tuple[TokenVerifier, ...] = ()
    client_issuer: str = ""
    """Common name of the one authority whose client certificates name users; empty: any that TLS has verified."""

    def authenticate(self, certificate: Mapping[str, object] | None, authorization: str | None) -> User:
        """Raises `ApiError` 401 for a token that no verifier knows."""
        if (
            certificate
            and self.client_issuer in {"", _common_name(certificate, "issuer")}
            and (user := user_of_certificate(certificate))
        ):
            return user
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            for verifier in self.verifiers:
                if user := verifier.verify(token.strip()):
                    return User(user.name, user.groups | {AUTHENTICATED}, user.uid, user.extra)
            raise status.unauthorized()
        return ANONYMOUS


def user_of_certificate(certificate: Mapping[str, object]) -> User | None:
    """CN is the user, each O a group; None without a CN."""
    user = _common_name(certificate, "subject")
    groups = frozenset(value for key, value in _names(certificate, "subject") if key == "organizationName")
    return User(user, groups | {AUTHENTICATED}) if user else None


def _common_name(certificate: Mapping[str, object], whose: str) -> str:
    return next((value for key, value in _names(certificate, whose) if key == "commonName"), "")


def _names(certificate: Mapping[str, object], whose: str) -> list[tuple[str, str]]:
    """`subject` or `issuer` of a certificate as `ssl.SSLSocket.getpeercert` gives it."""
    name = certificate.get(whose)
    return [pair for part in name for pair in part] if isinstance(name, tuple) else []

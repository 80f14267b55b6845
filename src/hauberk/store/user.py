"""Who asks, and whether they may: the types that authentication and authorization share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hauberk.store.request_info import RequestInfo

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"
"""Members may do everything."""


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller (or the anonymous one)."""

    name: str
    groups: frozenset[str] = frozenset()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", frozenset({UNAUTHENTICATED}))


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request is allowed, and why, in words."""

    allowed: bool
    reason: str = ""


class Authenticator(Protocol):
    """Finds out who sent a request."""

    def authenticate(self, certificate: Mapping[str, object] | None, authorization: str | None) -> User:
        """By the peer certificate (as `ssl.SSLSocket.getpeercert` tells it) and the Authorization header.

        Raises `ApiError` 401 for credentials that are no good; without any the caller is anonymous.
        """
        ...


class Authorizer(Protocol):
    """Decides on a request before it is served."""

    def authorize(self, user: User, request: RequestInfo, field_selector: str = "") -> Decision: ...


class AllowAll:
    """Lets everyone do everything; for tests and for callers in this process."""

    def authorize(self, _user: User, _request: RequestInfo, _field_selector: str = "") -> Decision:
        return Decision(True, "everything is allowed")

"""SPIFFE IDs and trust domains, parsed once so that no malformed one exists inside (SPIFFE-ID standard, 2)."""

import re
from dataclasses import dataclass
from typing import Self

SCHEME = "spiffe://"
MAXIMUM_ID_BYTES = 2048
MAXIMUM_TRUST_DOMAIN_BYTES = 255

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


class InvalidSpiffeIdError(ValueError):
    """Text is no SPIFFE ID or trust domain; the message says which rule it breaks."""


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:
    """A trust domain's name: `cluster.local`. Raises `InvalidSpiffeIdError` if made of anything else."""

    name: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.name):
            raise InvalidSpiffeIdError(
                f"trust domain {_shown(self.name)}: expected one or more of a-z, 0-9, '.', '-' and '_'"
            )
        if len(self.name) > MAXIMUM_TRUST_DOMAIN_BYTES:
            raise InvalidSpiffeIdError(
                f"trust domain {_shown(self.name)}: expected at most {MAXIMUM_TRUST_DOMAIN_BYTES} bytes, "
                f"found {len(self.name)}"
            )

    @property
    def id(self) -> "SpiffeId":
        """The ID of the trust domain itself, as signing certificates carry it."""
        return SpiffeId(self, "")

    def workload(self, namespace: str, service_account: str) -> "SpiffeId":
        """The ID of the pods of a service account: `spiffe://DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT`."""
        return SpiffeId(self, f"/ns/{namespace}/sa/{service_account}")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A SPIFFE ID. `path` is empty, or begins with a slash. Raises `InvalidSpiffeIdError` on any other."""

    trust_domain: TrustDomain
    path: str

    def __post_init__(self) -> None:
        if self.path:
            _check_path(self.path)
        size = len(SCHEME) + len(self.trust_domain.name) + len(self.path)
        if size > MAXIMUM_ID_BYTES:
            raise InvalidSpiffeIdError(
                f"SPIFFE ID {_shown(str(self))}: expected at most {MAXIMUM_ID_BYTES} bytes, found {size}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `spiffe://DOMAIN/PATH`. Raises `InvalidSpiffeIdError`; nothing is normalised or repaired."""
        if not text.startswith(SCHEME):
            raise InvalidSpiffeIdError(f"SPIFFE ID {_shown(text)}: expected it to begin with {SCHEME}")
        name, slash, path = text.removeprefix(SCHEME).partition("/")
        return cls(TrustDomain(name), slash + path)

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain.name}{self.path}"


def _check_path(path: str) -> None:
    if not path.startswith("/"):
        raise InvalidSpiffeIdError(f"path {_shown(path)}: expected it to begin with a slash")
    for segment in path[1:].split("/"):
        if not segment:
            raise InvalidSpiffeIdError(
                f"path {_shown(path)}: found an empty segment; remove the doubled or trailing slash"
            )
        if segment in {".", ".."}:
            raise InvalidSpiffeIdError(f"path {_shown(path)}: found the relative segment {segment!r}")
        if not _SEGMENT.fullmatch(segment):
            raise InvalidSpiffeIdError(
                f"path {_shown(path)}: expected segments of a-z, A-Z, 0-9, '.', '-' and '_', found {_shown(segment)}"
            )


def _shown(text: str) -> str:
    """Text of any origin, short enough and escaped for a message."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")

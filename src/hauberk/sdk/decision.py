"""What an authorizer is asked, and what it may answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, or one TCP connection (then `method` is empty), about which the mesh asks."""

    caller: str = ""
    """The SPIFFE ID that mutual TLS proved; empty where nothing was, and over HTTP, which has no word for it."""
    callee: str = ""
    """The SPIFFE ID of the workload that is called."""
    method: str = ""
    path: str = ""
    """With the query."""
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; over HTTP those alone that the provider's settings pass on."""
    body: bytes = b""
    """As much of it as the provider's settings show."""
    source_address: str = ""
    destination_port: int = 0


@dataclass(frozen=True, slots=True)
class Allow:
    """The request passes. Raises ValueError for what is no header."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Set on the request that the program gets, over what the caller sent."""
    remove_headers: tuple[str, ...] = ()
    response_headers: Mapping[str, str] = field(default_factory=dict)
    """Added to what the caller gets."""

    def __post_init__(self) -> None:
        _check({**self.headers, **self.response_headers, **dict.fromkeys(self.remove_headers, "")})


@dataclass(frozen=True, slots=True)
class Deny:
    """The caller gets this answer. Raises ValueError for what is no header or no status of a refusal."""

    status: int = 403
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 300 <= self.status <= 499:
            raise ValueError(f"status: expected 300 to 499, found {self.status}")
        _check(self.headers)


Decision = Allow | Deny
Decide = Callable[[Request], Awaitable[Decision]]


def allow(
    headers: Mapping[str, str] | None = None,
    remove_headers: tuple[str, ...] = (),
    response_headers: Mapping[str, str] | None = None,
) -> Allow:
    """Let it pass, with changes of its headers if need be."""
    return Allow(headers or {}, remove_headers, response_headers or {})


def deny(status: int = 403, body: str = "", headers: Mapping[str, str] | None = None) -> Deny:
    """Refuse it, with an answer to the caller."""
    return Deny(status, body, headers or {})


def _check(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"headers: expected the name of a header, found {name!r}")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"headers: expected a value without line breaks for {name}, found {value!r}")

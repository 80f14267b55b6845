"""One request, understood: who asks for what, in which form, with which options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from hauberk.model.kind import Kind
from hauberk.store import status
from hauberk.store.bodies import Form, parse_as, parse_body, parse_object
from hauberk.store.client import ApiError
from hauberk.store.database import Key
from hauberk.store.options import DeleteOptions, Options
from hauberk.store.request_info import RequestInfo
from hauberk.store.selection import Selection
from hauberk.store.user import User

PROPAGATIONS = ("Background", "Foreground", "Orphan")
VALIDATIONS = ("Ignore", "Strict", "Warn")
MOST_DIGITS = 18
"""Of a number in a query: what fits into 64 bits."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request and what was made of it."""

    http: web.Request
    info: RequestInfo
    user: User
    form: Form
    options: Options = field(default_factory=Options)

    @property
    def query(self) -> Mapping[str, str]:
        return self.http.query

    @property
    def key(self) -> Key:
        return Key(self.info.resource, self.info.namespace, self.info.name)

    @property
    def media_type(self) -> str:
        """Of the body, without parameters."""
        return self.http.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    async def body(self) -> Any:
        """The decoded body. Raises `ApiError` 400, 413 or 415."""
        return parse_body(self.media_type, await self.http.read())

    async def object(self) -> dict[str, Any]:
        """The body, which must be an object. Raises `ApiError` 400, 413 or 415."""
        return parse_object(self.media_type, await self.http.read())


class Preconditions(msgspec.Struct, rename="camel", frozen=True):
    """`metav1.Preconditions`."""

    uid: str = ""
    resource_version: str = ""


class DeleteBody(msgspec.Struct, rename="camel", frozen=True):
    """`metav1.DeleteOptions`, as it is sent."""

    grace_period_seconds: int | None = None
    preconditions: Preconditions = Preconditions()
    orphan_dependents: bool | None = None
    propagation_policy: str = ""
    dry_run: tuple[str, ...] = ()


def write_options(query: Mapping[str, str]) -> Options:
    """`dryRun` and `fieldValidation`. Raises `ApiError` 400."""
    validation: Any = query.get("fieldValidation") or "Warn"
    if validation not in VALIDATIONS:
        raise _unsupported("fieldValidation", validation, VALIDATIONS)
    return Options(dry_run=_dry_run(query.get("dryRun", "")), field_validation=validation)


async def delete_options(call: Call) -> DeleteOptions:
    """From the body or the query. Raises `ApiError` 400, 413 or 415."""
    raw = await call.http.read()
    body = parse_as(DeleteBody, parse_object(call.media_type, raw) if raw.strip() else {})
    grace = body.grace_period_seconds
    if grace is None and "gracePeriodSeconds" in call.query:
        grace = whole_number(call.query, "gracePeriodSeconds")
    propagation = body.propagation_policy or call.query.get("propagationPolicy", "")
    if not propagation and body.orphan_dependents is not None:
        propagation = "Orphan" if body.orphan_dependents else "Background"
    if propagation and propagation not in PROPAGATIONS:
        raise _unsupported("propagationPolicy", propagation, PROPAGATIONS)
    return DeleteOptions(
        dry_run=call.options.dry_run or any(map(_dry_run, body.dry_run)),
        propagation=propagation or "Background",
        uid=body.preconditions.uid,
        resource_version=body.preconditions.resource_version,
        grace_period_seconds=grace,
    )


def selection_of(call: Call, kind: Kind) -> Selection:
    """What is asked for; never more than the one name that authorization has looked at, if it has.

    Raises `ApiError` 400.
    """
    selection = Selection.parse(
        kind, call.query.get("labelSelector", ""), call.query.get("fieldSelector", "")
    )
    return selection.named(call.info.name) if call.info.name else selection


def whole_number(query: Mapping[str, str], name: str) -> int:
    """0 if it is absent. Raises `ApiError` 400."""
    value = query.get(name) or "0"
    if not (value.isascii() and value.isdecimal() and len(value) <= MOST_DIGITS):
        raise status.bad_request(f"{name}: Invalid value: {value[:40]!r}: expected a whole number")
    return int(value)


def _dry_run(value: str) -> bool:
    if value not in {"", "All"}:
        raise _unsupported("dryRun", value, ("All",))
    return value == "All"


def _unsupported(name: str, value: str, supported: tuple[str, ...]) -> ApiError:
    listed = ", ".join(f"'{each}'" for each in supported)
    return status.bad_request(f"{name}: Unsupported value: {value[:100]!r}: supported values: {listed}")

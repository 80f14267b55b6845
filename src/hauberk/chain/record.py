"""Call records, as the proxies write them (docs/architecture.md, "Call records"): parsed, never guessed."""

from typing import Any, Literal

import msgspec


class MalformedRecordError(Exception):
    """A line is no call record; the message says what was expected and where."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a call. `spiffe_id` and `serial` are empty where the side proved nothing."""

    address: str = ""
    port: int = 0
    spiffe_id: str = ""
    serial: str = ""
    service: str = ""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """What the handshake agreed on."""

    version: str = ""
    cipher: str = ""
    group: str = ""


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict that would have been, had the policies in dry run alone been enforced."""

    verdict: Literal["allow", "deny"] = "allow"
    policy: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict, the policy that gave it, and the revision of all that applied."""

    verdict: Literal["allow", "deny"] = "allow"
    policy: str = ""
    revision: str = ""
    reason: str = ""
    audit: str = ""
    """The AUDIT policy that matched, whatever the verdict."""
    dry_run: DryRun | None = None
    """What the policies in dry run would have decided; None: there are none."""
    authorizer: str = ""
    """The authorizer outside the proxy that was asked, whatever came of it."""


class Connection(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="connection"):
    """One connection, at its beginning (`open`) or its end (`close`)."""

    id: str
    time: str
    reporter: Literal["inbound", "outbound"]
    phase: Literal["open", "close"]
    pod: str = ""
    listener: str = ""
    source: Endpoint = Endpoint()
    destination: Endpoint = Endpoint()
    tls: Tls | None = None
    policy: Decision = Decision()
    bytes_in: int = 0
    bytes_out: int = 0
    duration_us: int = 0
    flags: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="request"):
    """One request: every one that was refused, audited or failed, and a sample of the rest."""

    id: str
    connection: str
    time: str
    reporter: Literal["inbound", "outbound"]
    pod: str = ""
    listener: str = ""
    method: str = ""
    authority: str = ""
    path: str = ""
    status: int = 0
    duration_us: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    flags: str = ""
    route: str = ""
    cluster: str = ""
    upstream: str = ""
    source: Endpoint = Endpoint()
    destination: Endpoint = Endpoint()
    policy: Decision = Decision()
    trace_id: str = ""
    request_id: str = ""


Record = Connection | Request


def parse_record(raw: bytes | str | dict[str, Any]) -> Record:
    """One record from a line of `records.log` or from the node's API.

    Raises:
        MalformedRecordError: it is not one; the message names the field.
    """
    try:
        plain = raw if isinstance(raw, dict) else msgspec.json.decode(raw)
        record: Record = msgspec.convert(plain, type=Record)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise MalformedRecordError(f"call record: {error}") from error
    return record

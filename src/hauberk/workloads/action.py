"""What a reconcile function asks for. Deciding is pure; `hauberk.workloads.execute` carries it out."""

from dataclasses import dataclass

from hauberk.model.kind import Object

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name: the unit of ordering in a work queue."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make an object. One that exists under the same controlling owner counts as made."""

    kind: str
    object: Object


@dataclass(frozen=True, slots=True)
class Update:
    """Replace an object read at its `resourceVersion`; a conflict means look again."""

    kind: str
    object: Object
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete this very object (its UID is a precondition); one that is gone counts as deleted."""

    kind: str
    object: Object
    grace_period_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """Give a pod to a node."""

    pod: Object
    node: str


@dataclass(frozen=True, slots=True)
class Emit:
    """An event on an object, for people; repeated ones are counted, not multiplied."""

    regarding: Object
    type: str
    """`Normal` or `Warning`."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Again:
    """Reconcile the same key once more after so many seconds, whatever else happens."""

    after: float


Action = Create | Update | Delete | Bind | Emit | Again

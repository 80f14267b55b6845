"""What every controller knows of a Kubernetes API, ours or a cluster's: this protocol and no more."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hauberk.model.kind import Kind, Object

PatchType = Literal["merge", "strategic-merge", "json"]


class ApiError(Exception):
    """A `metav1.Status` with status Failure: `code` is the HTTP status, `reason` its machine word."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A page of objects, all read at one `resource_version`."""

    items: list[Object]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One change seen by a watch."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Object


class Client(Protocol):
    """Typed by `Kind`, carrying plain objects. Every method raises `ApiError` as the server says."""

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object: ...

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ObjectList: ...

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Event]: ...

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object: ...

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object: ...

    async def patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        patch: Any,
        *,
        patch_type: PatchType = "merge",
        subresource: str = "",
    ) -> Object: ...

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        uid: str = "",
        grace_period_seconds: int | None = None,
    ) -> None: ...

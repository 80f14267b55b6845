"""`Client` within the process that holds the store: full rights, the same semantics, no HTTP."""

import copy
from collections.abc import AsyncIterator
from typing import Any, Literal

from hauberk.model.kind import Kind, Object
from hauberk.store.client import Event, ObjectList, PatchType
from hauberk.store.objects import Objects
from hauberk.store.options import DeleteOptions, Options
from hauberk.store.selection import Selection, events
from hauberk.store.storage import Stored


class LocalClient:
    """Speaks to `Objects` directly. What it returns is the caller's own."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        return _copy(kind, self._objects.get(kind, _scope(kind, namespace), name))

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ObjectList:
        selection = Selection.parse(kind, label_selector, field_selector)
        page = self._objects.page(
            kind, namespace or None, selection, limit=limit, continue_token=continue_token
        )
        items = [_copy(kind, stored) for stored in page.items]
        return ObjectList(items, str(page.revision), page.continue_token)

    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Event]:
        selection = Selection.parse(kind, label_selector, field_selector)
        with self._objects.watch(kind, namespace or None, int(resource_version)) as watcher:
            async for type_, stored in events(watcher, selection):
                yield Event(type_, _copy(kind, stored))

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        return _copy(kind, await self._objects.create(kind, _scope_of(kind, obj), obj, Options(dry_run)))

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        name = obj["metadata"]["name"]
        return _copy(
            kind,
            await self._objects.update(
                kind, _scope_of(kind, obj), name, obj, Options(), subresource=subresource
            ),
        )

    async def patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        patch: Any,
        *,
        patch_type: PatchType = "merge",
        subresource: str = "",
    ) -> Object:
        return _copy(
            kind,
            await self._objects.patch(
                kind, _scope(kind, namespace), name, patch, patch_type, Options(), subresource=subresource
            ),
        )

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        uid: str = "",
        grace_period_seconds: int | None = None,
    ) -> None:
        options = DeleteOptions(propagation=propagation, uid=uid, grace_period_seconds=grace_period_seconds)
        await self._objects.delete(kind, _scope(kind, namespace), name, options)


def _copy(kind: Kind, stored: Stored) -> Object:
    return copy.deepcopy(stored.in_version(kind.api_version))


def _scope(kind: Kind, namespace: str | None) -> str:
    return (namespace or "") if kind.namespaced else ""


def _scope_of(kind: Kind, obj: Object) -> str:
    return _scope(kind, (obj.get("metadata") or {}).get("namespace"))

"""A `Client` over a dictionary: what the node asks of an API and no more."""

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError, Event, ObjectList


class MemoryClient:
    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self._version = 0
        self._changed = asyncio.Event()
        self._log: list[tuple[int, str, Event]] = []

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        found = self.objects.get((kind.plural, namespace or "", name))
        if found is None:
            raise ApiError(404, "NotFound", f'{kind.plural} "{name}" not found')
        return copy.deepcopy(found)

    async def list(self, kind: Kind, namespace: str | None = None, **_options: Any) -> ObjectList:
        items = [copy.deepcopy(obj) for key, obj in self.objects.items() if key[0] == kind.plural]
        return ObjectList(items, str(self._version))

    async def watch(
        self, kind: Kind, namespace: str | None = None, *, resource_version: str, **_options: Any
    ) -> AsyncIterator[Event]:
        seen = int(resource_version)
        while True:
            for version, plural, event in list(self._log):
                if version > seen and plural == kind.plural:
                    yield event
                seen = max(seen, version)
            self._changed.clear()
            await self._changed.wait()

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        return self.put(kind, obj)

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        return self.put(kind, obj)

    async def patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Any, **_options: Any
    ) -> Object:
        found = await self.get(kind, namespace, name)
        if found["metadata"].get("uid") != patch.get("metadata", {}).get("uid", found["metadata"].get("uid")):
            raise ApiError(409, "Conflict", "the uid differs")
        for key, value in patch.items():
            found[key] = {**found.get(key, {}), **value}
        return self.put(kind, found)

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        grace_period_seconds: int | None = None,
        **_options: Any,
    ) -> None:
        found = await self.get(kind, namespace, name)
        if kind.plural == "pods" and grace_period_seconds != 0:
            found["metadata"] |= {
                "deletionTimestamp": "2026-01-01T00:00:00Z",
                "deletionGracePeriodSeconds": grace_period_seconds or 2,
            }
            self.put(kind, found)
            return
        del self.objects[kind.plural, namespace or "", name]
        self._tell(kind, Event("DELETED", found))

    async def post(
        self, kind: Kind, namespace: str | None, name: str, subresource: str, obj: Object
    ) -> Object:
        return {"status": {"token": f"{subresource} of {name} for {obj['spec']['boundObjectRef']['name']}"}}

    def put(self, kind: Kind, obj: Object) -> Object:
        stored = copy.deepcopy(obj)
        key = (kind.plural, stored["metadata"].get("namespace", ""), stored["metadata"]["name"])
        existed = key in self.objects
        self.objects[key] = stored
        self._tell(kind, Event("MODIFIED" if existed else "ADDED", stored))
        return copy.deepcopy(stored)

    def _tell(self, kind: Kind, event: Event) -> None:
        self._version += 1
        event.object["metadata"]["resourceVersion"] = str(self._version)
        self._log.append((self._version, kind.plural, Event(event.type, copy.deepcopy(event.object))))
        self._changed.set()

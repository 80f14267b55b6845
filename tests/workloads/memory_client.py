"""A Kubernetes API in memory, as an instrument: the Client protocol, with watches that may lag."""

import asyncio
import copy
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError, Event, ObjectList


class MemoryClient:
    """`lag` is how many seconds after a write its event reaches the watches."""

    def __init__(self, lag: float = 0.0) -> None:
        self.lag = lag
        self.revision = 0
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.created: list[Object] = []
        self.refuse: dict[str, ApiError] = {}
        """By kind: creating one is refused so."""
        self._watches: list[tuple[str, asyncio.Queue[Event]]] = []

    def all(self, kind: str, namespace: str | None = None) -> list[Object]:
        return [o for (k, ns, _), o in self.objects.items() if k == kind and namespace in (None, ns)]

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        await asyncio.sleep(0)
        return copy.deepcopy(self._held(kind, namespace, name))

    async def list(self, kind: Kind, namespace: str | None = None, **_: Any) -> ObjectList:
        return ObjectList([copy.deepcopy(o) for o in self.all(kind.name, namespace)], str(self.revision))

    async def watch(self, kind: Kind, namespace: str | None = None, **_: Any) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._watches.append((kind.name, queue))
        while True:
            event = await queue.get()
            if self.lag:
                await asyncio.sleep(self.lag)
            yield event

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        await asyncio.sleep(0)
        if kind.name in self.refuse:
            raise self.refuse[kind.name]
        made = copy.deepcopy(obj)
        meta = made["metadata"]
        key = (kind.name, meta.get("namespace", ""), meta["name"])
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", f"{meta['name']} already exists")
        meta.update(uid=str(uuid.uuid4()), creationTimestamp=_now(), generation=1)
        self.created.append(made)
        return self._write(key, made, "ADDED")

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        await asyncio.sleep(0)
        held = self._held(kind, obj["metadata"].get("namespace"), obj["metadata"]["name"])
        if obj["metadata"]["resourceVersion"] != held["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        changed = copy.deepcopy(held if subresource == "status" else obj)
        if subresource == "status":
            changed["status"] = copy.deepcopy(obj["status"])
        elif "status" in held:
            changed["status"] = held["status"]
        if changed.get("spec") != held.get("spec"):
            changed["metadata"]["generation"] += 1
        return self._put(kind.name, changed)

    async def patch(self, kind: Kind, namespace: str | None, name: str, patch: Any, **_: Any) -> Object:
        return self._put(kind.name, _merged(self._held(kind, namespace, name), patch))

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        grace_period_seconds: int | None = None,
        **_: Any,
    ) -> None:
        await asyncio.sleep(0)
        held = copy.deepcopy(self._held(kind, namespace, name))
        if uid and held["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "the UID in the precondition differs")
        held["metadata"].setdefault("deletionTimestamp", _now())
        waits = kind.name == "Pod" and held["spec"].get("nodeName") and grace_period_seconds != 0
        if waits or held["metadata"].get("finalizers"):
            self._put(kind.name, held)
        else:
            self._remove(kind.name, held)

    def _put(self, kind: str, obj: Object) -> Object:
        key = (kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        deleting = obj["metadata"].get("deletionTimestamp")
        if deleting and not obj["metadata"].get("finalizers") and (kind != "Pod" or _ended(obj)):
            self._remove(kind, obj)
            return obj
        return self._write(key, obj, "MODIFIED")

    def _held(self, kind: Kind, namespace: str | None, name: str) -> Object:
        found = self.objects.get((kind.name, namespace or "", name))
        if found is None:
            raise ApiError(404, "NotFound", f"{kind.plural} {name!r} not found")
        return found

    def _write(self, key: tuple[str, str, str], obj: Object, event: Any) -> Object:
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self.objects[key] = obj
        self._tell(key[0], Event(event, copy.deepcopy(obj)))
        return copy.deepcopy(obj)

    def _remove(self, kind: str, obj: Object) -> None:
        self.revision += 1
        last = copy.deepcopy(obj)
        last["metadata"]["resourceVersion"] = str(self.revision)
        del self.objects[kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]]
        self._tell(kind, Event("DELETED", last))

    def _tell(self, kind: str, event: Event) -> None:
        for watched, queue in self._watches:
            if watched == kind:
                queue.put_nowait(event)


def _ended(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed") or not pod["spec"].get("nodeName")


def _merged(obj: Any, patch: Any) -> Any:
    if not isinstance(obj, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    return {**obj, **{name: _merged(obj.get(name), value) for name, value in patch.items()}}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

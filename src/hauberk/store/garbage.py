"""Deletes what belongs to objects that are gone (owner references), and finishes foreground and orphan deletions."""

import asyncio
import copy
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError
from hauberk.store.custom_resources import FINALIZER
from hauberk.store.database import Key
from hauberk.store.objects import Objects
from hauberk.store.options import DeleteOptions, Options
from hauberk.store.registry import resource_name
from hauberk.store.storage import Change, Stored
from hauberk.store.turn import turn

SWEEP_SECONDS = 30.0
RETRY_SECONDS = 1.0
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


class GarbageCollector:
    """Run it in a task. It works whenever something is deleted, and looks over everything now and then."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._wake = asyncio.Event()
        self._wake.set()
        objects.storage.listen_all(self._hear)

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.sweep()
                wait = SWEEP_SECONDS
            except ApiError:
                wait = RETRY_SECONDS  # the store could not be written; nothing is lost by waiting
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def sweep(self) -> None:
        """Look over everything once. Raises `ApiError` if the store cannot be written."""
        dependents = self._dependents()
        for kind, seen in list(self._everything()):
            stored = self._objects.storage.get(seen.key)
            if stored is not None:
                with turn("garbage collection", stored):
                    await self._look(kind, stored, dependents)

    async def _look(
        self, kind: Kind, stored: Stored, dependents: Mapping[str, list[tuple[Kind, Stored]]]
    ) -> None:
        metadata = stored.object["metadata"]
        finalizers = metadata.get("finalizers") or ()
        if metadata.get("deletionTimestamp") and ORPHAN in finalizers:
            await self._orphan(kind, stored, dependents.get(metadata["uid"], []))
        elif metadata.get("deletionTimestamp") and FOREGROUND in finalizers:
            await self._delete_in_front(kind, stored, dependents.get(metadata["uid"], []))
        elif metadata.get("deletionTimestamp") and FINALIZER in finalizers:
            await self._delete_kind(kind, stored)
        elif owners := metadata.get("ownerReferences"):
            await self._collect(kind, stored, owners)

    def _hear(self, change: Change) -> None:
        metadata = change.last.object.get("metadata") or {}
        if (
            change.now is None
            or metadata.get("deletionTimestamp")
            or (change.before is None and metadata.get("ownerReferences"))
        ):
            self._wake.set()

    def _everything(self) -> Iterator[tuple[Kind, Stored]]:
        for resource in self._objects.registry.resources():
            for stored in self._objects.storage.objects(resource.name):
                yield resource.preferred, stored

    def _dependents(self) -> dict[str, list[tuple[Kind, Stored]]]:
        found: dict[str, list[tuple[Kind, Stored]]] = {}
        for kind, stored in self._everything():
            for owner in stored.object["metadata"].get("ownerReferences") or ():
                found.setdefault(owner.get("uid", ""), []).append((kind, stored))
        return found

    async def _orphan(self, kind: Kind, owner: Stored, dependents: list[tuple[Kind, Stored]]) -> None:
        """Let go of the dependents; of the owner only when none of them has met another change meanwhile."""
        uid = owner.object["metadata"]["uid"]
        for dependent_kind, dependent in dependents:
            left = [o for o in dependent.object["metadata"]["ownerReferences"] if o.get("uid") != uid]
            await self._set_metadata(dependent_kind, dependent, "ownerReferences", left)
        if any(self._is_owned(dependent.key, uid) for _, dependent in dependents):
            self._wake.set()
        else:
            await self._drop_finalizer(kind, owner, ORPHAN)

    def _is_owned(self, key: Key, uid: str) -> bool:
        stored = self._objects.storage.get(key)
        owners = stored.object["metadata"].get("ownerReferences") or () if stored else ()
        return any(owner.get("uid") == uid for owner in owners)

    async def _delete_in_front(
        self, kind: Kind, owner: Stored, dependents: list[tuple[Kind, Stored]]
    ) -> None:
        uid = owner.object["metadata"]["uid"]
        blocking = False
        for dependent_kind, dependent in dependents:
            reference = next(
                o for o in dependent.object["metadata"]["ownerReferences"] if o.get("uid") == uid
            )
            blocking = blocking or bool(reference.get("blockOwnerDeletion"))
            if not dependent.object["metadata"].get("deletionTimestamp"):
                with turn("garbage collection", dependent):
                    await self._delete(dependent_kind, dependent, "Foreground")
        if not blocking:
            await self._drop_finalizer(kind, owner, FOREGROUND)

    async def _delete_kind(self, kind: Kind, definition: Stored) -> None:
        """Delete the objects of a CustomResourceDefinition, and let it go when there are none."""
        own = self._objects.registry.by_resource(definition.key.name)
        for stored in list(self._objects.storage.objects(definition.key.name)) if own else ():
            if own and not stored.object["metadata"].get("deletionTimestamp"):
                with turn("garbage collection", stored):
                    await self._delete(own, stored, "Background")
        if not self._objects.storage.objects(definition.key.name):
            await self._drop_finalizer(kind, definition, FINALIZER)

    async def _collect(self, kind: Kind, stored: Stored, owners: list[Object]) -> None:
        """Delete an object all of whose owners are gone; let the others forget those that are."""
        living = [owner for owner in owners if self._lives(owner, stored.key.namespace)]
        if living and len(living) < len(owners):
            await self._set_metadata(kind, stored, "ownerReferences", living)
        elif not living and not stored.object["metadata"].get("deletionTimestamp"):
            await self._delete(kind, stored, "Background", str(stored.revision))

    def _lives(self, owner: Object, namespace: str) -> bool:
        kind = self._objects.registry.find_kind(owner.get("apiVersion", ""), owner.get("kind", ""))
        if kind is None:
            return True  # an owner of a kind that is not served cannot be known to be gone
        key = Key(resource_name(kind), namespace if kind.namespaced else "", owner.get("name", ""))
        stored = self._objects.storage.get(key)
        return stored is not None and stored.object["metadata"]["uid"] == owner.get("uid")

    async def _delete(self, kind: Kind, stored: Stored, propagation: str, version: str = "") -> None:
        uid = stored.object["metadata"]["uid"]
        options = DeleteOptions(propagation=propagation, uid=uid, resource_version=version)
        await _if_there(self._objects.delete(kind, stored.key.namespace, stored.key.name, options))

    async def _drop_finalizer(self, kind: Kind, stored: Stored, finalizer: str) -> None:
        left = [f for f in stored.object["metadata"]["finalizers"] if f != finalizer]
        await self._set_metadata(kind, stored, "finalizers", left)

    async def _set_metadata(self, kind: Kind, stored: Stored, field: str, value: Sequence[object]) -> None:
        new = copy.deepcopy(stored.in_version(kind.api_version))
        new["metadata"][field] = list(value)
        await _if_there(
            self._objects.update(kind, stored.key.namespace, stored.key.name, new, Options(), trusted=True)
        )


async def _if_there(change: Coroutine[Any, Any, object]) -> None:
    """Await a change; what is gone or changed meanwhile is looked at in the next sweep."""
    try:
        await change
    except ApiError as error:
        if error.code not in {404, 409}:
            raise

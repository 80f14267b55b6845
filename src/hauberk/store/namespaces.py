"""The life of namespaces: each has a `default` ServiceAccount, and its end is the end of what is in it."""

import asyncio
import copy

from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError
from hauberk.store.database import Key
from hauberk.store.objects import Objects
from hauberk.store.options import DeleteOptions, Options
from hauberk.store.registry import resource_name
from hauberk.store.storage import Change, Stored
from hauberk.store.turn import turn

RETRY_SECONDS = 1.0
LOOK_SECONDS = 30.0


class NamespaceLifecycle:
    """Run it in a task."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._wake = asyncio.Event()
        self._wake.set()
        objects.storage.listen_all(self._hear)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self._wake.clear()
            try:
                waiting = await self.sweep()
                wait = RETRY_SECONDS if waiting else LOOK_SECONDS
            except ApiError:
                wait = RETRY_SECONDS  # the store could not be written; tried again
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def sweep(self) -> bool:
        """Look over all namespaces once; whether one still waits for what is in it to go."""
        kind = self._kind("v1", "Namespace")
        waiting = False
        for stored in list(self._objects.storage.objects(resource_name(kind))):
            with turn("namespaces", stored):
                if stored.object["metadata"].get("deletionTimestamp"):
                    waiting = not await self._end(kind, stored) or waiting
                else:
                    await self._default_account(stored.key.name)
        return waiting

    def _hear(self, change: Change) -> None:
        resource = change.last.key.resource
        if resource == "namespaces" or (change.now is None and change.last.key.namespace):
            self._wake.set()

    def _kind(self, api_version: str, name: str) -> Kind:
        kind = self._objects.registry.find_kind(api_version, name)
        if kind is None:
            raise LookupError(f"expected the kind {api_version} {name} to be served")
        return kind

    async def _default_account(self, namespace: str) -> None:
        kind = self._kind("v1", "ServiceAccount")
        if self._objects.storage.get(Key(resource_name(kind), namespace, "default")) is not None:
            return
        account: Object = {"metadata": {"name": "default", "namespace": namespace}}
        try:
            await self._objects.create(kind, namespace, account, Options())
        except ApiError as error:
            if error.code not in {403, 404, 409}:  # being deleted, gone, or made by someone else
                raise

    async def _end(self, kind: Kind, namespace: Stored) -> bool:
        """Delete what is in a namespace; when nothing is left, let it go."""
        left = 0
        for resource in self._objects.registry.resources():
            if not resource.preferred.namespaced:
                continue
            for stored in list(self._objects.storage.objects(resource.name, namespace.key.name)):
                left += 1
                if not stored.object["metadata"].get("deletionTimestamp"):
                    with turn("namespaces", stored):
                        await self._delete(resource.preferred, stored)
        if left and any(
            self._objects.storage.objects(resource.name, namespace.key.name)
            for resource in self._objects.registry.resources()
            if resource.preferred.namespaced
        ):
            return False
        new = copy.deepcopy(namespace.object)
        new.setdefault("spec", {})["finalizers"] = [
            f for f in (new.get("spec") or {}).get("finalizers") or () if f != "kubernetes"
        ]
        try:
            await self._objects.update(kind, "", namespace.key.name, new, Options(), subresource="finalize")
        except ApiError as error:
            if error.code not in {404, 409}:
                raise
        return True

    async def _delete(self, kind: Kind, stored: Stored) -> None:
        try:
            await self._objects.delete(kind, stored.key.namespace, stored.key.name, DeleteOptions())
        except ApiError as error:
            if error.code not in {404, 409}:
                raise

"""Carries actions out against the API, one after another, and tells the view what it did."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError, Client
from hauberk.workloads import condition
from hauberk.workloads.action import Action, Again, Bind, Create, Delete, Emit, Update
from hauberk.workloads.clock import rfc3339
from hauberk.workloads.ownership import controller_of
from hauberk.workloads.view import View


class Executor:
    """Stops at the first action that fails: what follows was decided on the belief that it would not."""

    def __init__(
        self,
        client: Client,
        kinds: Mapping[str, Kind],
        view: View,
        component: str,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._kinds = kinds
        self._view = view
        self._component = component
        self._now = now

    async def run(self, actions: Iterable[Action]) -> float | None:
        """Do all of it; returns after how many seconds to look again, if asked.

        Raises:
            ApiError: the API refused one; the later ones have not been tried.
            OSError: the API could not be reached.
        """
        again: float | None = None
        for action in actions:
            match action:
                case Create():
                    await self._create(action)
                case Update():
                    kind = self._kinds[action.kind]
                    updated = await self._client.update(kind, action.object, subresource=action.subresource)
                    self._view.wrote(action.kind, updated)
                case Delete():
                    await self._delete(action)
                case Bind():
                    await self._bind(action)
                case Emit():
                    await self._emit(action)
                case Again():
                    again = action.after if again is None else min(again, action.after)
        return again

    async def _create(self, action: Create) -> None:
        kind, meta = self._kinds[action.kind], action.object["metadata"]
        try:
            made = await self._client.create(kind, action.object)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # An earlier attempt whose answer was lost, or which the watch has not shown yet.
            made = await self._client.get(kind, meta.get("namespace"), meta["name"])
            wanted, found = controller_of(action.object), controller_of(made)
            if (wanted or {}).get("uid") != (found or {}).get("uid"):
                raise
        self._view.wrote(action.kind, made)

    async def _delete(self, action: Delete) -> None:
        meta = action.object["metadata"]
        try:
            await self._client.delete(
                self._kinds[action.kind],
                meta.get("namespace"),
                meta["name"],
                uid=meta["uid"],
                grace_period_seconds=action.grace_period_seconds,
            )
        except ApiError as error:
            if error.code != 404 and not (error.code == 409 and "uid" in error.message.lower()):
                raise
        self._view.deleted(action.kind, action.object, self._now())

    async def _bind(self, action: Bind) -> None:
        meta, kind = action.pod["metadata"], self._kinds["Pod"]
        placed = {"metadata": {"uid": meta["uid"]}, "spec": {"nodeName": action.node}}
        bound = await self._client.patch(kind, meta["namespace"], meta["name"], placed)
        before = (bound.get("status") or {}).get("conditions")
        conditions = condition.put(before, "PodScheduled", "True", "Scheduled", "", self._now())
        said = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": conditions}}
        bound = await self._client.patch(kind, meta["namespace"], meta["name"], said, subresource="status")
        self._view.wrote("Pod", bound)

    async def _emit(self, action: Emit) -> None:
        """An event repeats by its count; its name follows from what it says of whom."""
        regarding = action.regarding
        meta = regarding["metadata"]
        seed = f"{meta['uid']}/{action.type}/{action.reason}/{action.message}/{self._component}"
        name = f"{meta['name'][:200]}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}"
        namespace = meta.get("namespace") or "default"
        moment = rfc3339(self._now())
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": meta["name"],
                "namespace": namespace,
                "uid": meta["uid"],
            },
            "type": action.type,
            "reason": action.reason,
            "message": action.message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        kind = self._kinds["Event"]
        try:
            await self._client.create(kind, event)
        except ApiError as error:
            if error.reason == "NotFound" or error.code == 403:
                return  # the namespace is going away: nobody is left to read it
            if error.reason != "AlreadyExists":
                raise
            found = await self._client.get(kind, namespace, name)
            again = {"count": found.get("count", 1) + 1, "lastTimestamp": moment}
            await self._client.patch(kind, namespace, name, again)

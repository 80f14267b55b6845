"""Writes the status of the Gateway API's objects, when the mesh knows something else than it says."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from hauberk import fault
from hauberk.mesh.ads import Discovery
from hauberk.mesh.gateway_listeners import OWN_CLASSES
from hauberk.mesh.gateway_status import CONTROLLER, Status
from hauberk.mesh.registry import GATEWAY_API
from hauberk.mesh.snapshot import Snapshot
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.store.client import ApiError, Client
from hauberk.store.informer import Informer

KINDS = ("GatewayClass", "Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute")
GATHER_SECONDS = 0.05
"""How long changes are gathered before anything is written."""
RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


def gateway_classes() -> list[Object]:
    """The classes whose Gateways the mesh serves: its own, and the name that manifests for Istio use."""
    return [
        {
            "apiVersion": kinds.GATEWAY_CLASS.api_version,
            "kind": kinds.GATEWAY_CLASS.name,
            "metadata": {"name": name},
            "spec": {"controllerName": CONTROLLER},
        }
        for name in sorted(OWN_CLASSES - {""})
    ]


class GatewayApiStatus:
    """Run it in a task."""

    def __init__(
        self,
        client: Client,
        informers: Mapping[tuple[str, str], Informer],
        discovery: Discovery,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._informers = {kind: informers[GATEWAY_API, kind] for kind in KINDS}
        self._discovery = discovery
        self._now = now
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow the mesh until cancelled. What cannot be written is tried again after a while."""
        for informer in self._informers.values():
            informer.subscribe(lambda _event: self._changed.set())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="gateway status: snapshots")
            while True:
                await self._changed.wait()
                await asyncio.sleep(GATHER_SECONDS)
                self._changed.clear()
                if not await self._write_all(self._discovery.snapshot):
                    await asyncio.sleep(RETRY_SECONDS)
                    self._changed.set()

    async def _follow(self) -> None:
        seen: Snapshot | None = None
        while True:
            seen = await self._discovery.later_than(seen)
            self._changed.set()

    async def _write_all(self, snapshot: Snapshot) -> bool:
        """Whether all that had to be written was."""
        written = True
        for status in snapshot.statuses():
            found = self._informers[status.kind].cache.get((status.namespace, status.name))
            if found is None or found["metadata"].get("generation") != status.generation:
                continue  # gone, or changed since: the mesh hears of it, and we of the mesh
            written &= await self._write(status, found)
        return written

    async def _write(self, status: Status, found: Object) -> bool:
        try:
            return await self._write_one(status, found)
        except Exception as error:  # noqa: BLE001 - docs/decisions/0006: one object does not end the daemon
            said = fault.described(error)
            log.error("status of %s %s/%s: fault: %s", status.kind, status.namespace, status.name, said)
            return False

    async def _write_one(self, status: Status, found: Object) -> bool:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        before = found.get("status") or {}
        after = status.merge(before, now)
        if after == before:
            return True
        try:
            await self._client.update(
                self._informers[status.kind].kind, {**found, "status": after}, subresource="status"
            )
        except ApiError as error:
            if error.code in (404, 409):
                return True  # gone or changed since
            log.error("status of %s %s/%s: %s", status.kind, status.namespace, status.name, error.message)
            return False
        except OSError as error:
            log.error("status of %s %s/%s: %s", status.kind, status.namespace, status.name, error)
            return False
        return True

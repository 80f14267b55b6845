"""The edge where facts come in: the API's objects, kept in step, become registries that are published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from hauberk.mesh.registry import Mesh, ObjectKey, Registry, object_key
from hauberk.model import kinds
from hauberk.model.kind import Kind, Object
from hauberk.store.client import Client, Event
from hauberk.store.informer import Informer

WATCHED: tuple[Kind, ...] = (
    kinds.NAMESPACE,
    kinds.SERVICE,
    kinds.ENDPOINT_SLICE,
    kinds.POD,
    kinds.SECRET,
    kinds.VIRTUAL_SERVICE,
    kinds.DESTINATION_RULE,
    kinds.ISTIO_GATEWAY,
    kinds.SIDECAR,
    kinds.SERVICE_ENTRY,
    kinds.WORKLOAD_ENTRY,
    kinds.PEER_AUTHENTICATION,
    kinds.AUTHORIZATION_POLICY,
    kinds.REQUEST_AUTHENTICATION,
    kinds.TELEMETRY,
    kinds.MESH_CONFIG,
    kinds.RATE_LIMIT,
    kinds.EXTERNAL_PROCESSOR,
    kinds.GATEWAY_CLASS,
    kinds.GATEWAY,
    kinds.HTTP_ROUTE,
    kinds.GRPC_ROUTE,
    kinds.TLS_ROUTE,
    kinds.TCP_ROUTE,
    kinds.REFERENCE_GRANT,
)

GATHER_SECONDS = 0.005


@dataclass
class Feed:
    """Run it in a task. `publish` hears nothing before all kinds are known: half a truth would cut connections."""

    client: Client
    mesh: Mesh
    publish: Callable[[Registry], None]
    registry: Registry = field(init=False)
    synced: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __post_init__(self) -> None:
        self.registry = Registry(self.mesh)
        self._changed: dict[ObjectKey, Object | None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Follow the API until cancelled."""
        informers = [Informer(self.client, kind) for kind in WATCHED]
        for informer in informers:
            informer.subscribe(self._see)
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(informer.run(), name=f"informer {informer.kind.plural}")
            for informer in informers:
                await informer.synced.wait()
            self._flush()
            self.synced.set()
            self.publish(self.registry)

    def _see(self, event: Event) -> None:
        if event.type == "BOOKMARK":
            return
        self._changed[object_key(event.object)] = None if event.type == "DELETED" else event.object
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._gathered)

    def _gathered(self) -> None:
        self._timer = None
        if self._flush() and self.synced.is_set():
            self.publish(self.registry)

    def _flush(self) -> bool:
        """Put what was gathered into the registry; whether it is another one now."""
        changed, self._changed = self._changed, {}
        before = self.registry
        self.registry = before.update(
            [obj for obj in changed.values() if obj is not None],
            [key for key, obj in changed.items() if obj is None],
        )
        return self.registry is not before

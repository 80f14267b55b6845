"""The ADS server: `envoy.service.discovery.v3.AggregatedDiscoveryService` over grpc.aio, both variants."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from hauberk.mesh.proxy import MalformedNodeError, Proxy
from hauberk.mesh.registry import Registry
from hauberk.mesh.serialization import TYPES
from hauberk.mesh.snapshot import Snapshot
from hauberk.mesh.status import ProxyStatus, proxy_status
from hauberk.mesh.subscription import DeltaStream, StateOfTheWorldStream, Stream

DEBOUNCE_SECONDS = 0.02
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

Authenticate = Callable[[Any, Any], Proxy]
"""(gRPC context, `core.v3.Node`) → the proxy. Raises `UnauthenticatedError` if the peer is not who it says."""

_log = logging.getLogger(__name__)


class UnauthenticatedError(Exception):
    """The peer's certificate does not belong to the pod that `node.id` names; the message says both."""


class Discovery:
    """Holds the current snapshot and serves it. `publish` may be called as often as facts come in."""

    def __init__(
        self,
        registry: Registry | None,
        authenticate: Authenticate,
        *,
        debounce_seconds: float = DEBOUNCE_SECONDS,
    ) -> None:
        """Without a registry, streams wait until one is published."""
        self._snapshot = Snapshot(registry or Registry())
        self._ready = asyncio.Event()
        if registry is not None:
            self._ready.set()
        self._authenticate = authenticate
        self._debounce_seconds = debounce_seconds
        self._pending: Registry | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sessions: dict[int, _Session] = {}
        self._count = 0
        self._moved = asyncio.Event()

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    async def later_than(self, seen: Snapshot | None) -> Snapshot:
        """The current snapshot, once it is another one than `seen`."""
        while self._snapshot is seen:
            await self._moved.wait()
        return self._snapshot

    def publish(self, registry: Registry) -> None:
        """Make this the truth: in a moment, together with what else comes until then."""
        self._pending = registry
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._debounce_seconds, self._swap)

    def statuses(self) -> list[ProxyStatus]:
        """Every connected proxy, in order of namespace and name."""
        found = [session.status() for session in self._sessions.values()]
        return sorted(found, key=lambda status: (status.namespace, status.name))

    def handler(self) -> Any:
        """To be added to a `grpc.aio.Server`."""
        delta, world = discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DiscoveryRequest
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                    self._delta, request_deserializer=delta.FromString, response_serializer=None
                ),
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                    self._state_of_the_world, request_deserializer=world.FromString, response_serializer=None
                ),
            },
        )

    async def _delta(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._serve(requests, context, DeltaStream(), "delta")

    async def _state_of_the_world(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._serve(requests, context, StateOfTheWorldStream(), "state of the world")

    async def _serve(
        self,
        requests: AsyncIterator[Any],
        context: Any,
        stream: DeltaStream | StateOfTheWorldStream,
        protocol: str,
    ) -> None:
        first = await anext(aiter(requests), None)
        if first is None:
            return
        await self._ready.wait()
        try:
            proxy = self._authenticate(context, first.node)
        except (UnauthenticatedError, MalformedNodeError) as error:
            _log.warning("ads: stream refused: %s", error)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            return
        session = _Session(proxy, stream, protocol)
        self._count += 1
        number = self._count
        self._sessions[number] = session
        _log.info("ads: %s connected (%s)", proxy.id, protocol)
        session.receive(first)
        reader = asyncio.create_task(_read(requests, session), name=f"ads {proxy.id}")
        try:
            await self._write(session, context)
        finally:
            del self._sessions[number]
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            self._snapshot.forget_scopes(self._scopes())
            _log.info("ads: %s left", proxy.id)

    async def _write(self, session: _Session, context: Any) -> None:
        while not session.ended:
            await session.changed.wait()
            session.changed.clear()
            for response in session.stream.responses(self._snapshot.resources(session.proxy)):
                await context.write(response)

    def _swap(self) -> None:
        self._timer = None
        registry, self._pending = self._pending, None
        if registry is None:
            return
        self._ready.set()
        later = self._snapshot.successor(registry)
        if later is self._snapshot:
            return
        later.forget_scopes({later.scope_of(session.proxy) for session in self._sessions.values()})
        self._snapshot = later
        self._moved.set()
        self._moved = asyncio.Event()
        for session in self._sessions.values():
            session.proxy = _current(session.proxy, registry)
            session.changed.set()

    def _scopes(self) -> set[Any]:
        return {self._snapshot.scope_of(session.proxy) for session in self._sessions.values()}


class _Session:
    """A connected proxy."""

    def __init__(self, proxy: Proxy, stream: DeltaStream | StateOfTheWorldStream, protocol: str) -> None:
        self.proxy = proxy
        self.stream = stream
        self.changed = asyncio.Event()
        self.ended = False
        self._protocol = protocol
        self._connected_at = time.time()

    def receive(self, request: Any) -> None:
        if request.type_url not in TYPES:
            _log.warning("ads: %s asks for %s, which is not served", self.proxy.id, request.type_url)
            return
        self.stream.receive(request)
        rejection = self.stream.state(request.type_url).rejection
        if rejection and request.HasField("error_detail"):
            _log.error("ads: %s refused %s: %s", self.proxy.id, request.type_url, rejection)
        self.changed.set()

    def status(self) -> ProxyStatus:
        stream: Stream = self.stream
        return proxy_status(self.proxy, stream, self._connected_at, self._protocol)


async def _read(requests: AsyncIterator[Any], session: _Session) -> None:
    try:
        async for request in requests:
            session.receive(request)
    finally:
        session.ended = True
        session.changed.set()


def _current(proxy: Proxy, registry: Registry) -> Proxy:
    """The proxy with its pod's labels as they are now."""
    workload = registry.workloads.get((proxy.namespace, proxy.name))
    if workload is None or workload.labels == proxy.labels:
        return proxy
    return Proxy(
        proxy.kind, proxy.namespace, proxy.name, proxy.address, workload.labels, workload.service_account
    )

"""One stream's side of the xDS protocol without I/O: requests in, responses out (Envoy, "xDS REST and gRPC protocol").

A stream has at most one unanswered response for each type: a slow proxy holds up nobody but itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hauberk.mesh.resource_set import LayeredSet
from hauberk.mesh.serialization import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    TYPES,
    Resource,
    delta_response,
    state_of_the_world_response,
)
from hauberk.mesh.snapshot import ProxyResources

WILDCARD = "*"
RESPONSE_BYTES = 1 << 20
"""A delta response is ended once it is larger; gRPC clients commonly take 4 MiB at most."""

_REMOVED_LAST = {CLUSTER, LISTENER}


@dataclass(slots=True)
class TypeState:
    """What a stream wants of a type, has been sent of it, and said of that."""

    type_url: str
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)
    """Asked for since the last response: answered even if nothing changed."""
    had_before: Mapping[str, str] = field(default_factory=dict)
    """Versions that a reconnecting client says it has."""
    sent: LayeredSet | None = None
    backlog: list[Resource] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    awaiting: str = ""
    """Nonce of the response that is not answered yet."""
    sent_version: str = ""
    acknowledged_version: str = ""
    rejected_version: str = ""
    rejection: str = ""
    answered: bool = False

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def wanted(self, resources: LayeredSet) -> Iterator[Resource]:
        if self.wildcard:
            yield from resources.values()
            return
        for name in self.names:
            resource = resources.get(name)
            if resource is not None:
                yield resource


class Stream:
    """What both variants of the protocol share."""

    def __init__(self) -> None:
        self.types: dict[str, TypeState] = {}
        self._nonce = 0
        self._push = 0

    def state(self, type_url: str) -> TypeState:
        return self.types.setdefault(type_url, TypeState(type_url))

    def acknowledge(self, request: Any) -> bool:
        """Take note of an ACK or a NACK. False if the request answers something older: it is then no answer."""
        if not request.response_nonce:
            return True
        state = self.state(request.type_url)
        if request.response_nonce != state.awaiting:
            return False
        state.awaiting = ""
        if request.HasField("error_detail"):
            state.rejected_version = state.sent_version
            state.rejection = request.error_detail.message
        else:
            state.acknowledged_version = state.sent_version
            state.rejected_version = state.rejection = ""
        return True

    def send_endpoints_again(self, clusters: Iterable[Resource]) -> None:
        """A cluster that changed warms up until it hears of its endpoints (Envoy, "Cluster warming")."""
        endpoints = self.types.get(ENDPOINT)
        if endpoints is not None:
            endpoints.fresh.update(one.name for one in clusters if one.name in endpoints.names)

    def next_nonce(self) -> str:
        self._nonce += 1
        return str(self._nonce)


class DeltaStream(Stream):
    """`DeltaAggregatedResources`."""

    def receive(self, request: Any) -> None:
        """A `DeltaDiscoveryRequest`."""
        first = request.type_url not in self.types
        state = self.state(request.type_url)
        self.acknowledge(request)
        if first:
            state.had_before = dict(request.initial_resource_versions)
            if not request.resource_names_subscribe:
                state.wildcard = True
        for name in request.resource_names_subscribe:
            if name == WILDCARD:
                state.wildcard = True
            else:
                state.names.add(name)
                if not first or name not in state.had_before:
                    state.fresh.add(name)
        for name in request.resource_names_unsubscribe:
            if name == WILDCARD:
                state.wildcard = False
            state.names.discard(name)
            state.fresh.discard(name)

    def responses(self, resources: ProxyResources) -> Iterator[bytes]:
        """What is to be sent now, in an order in which nothing refers to what the proxy does not have."""
        for type_url in TYPES:
            state = self.types.get(type_url)
            if state is None or state.awaiting:
                continue
            current = resources.of(type_url)
            self._collect(state, current)
            if state.backlog or state.removals or not state.answered:
                yield self._response(state)

    def _collect(self, state: TypeState, current: LayeredSet) -> None:
        """Find what differs from what was sent; add it to what still waits."""
        backlog = {resource.name: resource for resource in state.backlog}
        removals = dict.fromkeys(state.removals)
        if state.sent is None:
            for resource in state.wanted(current):
                if state.had_before.get(resource.name) != resource.version or resource.name in state.fresh:
                    backlog[resource.name] = resource
            for name in state.had_before:
                if current.get(name) is None:
                    removals[name] = None
        elif not current.same(state.sent):
            changes = current.changes_since(state.sent)
            for name in changes.updated:
                changed = current.get(name)
                if changed is not None and state.wants(name):
                    backlog[name] = changed
                    removals.pop(name, None)
            for name in changes.removed:
                if state.wants(name) and current.get(name) is None:
                    backlog.pop(name, None)
                    removals[name] = None
        for name in state.fresh:
            asked = current.get(name)
            if asked is None:
                removals[name] = None
            else:
                backlog[name] = asked
        state.fresh = set()
        state.had_before = {}
        state.sent = current
        state.backlog = [resource for resource in backlog.values() if current.get(resource.name) is not None]
        state.removals = list(removals)

    def _response(self, state: TypeState) -> bytes:
        """As much of the backlog as one message takes; removals come with the last part."""
        size = taken = 0
        for resource in state.backlog:
            size += len(resource.any)
            taken += 1
            if size > RESPONSE_BYTES:
                break
        part, state.backlog = state.backlog[:taken], state.backlog[taken:]
        if state.type_url == CLUSTER:
            self.send_endpoints_again(part)
        removals: list[str] = []
        if not state.backlog:
            removals, state.removals = state.removals, []
        state.awaiting = state.sent_version = self.next_nonce()
        state.answered = True
        return delta_response(state.type_url, part, removals, state.awaiting)


class StateOfTheWorldStream(Stream):
    """`StreamAggregatedResources`."""

    def receive(self, request: Any) -> None:
        """A `DiscoveryRequest`."""
        first = request.type_url not in self.types
        state = self.state(request.type_url)
        if not self.acknowledge(request):
            return
        names = set(request.resource_names)
        state.wildcard = (first and not names) or (state.wildcard and not names) or WILDCARD in names
        names.discard(WILDCARD)
        state.fresh |= names - state.names
        state.names = names

    def responses(self, resources: ProxyResources) -> Iterator[bytes]:
        """What is to be sent now. Listeners and clusters always come whole: what is missing is removed."""
        for type_url in TYPES:
            state = self.types.get(type_url)
            if state is None or state.awaiting:
                continue
            current = resources.of(type_url)
            chosen = self._choose(state, current)
            if chosen is None:
                continue
            if type_url == CLUSTER:
                changes = current.changes_since(state.sent) if state.sent else None
                found = (current.get(name) for name in changes.updated) if changes else ()
                self.send_endpoints_again(one for one in found if one is not None)
            state.sent, state.fresh, state.answered = current, set(), True
            nonce = state.awaiting = self.next_nonce()
            state.sent_version = nonce
            yield state_of_the_world_response(type_url, chosen, nonce, nonce)

    def _choose(self, state: TypeState, current: LayeredSet) -> Iterable[Resource] | None:
        if state.sent is None:
            return list(state.wanted(current))
        changes = current.changes_since(state.sent) if not current.same(state.sent) else None
        changed = [name for name in changes.updated if state.wants(name)] if changes else []
        removed = [name for name in changes.removed if state.wants(name)] if changes else []
        if not changed and not removed and not state.fresh:
            return None
        if state.type_url in _REMOVED_LAST:
            return list(state.wanted(current))
        names = dict.fromkeys((*changed, *sorted(state.fresh)))
        found = [resource for name in names if (resource := current.get(name)) is not None]
        return found or None

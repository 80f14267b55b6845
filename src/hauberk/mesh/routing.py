"""All routing of the mesh in one form: Istio's own objects, and those of the Gateway API put in their words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hauberk.mesh.delegation import delegated
from hauberk.mesh.gateway_api import convert
from hauberk.mesh.gateway_listeners import CheckedGateway, class_statuses, gateway_status
from hauberk.mesh.gateway_status import RouteStatus, Status
from hauberk.mesh.registry import NETWORKING, Configuration, Registry


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """VirtualServices and Gateways, the oldest first. Compared by identity."""

    registry: Registry
    virtual_services: tuple[Configuration, ...]
    gateways: tuple[Configuration, ...]
    checked: tuple[CheckedGateway, ...]
    """Gateways of the Gateway API that are ours to serve."""
    routes: tuple[RouteStatus, ...]
    """What became of the routes of the Gateway API."""


def routing(registry: Registry, before: Routing | None) -> Routing:
    """Derived again only if its facts changed; objects that stayed equal stay identical."""
    if (
        before is not None
        and before.registry.configurations is registry.configurations
        and before.registry.services is registry.services
        and before.registry.credentials is registry.credentials
        and before.registry.key_sets is registry.key_sets
    ):
        return before
    converted = convert(registry)
    known: dict[tuple[str, str, str], Configuration] = {}
    if before is not None:
        for entry in (*before.virtual_services, *before.gateways):
            known[entry.kind, entry.namespace, entry.name] = entry

    def kept(entry: Configuration) -> Configuration:
        same = known.get((entry.kind, entry.namespace, entry.name))
        return same if same is not None and same.same(entry) and same.created == entry.created else entry

    return Routing(
        registry=registry,
        virtual_services=_ordered(
            [
                *map(kept, delegated(registry.of_kind(NETWORKING, "VirtualService"), registry.mesh)),
                *map(kept, converted.virtual_services),
            ]
        ),
        gateways=_ordered([*registry.of_kind(NETWORKING, "Gateway"), *map(kept, converted.gateways)]),
        checked=converted.checked,
        routes=converted.statuses,
    )


def statuses(registry: Registry, routing: Routing) -> Iterator[Status]:
    """What the status of every object of the Gateway API is to say."""
    yield from class_statuses(registry)
    for one in routing.checked:
        yield gateway_status(one, routing.routes, registry)
    yield from routing.routes


def _ordered(entries: list[Configuration]) -> tuple[Configuration, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.created, entry.namespace, entry.name)))

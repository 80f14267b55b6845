"""All routing of the mesh in one form: Istio's own objects, and those of the Gateway API put in their words."""

from __future__ import annotations

from dataclasses import dataclass

from hauberk.mesh.gateway_api import RouteStatus, convert
from hauberk.mesh.registry import NETWORKING, Configuration, Registry


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """VirtualServices and Gateways, the oldest first. Compared by identity."""

    registry: Registry
    virtual_services: tuple[Configuration, ...]
    gateways: tuple[Configuration, ...]
    statuses: tuple[RouteStatus, ...]
    """What the status of Gateway API routes is to say."""


def routing(registry: Registry, before: Routing | None) -> Routing:
    """Derived again only if configurations or services changed; objects that stayed equal stay identical."""
    if (
        before is not None
        and before.registry.configurations is registry.configurations
        and before.registry.services is registry.services
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
            [*registry.of_kind(NETWORKING, "VirtualService"), *map(kept, converted.virtual_services)]
        ),
        gateways=_ordered([*registry.of_kind(NETWORKING, "Gateway"), *map(kept, converted.gateways)]),
        statuses=converted.statuses,
    )


def _ordered(entries: list[Configuration]) -> tuple[Configuration, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.created, entry.namespace, entry.name)))

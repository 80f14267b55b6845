"""What the status of the Gateway API's objects is to say: conditions with the reasons of its specification. No I/O.

A status is merged into what the object says already, so that a moment (`lastTransitionTime`) moves only with its
condition, and what other controllers wrote stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONTROLLER = "hauberk.io/gateway-controller"
LARGEST_LIST = 32
"""The most parents that a route's status holds, and half of the addresses of a Gateway's."""

SUPPORTED_FEATURES = frozenset(
    {
        "GRPCRoute",
        "GRPCRouteNamedRouteRule",
        "Gateway",
        "GatewayAddressEmpty",
        "GatewayHTTPListenerIsolation",
        "GatewayInfrastructure",
        "GatewayPort8080",
        "HTTPRoute",
        "HTTPRoute303RedirectStatusCode",
        "HTTPRoute307RedirectStatusCode",
        "HTTPRoute308RedirectStatusCode",
        "HTTPRouteBackendProtocolH2C",
        "HTTPRouteBackendProtocolWebSocket",
        "HTTPRouteBackendRequestHeaderModification",
        "HTTPRouteBackendTimeout",
        "HTTPRouteDestinationPortMatching",
        "HTTPRouteHostRewrite",
        "HTTPRouteMethodMatching",
        "HTTPRouteNamedRouteRule",
        "HTTPRouteParentRefPort",
        "HTTPRoutePathRedirect",
        "HTTPRoutePathRewrite",
        "HTTPRoutePortRedirect",
        "HTTPRouteQueryParamMatching",
        "HTTPRouteRequestMirror",
        "HTTPRouteRequestMultipleMirrors",
        "HTTPRouteRequestPercentageMirror",
        "HTTPRouteRequestTimeout",
        "HTTPRouteResponseHeaderModification",
        "HTTPRouteRetry",
        "HTTPRouteRetryBackendTimeout",
        "HTTPRouteRetryConnectionError",
        "HTTPRouteSchemeRedirect",
        "ReferenceGrant",
        "TCPRoute",
        "TLSRoute",
        "TLSRouteModeMixed",
        "TLSRouteModeTerminate",
    }
)
"""What the suite of the Gateway API is run for (`GatewayClass.status.supportedFeatures`; docs/conformance.md)."""

Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of an object, a listener, or a route under one parent."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RouteParent:
    """What became of a route under one of its parents."""

    reference: Spec
    conditions: tuple[Condition, ...]
    listeners: tuple[tuple[str, str, str], ...] = ()
    """Namespace, name and listener of the Gateways that serve it."""


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """`status.parents` of a route."""

    kind: str
    namespace: str
    name: str
    generation: int
    parents: tuple[RouteParent, ...]

    def merge(self, before: Spec, now: str) -> dict[str, Any]:
        """The `status` of the route that had the status `before`; `now` is RFC 3339."""
        told = list(before.get("parents") or ())
        own = {_reference(one): one for one in told if one.get("controllerName") == CONTROLLER}
        parents = [one for one in told if one.get("controllerName") != CONTROLLER]
        for parent in self.parents:
            entry: dict[str, Any] = {"parentRef": dict(parent.reference), "controllerName": CONTROLLER}
            known = (own.get(_reference(entry)) or {}).get("conditions") or ()
            entry["conditions"] = _conditions(parent.conditions, known, self.generation, now)
            parents.append(entry)
        return {**before, "parents": parents[:LARGEST_LIST]}


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """What became of a listener."""

    name: str
    kinds: tuple[str, ...]
    attached_routes: int
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """`status` of a Gateway."""

    namespace: str
    name: str
    generation: int
    addresses: tuple[str, ...]
    conditions: tuple[Condition, ...]
    listeners: tuple[ListenerStatus, ...]
    kind: str = "Gateway"

    def merge(self, before: Spec, now: str) -> dict[str, Any]:
        """The `status` of the Gateway that had the status `before`; `now` is RFC 3339."""
        known = {one.get("name"): one for one in before.get("listeners") or ()}
        return {
            **before,
            "addresses": [{"type": "IPAddress", "value": one} for one in self.addresses[: LARGEST_LIST // 2]],
            "conditions": _conditions(
                self.conditions, before.get("conditions") or (), self.generation, now, keep=True
            ),
            "listeners": [
                {
                    "name": one.name,
                    "supportedKinds": [
                        {"group": "gateway.networking.k8s.io", "kind": kind} for kind in one.kinds
                    ],
                    "attachedRoutes": one.attached_routes,
                    "conditions": _conditions(
                        one.conditions,
                        (known.get(one.name) or {}).get("conditions") or (),
                        self.generation,
                        now,
                    ),
                }
                for one in self.listeners
            ],
        }


@dataclass(frozen=True, slots=True)
class GatewayClassStatus:
    """`status` of a GatewayClass whose controller is this one."""

    name: str
    generation: int
    kind: str = "GatewayClass"
    namespace: str = ""

    def merge(self, before: Spec, now: str) -> dict[str, Any]:
        """The `status` of the class that had the status `before`; `now` is RFC 3339."""
        accepted = Condition("Accepted", True, "Accepted", "Gateways of this class are served")
        known = before.get("conditions") or ()
        return {
            **before,
            "conditions": _conditions([accepted], known, self.generation, now, keep=True),
            "supportedFeatures": [{"name": name} for name in sorted(SUPPORTED_FEATURES)],
        }


Status = RouteStatus | GatewayStatus | GatewayClassStatus


def _conditions(
    found: Sequence[Condition],
    before: Iterable[Spec],
    generation: int,
    now: str,
    *,
    keep: bool = False,
) -> list[dict[str, Any]]:
    """The conditions as JSON; with `keep`, those of types that we do not know stay."""
    known = {str(one.get("type")): one for one in before}
    made = []
    for one in found:
        status = "True" if one.status else "False"
        old = known.pop(one.type, {})
        same = old.get("status") == status and old.get("lastTransitionTime")
        made.append(
            {
                "type": one.type,
                "status": status,
                "reason": one.reason,
                "message": one.message,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if same else now,
            }
        )
    return [*made, *(dict(one) for one in known.values())] if keep else made


def _reference(parent: Spec) -> tuple[Any, ...]:
    told = parent.get("parentRef") or {}
    return tuple(told.get(name) for name in ("group", "kind", "namespace", "name", "sectionName", "port"))

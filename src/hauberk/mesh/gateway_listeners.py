"""A Gateway of the Gateway API, listener by listener: what can be served, and why not the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hauberk.mesh.gateway_status import (
    CONTROLLER,
    Condition,
    GatewayClassStatus,
    GatewayStatus,
    ListenerStatus,
    RouteStatus,
    Spec,
)
from hauberk.mesh.hosts import host_matches
from hauberk.mesh.reference_grants import granted
from hauberk.mesh.registry import GATEWAY_API, Configuration, Key, Registry
from hauberk.model.credential import Credential

GATEWAY_NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
OWN_CLASSES = frozenset({"", "hauberk", "istio"})
"""Classes that are served even if no GatewayClass of that name exists."""

_KINDS = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TLS": ("TLSRoute",),
    "TCP": ("TCPRoute",),
}
_PARAMETERS = "spec.infrastructure.parametersRef: there are no parameters here: remove it"
_SHARING = frozenset({"HTTPS", "TLS"})
"""Protocols that can share a port: the server name tells their connections apart."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener with what was found out about it. `certificate` is the Secret that it shows."""

    spec: Spec
    kinds: tuple[str, ...]
    accepted: Condition
    resolved: Condition
    conflicted: Condition
    certificate: Key | None = None

    @property
    def name(self) -> str:
        return str(self.spec.get("name", ""))

    @property
    def host(self) -> str:
        """The host name, perhaps a wildcard, that it is for; `*` for any."""
        return str(self.spec.get("hostname") or "*").lower()

    @property
    def served(self) -> bool:
        return self.accepted.status and not self.conflicted.status and self._usable

    @property
    def _usable(self) -> bool:
        """Without a certificate a listener with TLS cannot answer; without a known kind one with routes can."""
        return self.resolved.status or self.resolved.reason == "InvalidRouteKinds"


@dataclass(frozen=True, slots=True, eq=False)
class CheckedGateway:
    """A Gateway that is ours to serve."""

    gateway: Configuration
    listeners: tuple[Listener, ...]

    def reserved(self, listener: Listener) -> tuple[str, ...]:
        """The names among a listener's that narrower ones of its port have, even such as cannot be served now.

        A host is its most specific listener's alone (Gateway API, "Listener isolation").
        """
        return tuple(
            other.host
            for other in self.listeners
            if other.spec["port"] == listener.spec["port"]
            and not other.conflicted.status
            and other.host != listener.host
            and host_matches(listener.host, other.host)
        )


def is_ours(gateway: Configuration, registry: Registry) -> bool:
    """Whether the Gateway's class is run by this controller."""
    name = gateway.spec.get("gatewayClassName") or ""
    found = registry.configurations.get((GATEWAY_API, "GatewayClass", "", name))
    return name in OWN_CLASSES if found is None else found.spec.get("controllerName") == CONTROLLER


def check_gateway(gateway: Configuration, registry: Registry) -> CheckedGateway:
    """Looks at every listener on its own, then at those that share a port."""
    told = [one for one in gateway.spec.get("listeners") or () if isinstance(one, dict)]
    return CheckedGateway(
        gateway, tuple(_check(gateway, one, told[:index], registry) for index, one in enumerate(told))
    )


def class_statuses(registry: Registry) -> Iterator[GatewayClassStatus]:
    """Of all classes that are run by this controller."""
    for one in registry.of_kind(GATEWAY_API, "GatewayClass"):
        if one.spec.get("controllerName") == CONTROLLER:
            yield GatewayClassStatus(one.name, one.generation)


def gateway_status(
    checked: CheckedGateway, routes: Sequence[RouteStatus], registry: Registry
) -> GatewayStatus:
    """The status of a Gateway, given those of the routes."""
    gateway = checked.gateway
    addresses = _addresses(gateway, registry)
    asked = [one.get("value") for one in gateway.spec.get("addresses") or ()]
    strange = [one for one in asked if one not in addresses]
    served = [one for one in checked.listeners if one.served]
    return GatewayStatus(
        namespace=gateway.namespace,
        name=gateway.name,
        generation=gateway.generation,
        addresses=addresses,
        conditions=(
            _gateway_accepted(checked, served),
            _gateway_programmed(gateway, addresses, strange, served),
        ),
        listeners=tuple(
            ListenerStatus(
                one.name,
                one.kinds,
                _attached(gateway, one.name, routes),
                (one.accepted, _programmed(one, addresses), one.resolved, one.conflicted),
            )
            for one in checked.listeners
        ),
    )


def _check(gateway: Configuration, told: Spec, earlier: Sequence[Spec], registry: Registry) -> Listener:
    if not isinstance(told["port"], int):
        raise TypeError(f"listeners.port: expected a number, found {told['port']!r}")
    protocol = str(told.get("protocol", ""))
    kinds, strange = _route_kinds(told, _KINDS.get(protocol, ()))
    certificate, resolved = _certificate(gateway, told, registry)
    if resolved.status and strange:
        message = (
            f"a listener of protocol {protocol} takes {', '.join(_KINDS.get(protocol, ()))}, not {strange}"
        )
        resolved = Condition("ResolvedRefs", False, "InvalidRouteKinds", message)
    return Listener(told, kinds, _accepted(gateway, told), resolved, _conflicted(told, earlier), certificate)


def _accepted(gateway: Configuration, told: Spec) -> Condition:
    protocol = told.get("protocol")
    if protocol not in _KINDS:
        message = f"expected one of the protocols {', '.join(_KINDS)}, found {protocol!r}"
        return Condition("Accepted", False, "UnsupportedProtocol", message)
    if ((gateway.spec.get("tls") or {}).get("frontend")) and protocol == "HTTPS":
        message = "spec.tls.frontend: callers' certificates are not checked here: remove it"
        return Condition("Accepted", False, "UnsupportedValue", message)
    if has_parameters(gateway):
        return Condition("Accepted", False, "UnsupportedValue", _PARAMETERS)
    return Condition("Accepted", True, "Accepted", "the listener is served")


def _conflicted(told: Spec, earlier: Sequence[Spec]) -> Condition:
    """The first of two listeners that cannot be told apart has the port."""
    for other in earlier:
        if other.get("port") != told.get("port"):
            continue
        protocols = {str(other.get("protocol")), str(told.get("protocol"))}
        if len(protocols) > 1 and not protocols <= _SHARING:
            message = f"port {told.get('port')} is {other.get('protocol')} in listener {other.get('name')}"
            return Condition("Conflicted", True, "ProtocolConflict", message)
        if (other.get("hostname") or "") == (told.get("hostname") or ""):
            message = f"listener {other.get('name')} has the same port and host name"
            return Condition("Conflicted", True, "HostnameConflict", message)
    return Condition("Conflicted", False, "NoConflicts", "no other listener has the port and host name")


def _route_kinds(told: Spec, supported: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The kinds of routes that may be attached, and those asked for that cannot."""
    asked = (told.get("allowedRoutes") or {}).get("kinds") or ()
    if not asked:
        return supported, ""
    known = [
        one["kind"]
        for one in asked
        if one.get("group", GATEWAY_API) == GATEWAY_API and one.get("kind") in supported
    ]
    strange = [str(one.get("kind")) for one in asked if one.get("kind") not in known]
    return tuple(known), ", ".join(strange)


def _terminates(told: Spec) -> bool:
    return (told.get("tls") or {}).get("mode") in (None, "Terminate")


def _certificate(gateway: Configuration, told: Spec, registry: Registry) -> tuple[Key | None, Condition]:
    """The Secret of a listener that ends TLS, or what is wrong with the reference."""
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs", "all references are resolved")
    if told.get("protocol") not in _SHARING or not _terminates(told):
        return None, resolved
    references: list[Spec] = (told.get("tls") or {}).get("certificateRefs") or []
    if len(references) != 1:
        message = f"tls.certificateRefs: expected one Secret, found {len(references)}"
        return None, _unresolved("InvalidCertificateRef", message)
    reference = references[0]
    if reference.get("group", "") != "" or reference.get("kind", "Secret") != "Secret":
        message = f"tls.certificateRefs: expected a Secret, found {reference.get('kind')}"
        return None, _unresolved("InvalidCertificateRef", message)
    key: Key = (reference.get("namespace") or gateway.namespace, reference["name"])
    if key[0] != gateway.namespace and not granted(registry, gateway, "Secret", key):
        message = f"no ReferenceGrant in {key[0]} lets this Gateway use the Secret {key[1]}"
        return None, _unresolved("RefNotPermitted", message)
    found, where = registry.credentials.get(key), f"Secret {key[0]}/{key[1]}"
    if not isinstance(found, Credential):
        message = f"{where}: {found or 'expected a Secret with tls.crt and tls.key, found none'}"
        return None, _unresolved("InvalidCertificateRef", message)
    if found.key_pair is None:
        return None, _unresolved(
            "InvalidCertificateRef", f"{where}: expected tls.crt and tls.key, found only ca.crt"
        )
    return key, resolved


def _unresolved(reason: str, message: str) -> Condition:
    return Condition("ResolvedRefs", False, reason, message)


def _addresses(gateway: Configuration, registry: Registry) -> tuple[str, ...]:
    """Of the pods that serve the Gateway, in order."""
    return tuple(
        sorted(
            address
            for one in registry.workloads.values()
            for address in one.addresses
            if one.namespace == gateway.namespace
            and one.gateway
            and one.labels.get(GATEWAY_NAME_LABEL) == gateway.name
        )
    )


def has_parameters(gateway: Configuration) -> bool:
    """Whether it asks for parameters of an implementation, which there are none of here."""
    return bool((gateway.spec.get("infrastructure") or {}).get("parametersRef"))


def _gateway_accepted(checked: CheckedGateway, served: Sequence[Listener]) -> Condition:
    if has_parameters(checked.gateway):
        return Condition("Accepted", False, "InvalidParameters", _PARAMETERS)
    if served and len(served) == len(checked.listeners):
        return Condition("Accepted", True, "Accepted", "all listeners are valid")
    bad = ", ".join(one.name for one in checked.listeners if not one.served)
    message = f"listeners that are not served: {bad}; their conditions say why"
    return Condition("Accepted", bool(served), "ListenersNotValid", message)


def _gateway_programmed(
    gateway: Configuration, addresses: Sequence[str], strange: Sequence[Any], served: Sequence[Listener]
) -> Condition:
    if not served:
        return Condition("Programmed", False, "Invalid", "no listener can be served")
    if strange:
        message = f"spec.addresses: {', '.join(map(str, strange))} is no address of this Gateway's pods"
        return Condition("Programmed", False, "AddressNotUsable", message)
    if not addresses:
        return Condition("Programmed", False, "AddressNotAssigned", _no_pods(gateway))
    return Condition("Programmed", True, "Programmed", f"served by {len(addresses)} pods")


def _no_pods(gateway: Configuration) -> str:
    return (
        f"no pod of {gateway.namespace} with an address has the annotation hauberk.io/gateway=true and the label "
        f"{GATEWAY_NAME_LABEL}={gateway.name}"
    )


def _programmed(listener: Listener, addresses: Sequence[str]) -> Condition:
    if not listener.served:
        return Condition("Programmed", False, "Invalid", "the other conditions say why it is not served")
    if not addresses:
        return Condition("Programmed", False, "Pending", "no pod serves the Gateway yet")
    return Condition("Programmed", True, "Programmed", "the listener is served")


def _attached(gateway: Configuration, listener: str, routes: Sequence[RouteStatus]) -> int:
    wanted = (gateway.namespace, gateway.name, listener)
    return sum(any(wanted in parent.listeners for parent in route.parents) for route in routes)

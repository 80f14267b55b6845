"""Objects that cannot be translated are left out before anything is derived, each for itself, and said to be so.

The API admits none of them; but it was not always this API, and rules can have gaps. One object that made the
translation fail for all would stop every other change from reaching a proxy. Objects that decide who may call are not
left out, which would let callers in: their own translation closes what it cannot read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from envoy.config.cluster.v3 import cluster_pb2

from hauberk.mesh.client_tls import NO_CREDENTIALS
from hauberk.mesh.destination_rules import client_labels, locality_settings, merge_rules
from hauberk.mesh.external_processors import ExternalProcessors
from hauberk.mesh.gateways import check_servers
from hauberk.mesh.locality import Caller, Locality, groups, priority_labels
from hauberk.mesh.mesh_config import service_port
from hauberk.mesh.protocol import Protocol
from hauberk.mesh.rate_limits import RateLimits
from hauberk.mesh.registry import (
    HAUBERK,
    NETWORKING,
    Configuration,
    Labels,
    Mesh,
    ObjectKey,
    Registry,
    ServicePort,
)
from hauberk.mesh.service_entries import check_hosts
from hauberk.mesh.virtual_services import check_routes

UNTRANSLATABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
"""What a translation raises over an object that has another shape than its kind's."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that has no effect, and why."""

    kind: str
    namespace: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A registry without what cannot be translated."""

    registry: Registry
    refused: tuple[Refused, ...] = ()
    checked: Mapping[ObjectKey, tuple[Configuration, str]] = field(default_factory=dict)
    """The verdict on each object: empty for a sound one."""
    given: Mapping[ObjectKey, Configuration] = field(default_factory=dict)
    """The configurations that were looked at."""


def only_sound(registry: Registry, before: Sound | None) -> Sound:
    """The registry itself if all is sound. What was looked at before is not looked at again."""
    given = registry.configurations
    if before is not None and before.given is given:
        kept = before.registry.configurations
        same = registry if kept is given else replace(registry, configurations=kept)
        return Sound(same, before.refused, before.checked, given)
    known = before.checked if before is not None else {}
    checked = {key: _checked(one, known.get(key), registry.mesh) for key, one in given.items()}
    bad = {key: reason for key, (_, reason) in checked.items() if reason}
    refused = tuple(Refused(key[1], key[2], key[3], reason) for key, reason in sorted(bad.items()))
    if not bad:
        return Sound(registry, (), checked, given)
    sound = {key: one for key, one in given.items() if key not in bad}
    return Sound(replace(registry, configurations=sound), refused, checked, given)


def _checked(
    one: Configuration, known: tuple[Configuration, str] | None, mesh: Mesh
) -> tuple[Configuration, str]:
    if known is not None and known[0] is one:
        return known
    check = _CHECKS.get((one.group, one.kind))
    if check is None:
        return one, ""
    try:
        check(one, mesh)
    except UNTRANSLATABLE as error:
        reason = f"{type(error).__name__}: {error}"
        _log.error("mesh: %s %s/%s has no effect: %s", one.kind, one.namespace, one.name, reason)
        return one, reason
    return one, ""


def _destination_rule(rule: Configuration, _mesh: Mesh) -> None:
    _text(rule.spec["host"])
    client_labels(rule)
    _texts(rule.spec.get("exportTo"))
    merged = merge_rules([rule])
    port = ServicePort(80, "http", Protocol.HTTP, 80)
    for settings in locality_settings(rule):
        priority_labels(settings)
        groups((), settings, Caller(Locality(), Labels()), failover=True)
    for subset in (None, *merged.subsets):
        policy = merged.policy(port, subset)
        policy.tls.socket()
        policy.tls.available(NO_CREDENTIALS)
        policy.apply(cluster_pb2.Cluster(), follows_caller=False)


def _virtual_service(virtual: Configuration, mesh: Mesh) -> None:
    for name in ("hosts", "gateways", "exportTo"):
        _texts(virtual.spec.get(name))
    check_routes(virtual, mesh)


def _gateway(gateway: Configuration, _mesh: Mesh) -> None:
    check_servers(gateway)


def _rate_limit(limit: Configuration, mesh: Mesh) -> None:
    service_port(limit.spec.get("service"), Registry(mesh))
    RateLimits((limit,)).http_filters()


def _external_processor(processor: Configuration, mesh: Mesh) -> None:
    service_port(processor.spec.get("service"), Registry(mesh))
    ExternalProcessors((processor,)).http_filters()


def _sidecar(sidecar: Configuration, _mesh: Mesh) -> None:
    dict((sidecar.spec.get("workloadSelector") or {}).get("labels") or {})
    for listener in sidecar.spec.get("egress") or ():
        _texts(listener.get("hosts"))


def _texts(told: object) -> None:
    if told is None:
        return
    if not isinstance(told, list | tuple):
        raise TypeError(f"expected a list, found {told!r}")
    for one in told:
        _text(one)


def _text(told: object) -> None:
    if not isinstance(told, str):
        raise TypeError(f"expected a text, found {told!r}")


_CHECKS: dict[tuple[str, str], Callable[[Configuration, Mesh], None]] = {
    (NETWORKING, "VirtualService"): _virtual_service,
    (NETWORKING, "DestinationRule"): _destination_rule,
    (NETWORKING, "Gateway"): _gateway,
    (NETWORKING, "Sidecar"): _sidecar,
    (NETWORKING, "ServiceEntry"): check_hosts,
    (HAUBERK, "RateLimit"): _rate_limit,
    (HAUBERK, "ExternalProcessor"): _external_processor,
}

"""Telemetry: what is logged and traced of a workload's calls (Istio, "Telemetry API").

Three levels apply, the wider first: the root namespace's object without a selector, the namespace's, and the one
whose selector chooses the workload; of each the oldest. A level that names providers replaces those of the wider
one; a level that names none speaks of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2

from hauberk.mesh.access_logs import AccessLogger
from hauberk.mesh.mesh_config import Collector, MeshConfig, mesh_config
from hauberk.mesh.registry import TELEMETRY, Configuration, Labels, Mesh, Registry
from hauberk.mesh.tracing import CustomTag, Tracing

CLIENT, SERVER = "CLIENT", "SERVER"
DEFAULT_PERCENTAGE = 1.0
_CANONICAL_NAMES = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")


@dataclass(frozen=True, slots=True)
class Observation:
    """What a proxy tells of calls in one direction."""

    loggers: tuple[AccessLogger, ...] = ()
    tracing: Tracing | None = None

    def http_logs(self) -> Iterator[accesslog_pb2.AccessLog]:
        """The access logs of an HTTP connection manager."""
        yield from filter(None, (logger.http() for logger in self.loggers))

    def tcp_logs(self) -> Iterator[accesslog_pb2.AccessLog]:
        """The access logs of a TCP proxy."""
        yield from filter(None, (logger.tcp() for logger in self.loggers))


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a workload's proxy tells of the calls that it makes and of those that it takes."""

    client: Observation = Observation()
    server: Observation = Observation()
    collectors: frozenset[str] = frozenset()
    """Hosts of services whose clusters it needs for that."""


class TelemetryIndex:
    """Finds what holds for a workload."""

    def __init__(self, registry: Registry) -> None:
        self._mesh = registry.mesh
        self._config = mesh_config(registry)
        self._objects = registry.of_kind(TELEMETRY, "Telemetry")
        self._known: dict[tuple[str, Labels], Telemetry] = {}

    def of(self, namespace: str, labels: Labels) -> Telemetry:
        known = self._known.get((namespace, labels))
        if known is None:
            chosen = select_telemetries(self._objects, namespace, labels, self._mesh)
            known = merge_telemetries(chosen, self._config, namespace, labels)
            self._known[namespace, labels] = known
        return known


def select_telemetries(
    objects: Iterable[Configuration], namespace: str, labels: Labels, mesh: Mesh
) -> tuple[Configuration, ...]:
    """Those that apply to a workload, the widest first."""
    levels: dict[int, Configuration] = {}
    for one in objects:
        selector = Labels.of((one.spec.get("selector") or {}).get("matchLabels"))
        if selector:
            if one.namespace == namespace and selector.matches(labels):
                levels.setdefault(2, one)
        elif one.namespace == mesh.root_namespace:
            levels.setdefault(0, one)
        elif one.namespace == namespace:
            levels.setdefault(1, one)
    return tuple(levels[level] for level in sorted(levels))


def merge_telemetries(
    chosen: Sequence[Configuration], config: MeshConfig, namespace: str, labels: Labels
) -> Telemetry:
    """What the chosen objects say together, for both directions."""
    service_name = f"{_canonical_name(labels)}.{namespace}"
    return Telemetry(
        client=Observation(_loggers(chosen, config, CLIENT), _tracing(chosen, config, CLIENT, service_name)),
        server=Observation(_loggers(chosen, config, SERVER), _tracing(chosen, config, SERVER, service_name)),
        collectors=config.hosts,
    )


def _loggers(chosen: Sequence[Configuration], config: MeshConfig, mode: str) -> tuple[AccessLogger, ...]:
    """In the order of their names. Of providers, those count that the narrowest level with any names."""
    levels = [entries for one in chosen if (entries := one.spec.get("accessLogging") or ())]
    if not levels:
        used = set(config.access_logging)
    else:
        counting = set(config.access_logging)
        for entries in levels:
            counting = {name for entry in entries for name in _names(entry)} or counting
        used = set()
        inherited: Sequence[str] = config.access_logging
        for entry in (entry for entries in levels for entry in entries):
            inherited = _names(entry) or inherited
            if not _matches(entry, mode):
                continue
            if entry.get("disabled"):
                used.difference_update(inherited)
            else:
                used.update(counting.intersection(inherited))
    found = (config.providers.get(name) for name in sorted(used))
    return tuple(logger for logger in found if logger is not None and not isinstance(logger, Collector))


def _tracing(
    chosen: Sequence[Configuration], config: MeshConfig, mode: str, service_name: str
) -> Tracing | None:
    """The last word on each setting counts; without a collector, or with reporting disabled, nothing is traced."""
    provider = config.tracing[0] if config.tracing else ""
    disabled, percentage = False, DEFAULT_PERCENTAGE
    tags: Mapping[str, Any] = {}
    for entry in (entry for one in chosen for entry in one.spec.get("tracing") or ()):
        if not _matches(entry, mode):
            continue
        names = _names(entry)
        provider = names[0] if names else provider
        tags = entry.get("customTags") or tags
        if entry.get("disableSpanReporting") is not None:
            disabled = bool(entry["disableSpanReporting"])
        if entry.get("randomSamplingPercentage") is not None:
            percentage = float(entry["randomSamplingPercentage"])
    collector = config.providers.get(provider)
    if disabled or not isinstance(collector, Collector):
        return None
    return Tracing(
        collector.cluster, service_name, percentage, tuple(_tag(*item) for item in sorted(tags.items()))
    )


def _tag(name: str, told: Mapping[str, Any]) -> CustomTag:
    header = told.get("header")
    if header:
        return CustomTag(name, header["name"], header.get("defaultValue") or "")
    return CustomTag(name, "", (told.get("literal") or {}).get("value") or "")


def _names(entry: Mapping[str, Any]) -> list[str]:
    return [provider["name"] for provider in entry.get("providers") or ()]


def _matches(entry: Mapping[str, Any], mode: str) -> bool:
    return ((entry.get("match") or {}).get("mode") or mode) in (mode, "CLIENT_AND_SERVER")


def _canonical_name(labels: Labels) -> str:
    """The workload's name in traces: the first of Istio's labels for it."""
    return next((name for key in _CANONICAL_NAMES if (name := labels.get(key))), "unknown")

"""PeerAuthentication: which ports demand mutual TLS (Istio, "PeerAuthentication"). The mesh's default is STRICT."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hauberk.mesh.registry import Configuration, Labels, Mesh

_log = logging.getLogger(__name__)


class Mode(Enum):
    """Mutual TLS only; plain text too; plain text only."""

    STRICT = "STRICT"
    PERMISSIVE = "PERMISSIVE"
    DISABLE = "DISABLE"


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """What holds for one workload."""

    mode: Mode = Mode.STRICT
    ports: tuple[tuple[int, Mode], ...] = ()

    def at(self, port: int) -> Mode:
        return dict(self.ports).get(port, self.mode)

    @property
    def always_strict(self) -> bool:
        """Whether nothing but mutual TLS may come in at any port."""
        return {self.mode, *dict(self.ports).values()} == {Mode.STRICT}


def select_peer_authentications(
    policies: Iterable[Configuration], namespace: str, labels: Labels, mesh: Mesh
) -> tuple[Configuration, ...]:
    """Those that apply to a workload: of the mesh, of its namespace, of itself; the oldest of each."""
    levels: dict[int, Configuration] = {}
    for policy in policies:
        selector = _selector(policy)
        if selector:
            if policy.namespace == namespace and selector.matches(labels):
                levels.setdefault(2, policy)
        elif policy.namespace == mesh.root_namespace:
            levels.setdefault(0, policy)
            if namespace == mesh.root_namespace:
                levels.setdefault(1, policy)
        elif policy.namespace == namespace:
            levels.setdefault(1, policy)
    return tuple(dict.fromkeys(levels[level] for level in sorted(levels)))


def merge_peer_authentications(policies: Iterable[Configuration]) -> PeerAuthentication:
    """The narrowest level that sets a mode decides; UNSET inherits. Ports are a workload's own matter."""
    mode = Mode.STRICT
    ports: dict[int, Mode] = {}
    for policy in policies:
        try:
            mode = _mode(policy.spec.get("mtls"), mode)
            if _selector(policy):
                told = policy.spec.get("portLevelMtls") or {}
                ports = {int(port): _mode(each, mode) for port, each in told.items()}
        except (ValueError, TypeError, AttributeError) as error:
            where = f"{policy.namespace}/{policy.name}"
            _log.error("mesh: PeerAuthentication %s cannot be read and means STRICT: %r", where, error)
            mode, ports = Mode.STRICT, {}
    return PeerAuthentication(mode, tuple(sorted(ports.items())))


def _selector(policy: Configuration) -> Labels:
    try:
        return Labels.of((policy.spec.get("selector") or {}).get("matchLabels"))
    except (TypeError, AttributeError, ValueError):
        return Labels()  # for all of the namespace, where it then means STRICT


def _mode(told: Any, inherited: Mode) -> Mode:
    name = (told or {}).get("mode") or "UNSET"
    return inherited if name == "UNSET" else Mode(name)

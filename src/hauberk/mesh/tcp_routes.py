"""Where a TCP connection goes: clusters with weights, for some TLS server names or for all, and how it is carried."""

from __future__ import annotations

from dataclasses import dataclass

from hauberk.mesh.clusters import outbound_name
from hauberk.mesh.destination_rules import TrafficPolicy
from hauberk.mesh.registry import Service, ServicePort


@dataclass(frozen=True, slots=True)
class TcpRoute:
    """`clusters` are names with weights; `server_names` the SNI that this route is for, empty for any."""

    clusters: tuple[tuple[str, int], ...]
    server_names: tuple[str, ...] = ()
    policy: TrafficPolicy | None = None
    """Of the first destination, for what holds of the whole connection: its times, its hash, a tunnel."""


def default_tcp_route(service: Service, port: ServicePort, policy: TrafficPolicy | None = None) -> TcpRoute:
    return TcpRoute(((outbound_name(service.host, port.number), 1),), policy=policy)

"""Who a stream belongs to: the pod whose proxy it is, as the control plane has verified it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from hauberk.mesh.registry import Labels, Workload


class MalformedNodeError(ValueError):
    """`node.id` is not of the form `KIND~IP~NAME.NAMESPACE~DOMAIN`."""


class ProxyKind(Enum):
    """A pod's own proxy, or a gateway that has no program behind it."""

    SIDECAR = "sidecar"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and its pod."""

    kind: ProxyKind
    namespace: str
    name: str
    address: str
    labels: Labels
    service_account: str

    @property
    def id(self) -> str:
        return f"{self.kind.value}~{self.address}~{self.name}.{self.namespace}~{self.namespace}.svc.cluster.local"

    @property
    def is_gateway(self) -> bool:
        return self.kind is ProxyKind.ROUTER


@dataclass(frozen=True, slots=True)
class NodeId:
    """What `node.id` says; to be believed only once the peer's certificate agrees."""

    kind: ProxyKind
    address: str
    name: str
    namespace: str


def parse_node_id(node_id: str) -> NodeId:
    """Parse `sidecar~10.66.0.7~web-7d9f.bank~bank.svc.cluster.local`.

    Raises:
        MalformedNodeError: it has another form.
    """
    parts = node_id.split("~")
    name, dot, namespace = parts[2].rpartition(".") if len(parts) == 4 else ("", "", "")
    if not dot or not name or parts[0] not in ("sidecar", "router"):
        raise MalformedNodeError(
            f"node.id: expected KIND~IP~NAME.NAMESPACE~DOMAIN with KIND sidecar or router, found {node_id!r}"
        )
    return NodeId(ProxyKind(parts[0]), parts[1], name, namespace)


def proxy_of(node: NodeId, workload: Workload) -> Proxy:
    """The proxy of a pod that the registry knows."""
    return Proxy(
        kind=ProxyKind.ROUTER if workload.gateway else ProxyKind.SIDECAR,
        namespace=workload.namespace,
        name=workload.name,
        address=workload.address or node.address,
        labels=workload.labels,
        service_account=workload.service_account,
    )


def proxy_from_metadata(node: Any) -> Proxy:
    """The proxy as its `core.v3.Node` describes itself: for use without authentication only.

    Raises:
        MalformedNodeError: `node.id` has no known form.
    """
    parsed = parse_node_id(node.id)
    fields = node.metadata.fields
    labels = {key: value.string_value for key, value in fields["LABELS"].struct_value.fields.items()}
    return Proxy(
        kind=parsed.kind,
        namespace=parsed.namespace,
        name=parsed.name,
        address=parsed.address,
        labels=Labels.of(labels),
        service_account=fields["SERVICE_ACCOUNT"].string_value or "default",
    )

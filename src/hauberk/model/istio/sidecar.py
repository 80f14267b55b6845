"""Istio's Sidecar: how much of the mesh a proxy sees."""

from typing import Annotated, Any, Literal

from hauberk.model.istio.destination import ConnectionPool, Count
from hauberk.model.istio.gateway import ServerTls
from hauberk.model.istio.selection import NetworkingSelector
from hauberk.model.istio.virtual_service import Destination
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import MeshStruct, doc

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]


class SidecarPort(MeshStruct, frozen=True):
    """A port of the proxy."""

    number: Count | None = None
    protocol: str | None = None
    name: str | None = None
    target_port: Count | None = None


class IngressListener(MeshStruct, frozen=True):
    """A port on which calls to the pod arrive."""

    port: SidecarPort
    bind: str | None = None
    capture_mode: CaptureMode | None = None
    default_endpoint: str | None = None
    tls: ServerTls | None = None
    connection_pool: ConnectionPool | None = None


class EgressListener(MeshStruct, frozen=True):
    """Services that the pod can call."""

    hosts: Annotated[tuple[str, ...], doc("`NAMESPACE/HOST`; `.` is its own namespace, `*` any, `~` none.")]
    port: SidecarPort | None = None
    bind: str | None = None
    capture_mode: CaptureMode | None = None


class OutboundTrafficPolicy(MeshStruct, frozen=True):
    """What becomes of calls to unknown places."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] | None = None
    egress_proxy: Destination | None = None


class SidecarSpec(MeshStruct, frozen=True):
    """Which pods, and what their proxies see."""

    workload_selector: Annotated[
        NetworkingSelector | None, doc("Pods; all of the namespace if left out.")
    ] = None
    ingress: tuple[IngressListener, ...] = ()
    egress: Annotated[tuple[EgressListener, ...], doc("Services that the pods can call.")] = ()
    inbound_connection_pool: ConnectionPool | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


class Sidecar(MeshStruct, frozen=True):
    """How much of the mesh the proxies of some pods see."""

    metadata: ObjectMeta = ObjectMeta()
    spec: SidecarSpec = SidecarSpec()
    status: dict[str, Any] | None = None

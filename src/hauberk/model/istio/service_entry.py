"""Istio's ServiceEntry and WorkloadEntry: services and workloads that Kubernetes does not know."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from hauberk.model.istio.destination import Count
from hauberk.model.istio.selection import NetworkingSelector
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import MeshStruct, doc


class ServicePort(MeshStruct, frozen=True):
    """A port of the service."""

    number: Count
    name: Annotated[str, Meta(max_length=256)]
    protocol: Annotated[str, Meta(max_length=256)] | None = None
    target_port: Count | None = None


class WorkloadEntrySpec(MeshStruct, frozen=True):
    """An endpoint that is no pod."""

    address: (
        Annotated[str, Meta(max_length=256), doc("An IP address, a host name or a Unix socket.")] | None
    ) = None
    ports: dict[str, Count] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    network: Annotated[str, Meta(max_length=2048)] | None = None
    locality: Annotated[str, Meta(max_length=2048)] | None = None
    weight: Count | None = None
    service_account: Annotated[str, Meta(max_length=253)] | None = None


class ServiceEntrySpec(MeshStruct, frozen=True):
    """Names, addresses and ports of a service."""

    hosts: Annotated[tuple[str, ...], doc("Names of the service.")]
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], doc("Its virtual addresses.")] = ()
    ports: Annotated[tuple[ServicePort, ...], doc("Its ports.")] = ()
    location: Annotated[
        Literal["MESH_EXTERNAL", "MESH_INTERNAL"] | None, doc("Whether its endpoints have a proxy.")
    ] = None
    resolution: Annotated[
        Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] | None,
        doc("How its endpoints are found."),
    ] = None
    endpoints: Annotated[tuple[WorkloadEntrySpec, ...], doc("Its endpoints.")] = ()
    workload_selector: Annotated[NetworkingSelector | None, doc("Pods and WorkloadEntries behind it.")] = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: Annotated[tuple[str, ...], doc("Identities that its endpoints may show.")] = ()


class ServiceEntry(MeshStruct, frozen=True):
    """A service that Kubernetes does not know, made known to the mesh."""

    spec: Annotated[ServiceEntrySpec, doc("Names, addresses and ports.")]
    metadata: ObjectMeta = ObjectMeta()
    status: dict[str, Any] | None = None


class WorkloadEntry(MeshStruct, frozen=True):
    """A workload that is no pod."""

    metadata: ObjectMeta = ObjectMeta()
    spec: WorkloadEntrySpec = WorkloadEntrySpec()
    status: dict[str, Any] | None = None

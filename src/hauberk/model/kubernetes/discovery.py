"""EndpointSlice: the addresses behind a service."""

from typing import Annotated, Literal

from msgspec import Meta, field

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.kubernetes.reference import ObjectReference
from hauberk.model.struct import ATOMIC, KubernetesStruct, doc


class EndpointConditions(KubernetesStruct, frozen=True):
    """Whether an endpoint takes calls."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForNode(KubernetesStruct, frozen=True):
    """A node that an endpoint is meant for."""

    name: str


class ForZone(KubernetesStruct, frozen=True):
    """A zone that an endpoint is meant for."""

    name: str


class EndpointHints(KubernetesStruct, frozen=True):
    """Who an endpoint is meant for."""

    for_nodes: tuple[ForNode, ...] = ()
    for_zones: tuple[ForZone, ...] = ()


class Endpoint(KubernetesStruct, frozen=True):
    """Addresses of one pod behind a service."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions | None = None
    deprecated_topology: dict[str, str] = field(default_factory=dict)
    hints: EndpointHints | None = None
    hostname: str | None = None
    node_name: str | None = None
    target_ref: ObjectReference | None = None
    zone: str | None = None


class EndpointPort(KubernetesStruct, frozen=True):
    """A port of the endpoints."""

    app_protocol: str | None = None
    name: str | None = None
    port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None


class EndpointSlice(KubernetesStruct, frozen=True):
    """Some of the addresses behind a service."""

    address_type: Literal["IPv4", "IPv6", "FQDN"]
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    endpoints: Annotated[tuple[Endpoint, ...], ATOMIC] = ()
    ports: Annotated[tuple[EndpointPort, ...], ATOMIC] = ()

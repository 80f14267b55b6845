"""The Gateway API's Gateway and GatewayClass."""

from typing import Annotated, Literal

from msgspec import Meta, field

from hauberk.model.gateway_api.reference import (
    DefaultScope,
    Group,
    Hostname,
    KindName,
    LocalReference,
    Name,
    ObjectReference,
    SecretReference,
)
from hauberk.model.kubernetes.meta import Condition, LabelSelector, ObjectMeta
from hauberk.model.struct import MeshStruct, Port, doc, merged_by


class GatewayClassSpec(MeshStruct, frozen=True):
    """Who runs gateways of the class."""

    controller_name: Name
    parameters_ref: ObjectReference | None = None
    description: Annotated[str, Meta(max_length=64)] | None = None


class SupportedFeature(MeshStruct, frozen=True):
    """A feature that the class supports."""

    name: str


class GatewayClassStatus(MeshStruct, frozen=True):
    """Whether the class is accepted."""

    conditions: Annotated[tuple[Condition, ...], merged_by("type")] = ()
    supported_features: tuple[SupportedFeature, ...] = ()


class GatewayClass(MeshStruct, frozen=True):
    """A kind of gateway, and who runs it."""

    spec: GatewayClassSpec
    metadata: ObjectMeta = ObjectMeta()
    status: GatewayClassStatus | None = None


class RouteKind(MeshStruct, frozen=True):
    """A kind of route."""

    kind: KindName
    group: Group | None = None


class RouteNamespaces(MeshStruct, frozen=True):
    """Namespaces whose routes may be attached."""

    from_: Literal["All", "Selector", "Same"] | None = field(name="from", default=None)
    selector: LabelSelector | None = None


class AllowedRoutes(MeshStruct, frozen=True):
    """Routes that may be attached to a listener."""

    namespaces: RouteNamespaces | None = None
    kinds: tuple[RouteKind, ...] = ()


class ListenerTls(MeshStruct, frozen=True):
    """TLS of a listener."""

    mode: Literal["Terminate", "Passthrough"] | None = None
    certificate_refs: tuple[SecretReference, ...] = ()
    options: dict[str, Annotated[str, Meta(max_length=4096)]] = field(default_factory=dict)


class Listener(MeshStruct, frozen=True):
    """A port of the gateway."""

    name: Name
    port: Port
    protocol: Annotated[str, Meta(min_length=1, max_length=255), doc("HTTP, HTTPS, TLS, TCP or UDP.")]
    hostname: Annotated[Hostname | None, doc("Hosts served; all if left out.")] = None
    tls: ListenerTls | None = None
    allowed_routes: Annotated[AllowedRoutes | None, doc("Routes of the same namespace if left out.")] = None


class GatewayAddress(MeshStruct, frozen=True):
    """An address of the gateway."""

    type: Annotated[str, Meta(min_length=1, max_length=253)] | None = None
    value: Annotated[str, Meta(max_length=253)] | None = None


class Infrastructure(MeshStruct, frozen=True):
    """Labels and annotations of what is made for the gateway."""

    labels: dict[str, Annotated[str, Meta(max_length=63)]] = field(default_factory=dict)
    annotations: dict[str, Annotated[str, Meta(max_length=4096)]] = field(default_factory=dict)
    parameters_ref: LocalReference | None = None


class ListenerNamespaces(MeshStruct, frozen=True):
    """Namespaces whose listeners may be attached."""

    from_: Literal["All", "Selector", "Same", "None"] | None = field(name="from", default=None)
    selector: LabelSelector | None = None


class AllowedListeners(MeshStruct, frozen=True):
    """Listeners that may be attached."""

    namespaces: ListenerNamespaces | None = None


class BackendTls(MeshStruct, frozen=True):
    """The gateway's certificate toward services."""

    client_certificate_ref: SecretReference | None = None


class FrontendValidation(MeshStruct, frozen=True):
    """How callers' certificates are checked."""

    ca_certificate_refs: Annotated[tuple[ObjectReference, ...], Meta(min_length=1)]
    mode: Literal["AllowValidOnly", "AllowInsecureFallback"] | None = None


class FrontendTls(MeshStruct, frozen=True):
    """TLS toward callers."""

    validation: FrontendValidation | None = None


class FrontendPortTls(MeshStruct, frozen=True):
    """TLS toward callers on one port."""

    port: Port
    tls: FrontendTls


class FrontendTlsByPort(MeshStruct, frozen=True):
    """TLS toward callers, for all ports and for single ones."""

    default: FrontendTls
    per_port: Annotated[tuple[FrontendPortTls, ...], merged_by("port")] = ()


class GatewayTls(MeshStruct, frozen=True):
    """TLS of the whole gateway."""

    backend: BackendTls | None = None
    frontend: FrontendTlsByPort | None = None


class GatewaySpec(MeshStruct, frozen=True):
    """Class and listeners of a gateway."""

    gateway_class_name: Name
    listeners: Annotated[tuple[Listener, ...], Meta(min_length=1, max_length=64), merged_by("name")]
    addresses: tuple[GatewayAddress, ...] = ()
    infrastructure: Infrastructure | None = None
    allowed_listeners: AllowedListeners | None = None
    tls: GatewayTls | None = None
    default_scope: DefaultScope | None = None


class ListenerStatus(MeshStruct, frozen=True):
    """What became of a listener."""

    name: Name
    attached_routes: int
    supported_kinds: tuple[RouteKind, ...] = ()
    conditions: Annotated[tuple[Condition, ...], merged_by("type")] = ()


class GatewayStatus(MeshStruct, frozen=True):
    """What became of a gateway."""

    addresses: tuple[GatewayAddress, ...] = ()
    conditions: Annotated[tuple[Condition, ...], merged_by("type")] = ()
    listeners: Annotated[tuple[ListenerStatus, ...], merged_by("name")] = ()
    attached_listener_sets: int | None = None


class Gateway(MeshStruct, frozen=True):
    """Ports on which calls from outside enter the mesh."""

    spec: Annotated[GatewaySpec, doc("Class and listeners.")]
    metadata: ObjectMeta = ObjectMeta()
    status: GatewayStatus | None = None

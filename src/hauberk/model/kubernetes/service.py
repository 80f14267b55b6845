"""Service: a name and an address for a set of pods."""

from typing import Annotated, Literal

from msgspec import Meta, field

from hauberk.model.kubernetes.meta import Condition, ObjectMeta
from hauberk.model.struct import IntOrString, KubernetesStruct, doc, merged_by


class ServicePort(KubernetesStruct, frozen=True):
    """A port of a service and the port of the pods behind it."""

    port: Annotated[Annotated[int, Meta(ge=1, le=65535)], doc("The port of the service.")]
    app_protocol: Annotated[str | None, doc("The protocol spoken: `http`, `grpc`, `tcp`, …")] = None
    name: Annotated[
        str | None, doc("The port's name; its beginning (`http`, `grpc`, `tcp`, …) tells the protocol.")
    ] = None
    node_port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    protocol: Annotated[Literal["TCP", "UDP", "SCTP"] | None, doc("TCP, UDP or SCTP.")] = None
    target_port: Annotated[IntOrString | None, doc("The port of the pods, by number or by name.")] = None


class ClientIPConfig(KubernetesStruct, frozen=True):
    """How long a client keeps its pod."""

    timeout_seconds: Annotated[int, Meta(ge=1, le=86_400)] | None = None


class SessionAffinityConfig(KubernetesStruct, frozen=True):
    """Settings of session affinity."""

    client_ip: ClientIPConfig | None = None


class ServiceSpec(KubernetesStruct, frozen=True):
    """Which pods a service stands for, and on which ports."""

    allocate_load_balancer_node_ports: bool | None = None
    cluster_ip: Annotated[str | None, doc("The service's address; `None` for a headless one.")] = None
    cluster_ips: Annotated[tuple[str, ...], doc("The service's addresses.")] = ()
    external_ips: tuple[str, ...] = ()
    external_name: Annotated[str | None, doc("A name that this one is an alias of.")] = None
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    health_check_node_port: int | None = None
    internal_traffic_policy: Literal["Cluster", "Local"] | None = None
    ip_families: tuple[Literal["IPv4", "IPv6"], ...] = ()
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None
    load_balancer_class: str | None = None
    load_balancer_ip: str | None = None
    load_balancer_source_ranges: tuple[str, ...] = ()
    ports: Annotated[
        tuple[ServicePort, ...], doc("Ports of the service."), merged_by("port", "protocol")
    ] = ()
    publish_not_ready_addresses: Annotated[bool | None, doc("Name pods that are not ready too.")] = None
    selector: Annotated[dict[str, str], doc("Labels of the pods behind the service.")] = field(
        default_factory=dict
    )
    session_affinity: Annotated[
        Literal["None", "ClientIP"] | None, doc("Whether a client keeps its pod.")
    ] = None
    session_affinity_config: SessionAffinityConfig | None = None
    traffic_distribution: str | None = None
    type: Annotated[
        Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] | None,
        doc("ClusterIP here; the others are accepted and mean the same."),
    ] = None


class PortStatus(KubernetesStruct, frozen=True):
    """The state of a load balancer's port."""

    port: int
    protocol: str
    error: str | None = None


class LoadBalancerIngress(KubernetesStruct, frozen=True):
    """An address of a load balancer."""

    hostname: str | None = None
    ip: str | None = None
    ip_mode: str | None = None
    ports: tuple[PortStatus, ...] = ()


class LoadBalancerStatus(KubernetesStruct, frozen=True):
    """Addresses of a load balancer."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(KubernetesStruct, frozen=True):
    """Addresses of a load balancer, if it has one."""

    conditions: Annotated[tuple[Condition, ...], merged_by("type")] = ()
    load_balancer: LoadBalancerStatus | None = None


class Service(KubernetesStruct, frozen=True):
    """A name and an address for a set of pods."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[ServiceSpec | None, doc("What is wanted.")] = None
    status: Annotated[
        ServiceStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None

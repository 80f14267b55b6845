"""Pod: containers that run together on a node."""

from typing import Annotated, Literal

from msgspec import Meta, field

from hauberk.model.kubernetes.container import (
    AppArmorProfile,
    Container,
    EphemeralContainer,
    ResourceRequirements,
    SeccompProfile,
    SELinuxOptions,
    WindowsSecurityContextOptions,
)
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.kubernetes.pod_status import PodStatus
from hauberk.model.kubernetes.reference import LocalObjectReference, ObjectReference
from hauberk.model.kubernetes.scheduling import Affinity, Toleration, TopologySpreadConstraint
from hauberk.model.kubernetes.volume import Volume
from hauberk.model.struct import ATOMIC, Count, KubernetesStruct, PositiveCount, Quantity, doc, merged_by


class PodDNSConfigOption(KubernetesStruct, frozen=True):
    """An option of the resolver."""

    name: str | None = None
    value: str | None = None


class PodDNSConfig(KubernetesStruct, frozen=True):
    """Resolver settings added to those of the policy."""

    nameservers: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()
    searches: tuple[str, ...] = ()


class EvictionResponder(KubernetesStruct, frozen=True):
    """Who answers a request to evict the pod."""

    name: str
    priority: int


class HostAlias(KubernetesStruct, frozen=True):
    """A line of the pod's hosts file."""

    ip: str
    hostnames: tuple[str, ...] = ()


class PodOS(KubernetesStruct, frozen=True):
    """The operating system that a pod needs."""

    name: Literal["linux", "windows"]


class PodReadinessGate(KubernetesStruct, frozen=True):
    """A condition that must be true before the pod is ready."""

    condition_type: str


class PodResourceClaim(KubernetesStruct, frozen=True):
    """A resource claim that the pod brings."""

    name: str
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class PodSchedulingGate(KubernetesStruct, frozen=True):
    """Something that must go before the pod is scheduled."""

    name: str


class PodSchedulingGroup(KubernetesStruct, frozen=True):
    """The group that the pod is scheduled with."""

    pod_group_name: str | None = None


class Sysctl(KubernetesStruct, frozen=True):
    """A kernel parameter of the pod."""

    name: str
    value: str


class PodSecurityContext(KubernetesStruct, frozen=True):
    """Which user and groups the pod's containers run with."""

    app_armor_profile: AppArmorProfile | None = None
    fs_group: Annotated[Count | None, doc("Group that owns the volumes.")] = None
    fs_group_change_policy: Literal["OnRootMismatch", "Always"] | None = None
    run_as_group: Annotated[Count | None, doc("Group ID of the containers.")] = None
    run_as_non_root: Annotated[bool | None, doc("Refuse to start as root.")] = None
    run_as_user: Annotated[Count | None, doc("User ID of the containers.")] = None
    se_linux_change_policy: str | None = None
    se_linux_options: SELinuxOptions | None = None
    seccomp_profile: SeccompProfile | None = None
    supplemental_groups: Annotated[tuple[Count, ...], doc("Further groups.")] = ()
    supplemental_groups_policy: Literal["Merge", "Strict"] | None = None
    sysctls: tuple[Sysctl, ...] = ()
    windows_options: WindowsSecurityContextOptions | None = None


class PodSpec(KubernetesStruct, frozen=True):
    """What runs in a pod, and how."""

    containers: Annotated[
        Annotated[tuple[Container, ...], Meta(min_length=1)],
        doc("The programs; at least one."),
        merged_by("name"),
    ]
    active_deadline_seconds: Annotated[
        PositiveCount | None, doc("Seconds after which the pod is stopped and has failed.")
    ] = None
    affinity: Annotated[Affinity | None, doc("Rules about where the pod goes.")] = None
    automount_service_account_token: Annotated[
        bool | None, doc("Whether a token of the service account is mounted.")
    ] = None
    dns_config: Annotated[PodDNSConfig | None, doc("Resolver settings added to those of the policy.")] = None
    dns_policy: Annotated[
        Literal["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] | None,
        doc("How names are resolved."),
    ] = None
    enable_service_links: Annotated[
        bool | None, doc("Whether services are told by environment variables.")
    ] = None
    ephemeral_containers: Annotated[
        tuple[EphemeralContainer, ...], doc("Containers added to look into a running pod."), merged_by("name")
    ] = ()
    eviction_responders: tuple[EvictionResponder, ...] = ()
    host_aliases: Annotated[
        tuple[HostAlias, ...], doc("Lines added to the hosts file."), merged_by("ip")
    ] = ()
    host_ipc: Annotated[bool | None, doc("Share the node's IPC. Not supported here.")] = None
    host_network: Annotated[
        bool | None, doc("Share the node's network. Not supported here: every pod has a network of its own.")
    ] = None
    host_pid: Annotated[bool | None, doc("Share the node's processes. Not supported here.")] = None
    host_users: Annotated[
        bool | None, doc("Share the node's user namespace; pods here always have one of their own.")
    ] = None
    hostname: Annotated[str | None, doc("The pod's host name.")] = None
    hostname_override: str | None = None
    image_pull_secrets: Annotated[
        tuple[LocalObjectReference, ...], doc("Secrets for the image registry."), merged_by("name")
    ] = ()
    init_containers: Annotated[
        tuple[Container, ...],
        doc("Programs that run to their end, one after another, before the others start."),
        merged_by("name"),
    ] = ()
    node_name: Annotated[str | None, doc("The node that the pod runs on; the scheduler sets it.")] = None
    node_selector: Annotated[dict[str, str], doc("Labels that the node must have.")] = field(
        default_factory=dict
    )
    os: PodOS | None = None
    overhead: Annotated[dict[str, Quantity], doc("Resources of the runtime itself.")] = field(
        default_factory=dict
    )
    preemption_policy: Literal["PreemptLowerPriority", "Never"] | None = None
    priority: Annotated[int | None, doc("Importance as a number.")] = None
    priority_class_name: Annotated[str | None, doc("Importance by name.")] = None
    readiness_gates: Annotated[
        tuple[PodReadinessGate, ...], doc("Further conditions for being ready."), ATOMIC
    ] = ()
    resource_claims: Annotated[tuple[PodResourceClaim, ...], merged_by("name", retain_keys=True)] = ()
    resources: ResourceRequirements | None = None
    restart_policy: Annotated[
        Literal["Always", "OnFailure", "Never"] | None,
        doc("When ended containers are started again: Always, OnFailure or Never."),
    ] = None
    runtime_class_name: Annotated[str | None, doc("Which runtime runs the pod.")] = None
    scheduler_name: Annotated[str | None, doc("Which scheduler places the pod.")] = None
    scheduling_gates: Annotated[tuple[PodSchedulingGate, ...], merged_by("name")] = ()
    scheduling_group: PodSchedulingGroup | None = None
    security_context: Annotated[PodSecurityContext | None, doc("User and groups of the containers.")] = None
    service_account: Annotated[str | None, doc("Old name of serviceAccountName.")] = None
    service_account_name: Annotated[
        str | None, doc("The identity that the pod runs as; `default` if empty.")
    ] = None
    set_hostname_as_fqdn: bool | None = None
    share_process_namespace: Annotated[
        bool | None, doc("Let the containers see one another's processes.")
    ] = None
    subdomain: Annotated[str | None, doc("With hostname, the pod's name below its namespace.")] = None
    termination_grace_period_seconds: Annotated[
        Count | None, doc("Seconds between the request to stop and the kill.")
    ] = None
    tolerations: Annotated[tuple[Toleration, ...], doc("Taints that the pod bears."), ATOMIC] = ()
    topology_spread_constraints: Annotated[
        tuple[TopologySpreadConstraint, ...],
        doc("How evenly the pods spread."),
        merged_by("topologyKey", "whenUnsatisfiable"),
    ] = ()
    volumes: Annotated[
        tuple[Volume, ...],
        doc("Directories that the containers can mount."),
        merged_by("name", retain_keys=True),
    ] = ()


class Pod(KubernetesStruct, frozen=True):
    """Containers that run together on a node, with one address and one identity."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[PodSpec | None, doc("What is wanted.")] = None
    status: Annotated[PodStatus | None, doc("What is observed; the API and its controllers write it.")] = None


class Binding(KubernetesStruct, frozen=True):
    """Puts a pod on a node."""

    target: ObjectReference
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()


class PodTemplateSpec(KubernetesStruct, frozen=True):
    """The pod that a controller makes."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[PodSpec | None, doc("What is wanted.")] = None

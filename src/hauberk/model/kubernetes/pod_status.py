"""What the node reports of a pod."""

from typing import Annotated, Literal

from msgspec import field

from hauberk.model.kubernetes.container import ResourceRequirements
from hauberk.model.kubernetes.volume_claim import VolumeHealthCondition
from hauberk.model.struct import ATOMIC, KubernetesStruct, Quantity, Time, doc, merged_by


class PodCondition(KubernetesStruct, frozen=True):
    """One observed fact of a pod."""

    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    type: str
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    observed_generation: int | None = None
    reason: str | None = None


class ResourceHealth(KubernetesStruct, frozen=True):
    resource_id: str
    health: str | None = None
    message: str | None = None


class ResourceStatus(KubernetesStruct, frozen=True):
    name: str
    resources: tuple[ResourceHealth, ...] = ()


class ContainerStateRunning(KubernetesStruct, frozen=True):
    """Since when a container runs."""

    started_at: Time | None = None


class ContainerStateTerminated(KubernetesStruct, frozen=True):
    """How a container ended."""

    exit_code: int
    container_id: str | None = None
    finished_at: Time | None = None
    message: str | None = None
    reason: str | None = None
    signal: int | None = None
    started_at: Time | None = None


class ContainerStateWaiting(KubernetesStruct, frozen=True):
    """Why a container does not run yet."""

    message: str | None = None
    reason: str | None = None


class ContainerState(KubernetesStruct, frozen=True):
    """Waiting, running or terminated."""

    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None
    waiting: ContainerStateWaiting | None = None


class LinuxContainerUser(KubernetesStruct, frozen=True):
    gid: int
    uid: int
    supplemental_groups: tuple[int, ...] = ()


class ContainerUser(KubernetesStruct, frozen=True):
    linux: LinuxContainerUser | None = None


class ImageVolumeStatus(KubernetesStruct, frozen=True):
    image_ref: str


class VolumeStatus(KubernetesStruct, frozen=True):
    image: ImageVolumeStatus | None = None


class VolumeMountStatus(KubernetesStruct, frozen=True):
    mount_path: str
    name: str
    read_only: bool | None = None
    recursive_read_only: str | None = None
    volume_status: VolumeStatus | None = None


class ContainerStatus(KubernetesStruct, frozen=True):
    """What the node reports of a container."""

    image: str
    image_id: str
    name: str
    ready: bool
    restart_count: int
    allocated_resources: dict[str, Quantity] = field(default_factory=dict)
    allocated_resources_status: tuple[ResourceStatus, ...] = ()
    container_id: str | None = None
    last_state: ContainerState | None = None
    resources: ResourceRequirements | None = None
    started: bool | None = None
    state: ContainerState | None = None
    stop_signal: str | None = None
    user: ContainerUser | None = None
    volume_mounts: tuple[VolumeMountStatus, ...] = ()


class ContainerExtendedResourceRequest(KubernetesStruct, frozen=True):
    container_name: str
    request_name: str
    resource_name: str


class PodExtendedResourceClaimStatus(KubernetesStruct, frozen=True):
    request_mappings: tuple[ContainerExtendedResourceRequest, ...]
    resource_claim_name: str


class HostIP(KubernetesStruct, frozen=True):
    """An address of the pod's node."""

    ip: str


class NodeAllocatableMappedResources(KubernetesStruct, frozen=True):
    name: str
    quantity: Quantity


class NodeAllocatableOverheadResources(KubernetesStruct, frozen=True):
    name: str
    per_container: Quantity | None = None
    per_pod: Quantity | None = None


class NodeAllocatableResourceClaimStatus(KubernetesStruct, frozen=True):
    resource_claim_name: str
    containers: tuple[str, ...] = ()
    mapping: tuple[NodeAllocatableMappedResources, ...] = ()
    overhead: tuple[NodeAllocatableOverheadResources, ...] = ()


class PodIP(KubernetesStruct, frozen=True):
    """An address of a pod."""

    ip: str


class PodResourceClaimStatus(KubernetesStruct, frozen=True):
    name: str
    resource_claim_name: str | None = None


class PodVolumeHealth(KubernetesStruct, frozen=True):
    name: str
    health_conditions: tuple[VolumeHealthCondition, ...] = ()
    last_transition_time: Time | None = None


class PodStatus(KubernetesStruct, frozen=True):
    """What the node reports of a pod."""

    allocated_resources: dict[str, Quantity] = field(default_factory=dict)
    conditions: Annotated[tuple[PodCondition, ...], doc("Observed facts."), merged_by("type")] = ()
    container_statuses: Annotated[tuple[ContainerStatus, ...], doc("State of each container."), ATOMIC] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    extended_resource_claim_status: PodExtendedResourceClaimStatus | None = None
    host_ip: Annotated[str | None, doc("The node's address.")] = None
    host_ips: Annotated[tuple[HostIP, ...], merged_by("ip")] = ()
    init_container_statuses: Annotated[
        tuple[ContainerStatus, ...], doc("State of each init container."), ATOMIC
    ] = ()
    message: Annotated[str | None, doc("Why, in a sentence.")] = None
    node_allocatable_resource_claim_statuses: tuple[NodeAllocatableResourceClaimStatus, ...] = ()
    nominated_node_name: str | None = None
    observed_generation: int | None = None
    phase: Annotated[
        Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"] | None,
        doc("Pending, Running, Succeeded, Failed or Unknown."),
    ] = None
    pod_ip: Annotated[str | None, doc("The pod's address.")] = None
    pod_ips: Annotated[tuple[PodIP, ...], doc("All addresses."), merged_by("ip")] = ()
    qos_class: str | None = None
    reason: Annotated[str | None, doc("Why, in a word.")] = None
    resize: str | None = None
    resource_claim_statuses: Annotated[
        tuple[PodResourceClaimStatus, ...], merged_by("name", retain_keys=True)
    ] = ()
    resources: ResourceRequirements | None = None
    start_time: Annotated[Time | None, doc("When the node took the pod.")] = None
    volume_health: tuple[PodVolumeHealth, ...] = ()

"""Node: a machine that runs pods."""

from typing import Annotated, Literal

from msgspec import field

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import ATOMIC, SET, KubernetesStruct, Quantity, Time, doc, merged_by


class ConfigMapNodeConfigSource(KubernetesStruct, frozen=True):
    kubelet_config_key: str
    name: str
    namespace: str
    resource_version: str | None = None
    uid: str | None = None


class NodeConfigSource(KubernetesStruct, frozen=True):
    config_map: ConfigMapNodeConfigSource | None = None


class NodePodPreemptionPolicy(KubernetesStruct, frozen=True):
    disable_resize_preemption: tuple[str, ...] = ()


class Taint(KubernetesStruct, frozen=True):
    """Repels pods that do not tolerate it."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    key: str
    time_added: Time | None = None
    value: str | None = None


class NodeSpec(KubernetesStruct, frozen=True):
    """What a node is told: whether it takes pods, and which it repels."""

    config_source: NodeConfigSource | None = None
    external_id: str | None = None
    pod_cidr: str | None = None
    pod_cidrs: Annotated[tuple[str, ...], SET] = ()
    pod_preemption_policy: NodePodPreemptionPolicy | None = None
    provider_id: str | None = None
    taints: Annotated[tuple[Taint, ...], ATOMIC] = ()
    unschedulable: bool | None = None


class NodeAddress(KubernetesStruct, frozen=True):
    """One address of a node."""

    address: str
    type: str


class NodeCondition(KubernetesStruct, frozen=True):
    """One observed fact of a node."""

    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    type: str
    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None


class NodeConfigStatus(KubernetesStruct, frozen=True):
    active: NodeConfigSource | None = None
    assigned: NodeConfigSource | None = None
    error: str | None = None
    last_known_good: NodeConfigSource | None = None


class DaemonEndpoint(KubernetesStruct, frozen=True):
    """A port that a daemon listens on."""

    port: int = field(name="Port")


class NodeDaemonEndpoints(KubernetesStruct, frozen=True):
    """Where the node agent listens."""

    kubelet_endpoint: DaemonEndpoint | None = None


class NodeFeatures(KubernetesStruct, frozen=True):
    supplemental_groups_policy: bool | None = None


class ContainerImage(KubernetesStruct, frozen=True):
    """An image that the node has."""

    names: tuple[str, ...] = ()
    size_bytes: int | None = None


class NodeSwapStatus(KubernetesStruct, frozen=True):
    capacity: int | None = None


class NodeSystemInfo(KubernetesStruct, frozen=True):
    """Versions and identifiers of a node."""

    architecture: str
    boot_id: str
    container_runtime_version: str
    kernel_version: str
    kube_proxy_version: str
    kubelet_version: str
    machine_id: str
    operating_system: str
    os_image: str
    system_uuid: str
    running_in_user_namespace: bool | None = None
    swap: NodeSwapStatus | None = None


class NodeRuntimeHandlerFeatures(KubernetesStruct, frozen=True):
    recursive_read_only_mounts: bool | None = None
    user_namespaces: bool | None = None


class NodeRuntimeHandler(KubernetesStruct, frozen=True):
    features: NodeRuntimeHandlerFeatures | None = None
    name: str | None = None


class AttachedVolume(KubernetesStruct, frozen=True):
    device_path: str
    name: str


class NodeStatus(KubernetesStruct, frozen=True):
    """What a node reports: addresses, capacity, health."""

    addresses: Annotated[tuple[NodeAddress, ...], merged_by("type")] = ()
    allocatable: dict[str, Quantity] = field(default_factory=dict)
    capacity: dict[str, Quantity] = field(default_factory=dict)
    conditions: Annotated[tuple[NodeCondition, ...], merged_by("type")] = ()
    config: NodeConfigStatus | None = None
    daemon_endpoints: NodeDaemonEndpoints | None = None
    declared_features: tuple[str, ...] = ()
    features: NodeFeatures | None = None
    images: tuple[ContainerImage, ...] = ()
    node_info: NodeSystemInfo | None = None
    phase: str | None = None
    runtime_handlers: tuple[NodeRuntimeHandler, ...] = ()
    volumes_attached: tuple[AttachedVolume, ...] = ()
    volumes_in_use: tuple[str, ...] = ()


class Node(KubernetesStruct, frozen=True):
    """A machine that runs pods."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[NodeSpec | None, doc("What is wanted.")] = None
    status: Annotated[NodeStatus | None, doc("What is observed; the API and its controllers write it.")] = (
        None
    )

"""Deployment, ReplicaSet, StatefulSet and their revisions."""

from typing import Annotated, Any, Literal

from hauberk.model.kubernetes.meta import LabelSelector, ObjectMeta
from hauberk.model.kubernetes.pod import PodTemplateSpec
from hauberk.model.kubernetes.volume_claim import PersistentVolumeClaim
from hauberk.model.struct import (
    ATOMIC,
    RETAIN_KEYS,
    Count,
    IntOrString,
    KubernetesStruct,
    PositiveCount,
    Time,
    doc,
    merged_by,
)


class RollingUpdateDeployment(KubernetesStruct, frozen=True):
    """How many pods may be missing or extra during an update."""

    max_surge: Annotated[
        IntOrString | None, doc("Extra pods during an update, as a number or a percentage.")
    ] = None
    max_unavailable: Annotated[
        IntOrString | None, doc("Pods that may be missing during an update, as a number or a percentage.")
    ] = None


class DeploymentStrategy(KubernetesStruct, frozen=True):
    """How old pods give way to new ones."""

    rolling_update: RollingUpdateDeployment | None = None
    type: Literal["RollingUpdate", "Recreate"] | None = None


class DeploymentSpec(KubernetesStruct, frozen=True):
    """How many pods of which template, and how they are replaced."""

    selector: Annotated[LabelSelector, doc("Which pods belong to the deployment; cannot be changed.")]
    template: Annotated[PodTemplateSpec, doc("The pod to make.")]
    min_ready_seconds: Annotated[Count | None, doc("Seconds that a pod must be ready to count.")] = None
    paused: Annotated[bool | None, doc("Stop rolling out.")] = None
    progress_deadline_seconds: Annotated[
        PositiveCount | None, doc("Seconds without progress after which the rollout has failed.")
    ] = None
    replicas: Annotated[Count | None, doc("How many pods.")] = None
    revision_history_limit: Annotated[Count | None, doc("How many old replica sets are kept.")] = None
    strategy: Annotated[DeploymentStrategy | None, doc("How old pods give way to new ones."), RETAIN_KEYS] = (
        None
    )


class DeploymentCondition(KubernetesStruct, frozen=True):
    """One observed fact of a deployment."""

    last_transition_time: Time | None = None
    last_update_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str | None, doc("What is observed; the API and its controllers write it.")] = None
    type: str | None = None


class DeploymentStatus(KubernetesStruct, frozen=True):
    """How many pods of a deployment are there, new and ready."""

    available_replicas: int | None = None
    collision_count: int | None = None
    conditions: Annotated[tuple[DeploymentCondition, ...], merged_by("type")] = ()
    observed_generation: int | None = None
    ready_replicas: int | None = None
    replicas: int | None = None
    terminating_replicas: int | None = None
    unavailable_replicas: int | None = None
    updated_replicas: int | None = None


class Deployment(KubernetesStruct, frozen=True):
    """Keeps a number of like pods running and replaces them step by step when the template changes."""

    spec: Annotated[DeploymentSpec, doc("What is wanted.")]
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    status: Annotated[
        DeploymentStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None


class ReplicaSetSpec(KubernetesStruct, frozen=True):
    """How many pods of which template."""

    selector: Annotated[LabelSelector, doc("Which pods belong to the set; cannot be changed.")]
    min_ready_seconds: Count | None = None
    replicas: Annotated[Count | None, doc("How many pods.")] = None
    template: Annotated[PodTemplateSpec | None, doc("The pod to make.")] = None


class ReplicaSetCondition(KubernetesStruct, frozen=True):
    """One observed fact of a replica set."""

    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str | None, doc("What is observed; the API and its controllers write it.")] = None
    type: str | None = None


class ReplicaSetStatus(KubernetesStruct, frozen=True):
    """How many pods of a replica set are there and ready."""

    replicas: int
    available_replicas: int | None = None
    conditions: Annotated[tuple[ReplicaSetCondition, ...], merged_by("type")] = ()
    fully_labeled_replicas: int | None = None
    observed_generation: int | None = None
    ready_replicas: int | None = None
    terminating_replicas: int | None = None


class ReplicaSet(KubernetesStruct, frozen=True):
    """Keeps a number of like pods running."""

    spec: Annotated[ReplicaSetSpec, doc("What is wanted.")]
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    status: Annotated[
        ReplicaSetStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None


class StatefulSetOrdinals(KubernetesStruct, frozen=True):
    """The number of the first pod."""

    start: Count | None = None


class StatefulSetPersistentVolumeClaimRetentionPolicy(KubernetesStruct, frozen=True):
    """What becomes of the claims."""

    when_deleted: Literal["Retain", "Delete"] | None = None
    when_scaled: Literal["Retain", "Delete"] | None = None


class RollingUpdateStatefulSetStrategy(KubernetesStruct, frozen=True):
    """Which pods an update reaches, and how many at once."""

    max_unavailable: IntOrString | None = None
    partition: Count | None = None


class StatefulSetUpdateStrategy(KubernetesStruct, frozen=True):
    """How pods are replaced when the template changes."""

    rolling_update: RollingUpdateStatefulSetStrategy | None = None
    type: Literal["RollingUpdate", "OnDelete"] | None = None


class StatefulSetSpec(KubernetesStruct, frozen=True):
    """How many pods of which template, with which claims."""

    selector: Annotated[LabelSelector, doc("Which pods belong to the set; cannot be changed.")]
    template: Annotated[PodTemplateSpec, doc("The pod to make.")]
    min_ready_seconds: Count | None = None
    ordinals: StatefulSetOrdinals | None = None
    persistent_volume_claim_retention_policy: StatefulSetPersistentVolumeClaimRetentionPolicy | None = None
    pod_management_policy: Annotated[
        Literal["OrderedReady", "Parallel"] | None, doc("One after another, or all at once.")
    ] = None
    replicas: Annotated[Count | None, doc("How many pods.")] = None
    revision_history_limit: Count | None = None
    service_name: Annotated[str | None, doc("The headless service that names the pods.")] = None
    update_strategy: Annotated[StatefulSetUpdateStrategy | None, doc("How pods are replaced.")] = None
    volume_claim_templates: Annotated[
        tuple[PersistentVolumeClaim, ...], doc("Claims that each pod gets."), ATOMIC
    ] = ()


class StatefulSetCondition(KubernetesStruct, frozen=True):
    """One observed fact of a stateful set."""

    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str | None, doc("What is observed; the API and its controllers write it.")] = None
    type: str | None = None


class StatefulSetStatus(KubernetesStruct, frozen=True):
    """How many pods of a stateful set are there, new and ready."""

    replicas: int
    available_replicas: int | None = None
    collision_count: int | None = None
    conditions: Annotated[tuple[StatefulSetCondition, ...], merged_by("type")] = ()
    current_replicas: int | None = None
    current_revision: str | None = None
    observed_generation: int | None = None
    ready_replicas: int | None = None
    update_revision: str | None = None
    updated_replicas: int | None = None


class StatefulSet(KubernetesStruct, frozen=True):
    """Pods with stable names and storage of their own, made and replaced in order."""

    spec: Annotated[StatefulSetSpec, doc("What is wanted.")]
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    status: Annotated[
        StatefulSetStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None


class ControllerRevision(KubernetesStruct, frozen=True):
    """A past state of a controller's template."""

    data: dict[str, Any]
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    revision: int | None = None

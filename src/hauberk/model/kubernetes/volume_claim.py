"""PersistentVolumeClaim: a pod's wish for storage."""

from typing import Annotated, Literal

from msgspec import field

from hauberk.model.kubernetes.meta import LabelSelector, ObjectMeta
from hauberk.model.kubernetes.reference import TypedLocalObjectReference, TypedObjectReference
from hauberk.model.struct import KubernetesStruct, Quantity, Time, doc, merged_by


class VolumeResourceRequirements(KubernetesStruct, frozen=True):
    """Least and most size of a volume."""

    limits: dict[str, Quantity] = field(default_factory=dict)
    requests: dict[str, Quantity] = field(default_factory=dict)


class PersistentVolumeClaimSpec(KubernetesStruct, frozen=True):
    """How much storage, and which kind of access."""

    access_modes: Annotated[
        tuple[Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"], ...],
        doc("How the volume may be mounted."),
    ] = ()
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: Annotated[VolumeResourceRequirements | None, doc("How much storage.")] = None
    selector: LabelSelector | None = None
    storage_class_name: Annotated[str | None, doc("The class of storage.")] = None
    volume_attributes_class_name: str | None = None
    volume_mode: Literal["Filesystem", "Block"] | None = None
    volume_name: Annotated[str | None, doc("The volume bound to the claim.")] = None


class PersistentVolumeClaimTemplate(KubernetesStruct, frozen=True):
    """The claim that a pod's ephemeral volume makes."""

    spec: Annotated[PersistentVolumeClaimSpec, doc("What is wanted.")]
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()


class VolumeHealthCondition(KubernetesStruct, frozen=True):
    reason: str
    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    message: str | None = None


class PersistentVolumeClaimCondition(KubernetesStruct, frozen=True):
    """One observed fact of a claim."""

    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    type: str
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None


class VolumeHealthStatus(KubernetesStruct, frozen=True):
    health_conditions: tuple[VolumeHealthCondition, ...] = ()
    last_transition_time: Time | None = None


class ModifyVolumeStatus(KubernetesStruct, frozen=True):
    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    target_volume_attributes_class_name: str | None = None


class PersistentVolumeClaimStatus(KubernetesStruct, frozen=True):
    """Whether the claim is bound, and to how much."""

    access_modes: tuple[str, ...] = ()
    allocated_resource_statuses: dict[str, str] = field(default_factory=dict)
    allocated_resources: dict[str, Quantity] = field(default_factory=dict)
    capacity: dict[str, Quantity] = field(default_factory=dict)
    conditions: Annotated[tuple[PersistentVolumeClaimCondition, ...], merged_by("type")] = ()
    current_volume_attributes_class_name: str | None = None
    health_status: VolumeHealthStatus | None = None
    modify_volume_status: ModifyVolumeStatus | None = None
    phase: Literal["Pending", "Bound", "Lost"] | None = None


class PersistentVolumeClaim(KubernetesStruct, frozen=True):
    """A wish for storage, and the volume that answers it."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[PersistentVolumeClaimSpec | None, doc("What is wanted.")] = None
    status: Annotated[
        PersistentVolumeClaimStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None
    # Written in the claim templates of a StatefulSet, where a claim stands inside another object.
    api_version: str | None = None
    kind: str | None = None

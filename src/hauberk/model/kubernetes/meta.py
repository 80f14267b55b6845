"""What all objects share: metadata, label selectors, conditions."""

from typing import Annotated, Any, Literal

from msgspec import field

from hauberk.model.struct import ATOMIC, SET, KubernetesStruct, Time, doc, merged_by


class ManagedFieldsEntry(KubernetesStruct, frozen=True):
    """Which fields a client of server-side apply owns."""

    api_version: str | None = None
    fields_type: str | None = None
    fields_v1: dict[str, Any] = field(default_factory=dict)
    manager: str | None = None
    operation: str | None = None
    subresource: str | None = None
    time: Time | None = None


class OwnerReference(KubernetesStruct, frozen=True):
    """The object that this one is deleted with."""

    api_version: str
    kind: str
    name: str
    uid: str
    block_owner_deletion: bool | None = None
    controller: bool | None = None


class ObjectMeta(KubernetesStruct, frozen=True):
    """An object's name, labels and the API's own bookkeeping."""

    annotations: Annotated[dict[str, str], doc("Keys and values for tools and people.")] = field(
        default_factory=dict
    )
    creation_timestamp: Annotated[Time | None, doc("When the object was made.")] = None
    deletion_grace_period_seconds: Annotated[
        int | None, doc("Seconds between the request to delete and the end.")
    ] = None
    deletion_timestamp: Annotated[
        Time | None, doc("When deletion was asked for; the object goes when no finalizer is left.")
    ] = None
    finalizers: Annotated[
        tuple[str, ...], doc("Names that must be removed before the object goes."), SET
    ] = ()
    generate_name: Annotated[
        str | None, doc("A prefix to which the API adds five random characters if there is no name.")
    ] = None
    generation: Annotated[int | None, doc("Counts the changes of the spec.")] = None
    labels: Annotated[dict[str, str], doc("Keys and values to select objects by.")] = field(
        default_factory=dict
    )
    managed_fields: Annotated[
        tuple[ManagedFieldsEntry, ...], doc("Ownership of fields under server-side apply."), ATOMIC
    ] = ()
    name: Annotated[str | None, doc("Unique in its namespace and kind.")] = None
    namespace: Annotated[str | None, doc("The namespace; empty for kinds that have none.")] = None
    owner_references: Annotated[
        tuple[OwnerReference, ...], doc("Objects that this one is deleted with."), merged_by("uid")
    ] = ()
    resource_version: Annotated[
        str | None, doc("Changes with each write; give it back to write only what you have seen.")
    ] = None
    self_link: Annotated[str | None, doc("No longer filled.")] = None
    uid: Annotated[str | None, doc("Unique for all time; the API sets it.")] = None


class LabelSelectorRequirement(KubernetesStruct, frozen=True):
    """A label that must have, or must not have, certain values."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LabelSelector(KubernetesStruct, frozen=True):
    """Chooses objects by their labels; every requirement must hold."""

    match_expressions: Annotated[tuple[LabelSelectorRequirement, ...], doc("Requirements on labels.")] = ()
    match_labels: Annotated[dict[str, str], doc("Labels that must have exactly these values.")] = field(
        default_factory=dict
    )


class Condition(KubernetesStruct, frozen=True):
    """One observed fact of an object: true, false or unknown."""

    last_transition_time: Time
    message: str
    reason: str
    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    type: str
    observed_generation: int | None = None

"""Namespace: a room for names."""

from typing import Annotated, Literal

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import KubernetesStruct, Time, doc, merged_by


class NamespaceSpec(KubernetesStruct, frozen=True):
    """What keeps a namespace from being removed."""

    finalizers: tuple[str, ...] = ()


class NamespaceCondition(KubernetesStruct, frozen=True):
    """One observed fact of a namespace."""

    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    type: str
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None


class NamespaceStatus(KubernetesStruct, frozen=True):
    """Whether a namespace is in use or being emptied."""

    conditions: Annotated[tuple[NamespaceCondition, ...], merged_by("type")] = ()
    phase: Literal["Active", "Terminating"] | None = None


class Namespace(KubernetesStruct, frozen=True):
    """A room for names: objects in different namespaces may have the same name."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[NamespaceSpec | None, doc("What is wanted.")] = None
    status: Annotated[
        NamespaceStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None

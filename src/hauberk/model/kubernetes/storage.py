"""StorageClass: how volumes are made."""

from typing import Annotated, Literal

from msgspec import field

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import KubernetesStruct, doc


class TopologySelectorLabelRequirement(KubernetesStruct, frozen=True):
    """A label and its allowed values."""

    key: str
    values: tuple[str, ...]


class TopologySelectorTerm(KubernetesStruct, frozen=True):
    """Where volumes may be made."""

    match_label_expressions: tuple[TopologySelectorLabelRequirement, ...] = ()


class StorageClass(KubernetesStruct, frozen=True):
    """How volumes of this class are made."""

    provisioner: str
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    allow_volume_expansion: bool | None = None
    allowed_topologies: tuple[TopologySelectorTerm, ...] = ()
    mount_options: tuple[str, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    reclaim_policy: Literal["Retain", "Delete"] | None = None
    volume_binding_mode: Literal["Immediate", "WaitForFirstConsumer"] | None = None

"""Which workloads a policy of Istio's applies to."""

from typing import Annotated

from msgspec import Meta, field

from hauberk.model.struct import MeshStruct, doc


class WorkloadSelector(MeshStruct, frozen=True):
    """Chooses pods of the policy's namespace by their labels."""

    match_labels: Annotated[dict[str, str], doc("Labels that a pod must have.")] = field(default_factory=dict)


class NetworkingSelector(MeshStruct, frozen=True):
    """Chooses pods by their labels, as `networking.istio.io` writes it."""

    labels: Annotated[dict[str, str], doc("Labels that a pod must have.")] = field(default_factory=dict)


class PolicyTargetReference(MeshStruct, frozen=True):
    """The gateway or service that a policy is attached to."""

    kind: Annotated[str, Meta(min_length=1, max_length=63)]
    name: Annotated[str, Meta(min_length=1, max_length=253)]
    group: Annotated[str, Meta(max_length=253)] = ""
    namespace: str | None = None

"""PodDisruptionBudget."""

from typing import Annotated, Literal

from msgspec import field

from hauberk.model.kubernetes.meta import Condition, LabelSelector, ObjectMeta
from hauberk.model.struct import IntOrString, KubernetesStruct, Time, doc, merged_by


class PodDisruptionBudgetSpec(KubernetesStruct, frozen=True):
    """Which pods, and how many may be missing."""

    max_unavailable: IntOrString | None = None
    min_available: IntOrString | None = None
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: Literal["IfHealthyBudget", "AlwaysAllow"] | None = None


class PodDisruptionBudgetStatus(KubernetesStruct, frozen=True):
    """How many may be missing now."""

    conditions: Annotated[tuple[Condition, ...], merged_by("type")] = ()
    current_healthy: int | None = None
    desired_healthy: int | None = None
    disrupted_pods: dict[str, Time] = field(default_factory=dict)
    disruptions_allowed: int | None = None
    expected_pods: int | None = None
    observed_generation: int | None = None


class PodDisruptionBudget(KubernetesStruct, frozen=True):
    """How many pods may be missing when pods are evicted on purpose."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[PodDisruptionBudgetSpec | None, doc("What is wanted.")] = None
    status: Annotated[
        PodDisruptionBudgetStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None

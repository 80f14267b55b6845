"""Which node a pod may go to."""

from typing import Literal

from hauberk.model.kubernetes.meta import LabelSelector
from hauberk.model.struct import KubernetesStruct


class NodeSelectorRequirement(KubernetesStruct, frozen=True):
    """A label of a node that must, or must not, have certain values."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: tuple[str, ...] = ()


class NodeSelectorTerm(KubernetesStruct, frozen=True):
    """Requirements of a node that must all hold."""

    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class PreferredSchedulingTerm(KubernetesStruct, frozen=True):
    """A preference among nodes."""

    preference: NodeSelectorTerm
    weight: int


class NodeSelector(KubernetesStruct, frozen=True):
    """Terms of which one must hold."""

    node_selector_terms: tuple[NodeSelectorTerm, ...]


class NodeAffinity(KubernetesStruct, frozen=True):
    """Rules about nodes."""

    preferred_during_scheduling_ignored_during_execution: tuple[PreferredSchedulingTerm, ...] = ()
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(KubernetesStruct, frozen=True):
    """Pods to be near to, or far from."""

    topology_key: str
    label_selector: LabelSelector | None = None
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()
    namespace_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()


class WeightedPodAffinityTerm(KubernetesStruct, frozen=True):
    """A preference about other pods."""

    pod_affinity_term: PodAffinityTerm
    weight: int


class PodAffinity(KubernetesStruct, frozen=True):
    """Pods to be near to."""

    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] = ()
    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = ()


class PodAntiAffinity(KubernetesStruct, frozen=True):
    """Pods to be far from."""

    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] = ()
    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = ()


class Affinity(KubernetesStruct, frozen=True):
    """Rules about where a pod goes."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class Toleration(KubernetesStruct, frozen=True):
    """A taint that the pod bears."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    key: str | None = None
    operator: Literal["Exists", "Equal", "Lt", "Gt"] | None = None
    toleration_seconds: int | None = None
    value: str | None = None


class TopologySpreadConstraint(KubernetesStruct, frozen=True):
    """How evenly pods spread over a part of the topology."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    label_selector: LabelSelector | None = None
    match_label_keys: tuple[str, ...] = ()
    min_domains: int | None = None
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    node_taints_policy: Literal["Honor", "Ignore"] | None = None

"""Job: pods that run until they are done."""

from typing import Annotated, Any, Literal

from msgspec import field

from hauberk.model.kubernetes.meta import LabelSelector, ObjectMeta
from hauberk.model.kubernetes.pod import PodTemplateSpec
from hauberk.model.struct import Count, KubernetesStruct, PositiveCount, Time, doc, merged_by


class PodFailurePolicyOnExitCodesRequirement(KubernetesStruct, frozen=True):
    """Exit codes that a rule speaks of."""

    operator: Literal["In", "NotIn"]
    values: tuple[int, ...]
    container_name: str | None = None


class PodFailurePolicyOnPodConditionsPattern(KubernetesStruct, frozen=True):
    """A pod condition that a rule speaks of."""

    type: str
    status: Annotated[str | None, doc("What is observed; the API and its controllers write it.")] = None


class PodFailurePolicyRule(KubernetesStruct, frozen=True):
    """One rule about failures."""

    action: Literal["FailJob", "FailIndex", "Ignore", "Count"]
    on_exit_codes: PodFailurePolicyOnExitCodesRequirement | None = None
    on_pod_conditions: tuple[PodFailurePolicyOnPodConditionsPattern, ...] = ()


class PodFailurePolicy(KubernetesStruct, frozen=True):
    """What a pod's failure means for its job."""

    rules: tuple[PodFailurePolicyRule, ...]


class SuccessPolicyRule(KubernetesStruct, frozen=True):
    """One rule about success."""

    succeeded_count: int | None = None
    succeeded_indexes: str | None = None


class SuccessPolicy(KubernetesStruct, frozen=True):
    """When a job counts as succeeded before all pods have."""

    rules: tuple[SuccessPolicyRule, ...]


class JobSpec(KubernetesStruct, frozen=True):
    """How often and how parallel the pods run, and when to give up."""

    template: Annotated[PodTemplateSpec, doc("The pod to make.")]
    active_deadline_seconds: Annotated[
        PositiveCount | None, doc("Seconds after which the job has failed.")
    ] = None
    backoff_limit: Annotated[Count | None, doc("Failures after which the job has failed.")] = None
    backoff_limit_per_index: Count | None = None
    completion_mode: Annotated[Literal["NonIndexed", "Indexed"] | None, doc("Whether pods are numbered.")] = (
        None
    )
    completions: Annotated[Count | None, doc("How many pods must succeed.")] = None
    managed_by: str | None = None
    manual_selector: bool | None = None
    max_failed_indexes: Count | None = None
    parallelism: Annotated[Count | None, doc("How many pods run at once.")] = None
    pod_failure_policy: PodFailurePolicy | None = None
    pod_replacement_policy: Literal["TerminatingOrFailed", "Failed"] | None = None
    scheduling: dict[str, Any] = field(default_factory=dict)
    selector: LabelSelector | None = None
    success_policy: SuccessPolicy | None = None
    suspend: Annotated[bool | None, doc("Run no pods for now.")] = None
    ttl_seconds_after_finished: Annotated[
        Count | None, doc("Seconds after its end when the job is deleted.")
    ] = None


class JobCondition(KubernetesStruct, frozen=True):
    """One observed fact of a job."""

    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    type: str
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None


class UncountedTerminatedPods(KubernetesStruct, frozen=True):
    """Ended pods that are not counted yet."""

    failed: tuple[str, ...] = ()
    succeeded: tuple[str, ...] = ()


class JobStatus(KubernetesStruct, frozen=True):
    """How many pods of a job run, succeeded and failed."""

    active: int | None = None
    completed_indexes: str | None = None
    completion_time: Time | None = None
    conditions: Annotated[tuple[JobCondition, ...], merged_by("type")] = ()
    failed: int | None = None
    failed_indexes: str | None = None
    ready: int | None = None
    start_time: Time | None = None
    succeeded: int | None = None
    terminating: int | None = None
    uncounted_terminated_pods: UncountedTerminatedPods | None = None


class Job(KubernetesStruct, frozen=True):
    """Runs pods until enough of them have succeeded."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[JobSpec | None, doc("What is wanted.")] = None
    status: Annotated[JobStatus | None, doc("What is observed; the API and its controllers write it.")] = None

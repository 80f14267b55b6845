"""Rules on Deployment, ReplicaSet, StatefulSet and Job."""

from hauberk.model.admission.metadata import admit_selector
from hauberk.model.admission.pod import admit_template
from hauberk.model.admission.syntax import Errors, forbidden, invalid, required
from hauberk.model.kubernetes.apps import Deployment, ReplicaSet, StatefulSet
from hauberk.model.kubernetes.batch import Job
from hauberk.model.kubernetes.meta import LabelSelector
from hauberk.model.kubernetes.pod import PodTemplateSpec
from hauberk.model.selector import matches

_ALWAYS = {"Always"}


def admit_deployment(new: Deployment, old: Deployment | None) -> Errors:
    """The selector matches the template and never changes; an update must be able to go on."""
    yield from _admit_selector(new.spec.selector, old.spec.selector if old else None, new.spec.template)
    yield from admit_template(new.spec.template, "spec.template", _ALWAYS)
    strategy = new.spec.strategy
    if strategy is None or strategy.rolling_update is None:
        return
    rolling = strategy.rolling_update
    if strategy.type == "Recreate":
        yield forbidden(
            "spec.strategy.rollingUpdate", "the strategy Recreate takes no rollingUpdate: remove it"
        )
    yield from _admit_share(rolling.max_surge, "spec.strategy.rollingUpdate.maxSurge")
    yield from _admit_share(rolling.max_unavailable, "spec.strategy.rollingUpdate.maxUnavailable", most=100)
    if _is_zero(rolling.max_surge) and _is_zero(rolling.max_unavailable):
        yield invalid("spec.strategy.rollingUpdate.maxUnavailable", "must not be 0 when maxSurge is 0 too")


def admit_replica_set(new: ReplicaSet, old: ReplicaSet | None) -> Errors:
    """The selector matches the template and never changes."""
    yield from _admit_selector(new.spec.selector, old.spec.selector if old else None, new.spec.template)
    yield from admit_template(new.spec.template, "spec.template", _ALWAYS)


def admit_stateful_set(new: StatefulSet, old: StatefulSet | None) -> Errors:
    """As a deployment; its claims and its service never change."""
    yield from _admit_selector(new.spec.selector, old.spec.selector if old else None, new.spec.template)
    claims = {claim.metadata.name or "" for claim in new.spec.volume_claim_templates}
    # The controller adds a volume for each claim, so that the template's mounts may name claims.
    yield from admit_template(new.spec.template, "spec.template", _ALWAYS, volumes_added=claims)
    for index, claim in enumerate(new.spec.volume_claim_templates):
        if not claim.metadata.name:
            yield required(f"spec.volumeClaimTemplates[{index}].metadata.name")
    if old is None:
        return
    for name, before, after in (
        ("serviceName", old.spec.service_name, new.spec.service_name),
        ("podManagementPolicy", old.spec.pod_management_policy, new.spec.pod_management_policy),
        ("volumeClaimTemplates", _claims(old), _claims(new)),
    ):
        if before != after:
            yield forbidden(
                f"spec.{name}", "cannot be changed: delete the set with --cascade=orphan and make it anew"
            )


def _claims(obj: StatefulSet) -> list[tuple[str | None, object]]:
    return [(claim.metadata.name, claim.spec) for claim in obj.spec.volume_claim_templates]


def admit_job(new: Job, old: Job | None) -> Errors:
    """Pods that end; the template never changes."""
    if new.spec is None:
        yield required("spec")
        return
    yield from admit_template(new.spec.template, "spec.template", {"OnFailure", "Never"})
    if new.spec.completion_mode == "Indexed" and new.spec.completions is None:
        yield required("spec.completions", "the mode Indexed needs a number of completions")
    if new.spec.backoff_limit_per_index is not None and new.spec.completion_mode != "Indexed":
        yield forbidden("spec.backoffLimitPerIndex", "needs the mode Indexed")
    if old is None or old.spec is None:
        return
    if new.spec.selector != old.spec.selector:
        yield forbidden("spec.selector", "cannot be changed: delete the job and make a new one")
    if new.spec.template != old.spec.template:
        yield forbidden("spec.template", "cannot be changed: delete the job and make a new one")
    if new.spec.completions != old.spec.completions and new.spec.completion_mode != "Indexed":
        yield forbidden("spec.completions", "cannot be changed: delete the job and make a new one")


def _admit_selector(
    new: LabelSelector, old: LabelSelector | None, template: PodTemplateSpec | None
) -> Errors:
    if not new.match_labels and not new.match_expressions:
        yield required("spec.selector", "must choose some pods: give it the labels of the template")
    yield from admit_selector(new, "spec.selector")
    metadata = template.metadata if template else None
    if not matches(new, metadata.labels if metadata else {}):
        yield invalid(
            "spec.template.metadata.labels", "do not match spec.selector: give the template its labels"
        )
    if old is not None and new != old:
        yield forbidden("spec.selector", "cannot be changed: delete the object and make a new one")


def _admit_share(value: int | str | None, path: str, *, most: int | None = None) -> Errors:
    if isinstance(value, str):
        number = value.removesuffix("%")
        if not value.endswith("%") or not number.isdecimal() or (most is not None and int(number) > most):
            yield invalid(path, f'expected a number, or a percentage such as 25%, found "{value}"')
    elif value is not None and value < 0:
        yield invalid(path, f"expected at least 0, found {value}")


def _is_zero(value: int | str | None) -> bool:
    return value in {0, "0%"}

"""Defaults of Deployment, ReplicaSet, StatefulSet and Job."""

from hauberk.model.defaults.pod import default_template
from hauberk.model.kind import Object


def default_deployment(obj: Object) -> None:
    """One pod, replaced a quarter at a time."""
    spec = _spec_with_template(obj)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def default_replica_set(obj: Object) -> None:
    """One pod."""
    _spec_with_template(obj).setdefault("replicas", 1)


def default_stateful_set(obj: Object) -> None:
    """One pod, made and replaced in order; its claims outlive it."""
    spec = _spec_with_template(obj)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    for claim in spec.get("volumeClaimTemplates") or []:
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def default_job(obj: Object) -> None:
    """One pod that must succeed once, tried again up to six times."""
    spec = _spec_with_template(obj)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")


def select_own_pods(job: Object) -> None:
    """A new Job's selector and its pods' labels, by its UID, unless `manualSelector` says that they are the user's."""
    spec, metadata = job["spec"], job["metadata"]
    if spec.get("manualSelector"):
        return
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    for prefix in ("batch.kubernetes.io/", ""):  # the second as it was before Kubernetes 1.27
        labels |= {f"{prefix}controller-uid": metadata["uid"], f"{prefix}job-name": metadata["name"]}
    chosen = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    chosen["batch.kubernetes.io/controller-uid"] = metadata["uid"]


def _spec_with_template(obj: Object) -> Object:
    spec: Object = obj.setdefault("spec", {})
    default_template(spec.setdefault("template", {}))
    return spec

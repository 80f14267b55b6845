"""Kinds of `apps`, `batch` and `policy`: controllers of pods."""

from hauberk.model.admission import workloads as rules
from hauberk.model.defaults import workloads
from hauberk.model.kinds import columns
from hauberk.model.kinds.definition import column, computed, define
from hauberk.model.kubernetes.apps import ControllerRevision, Deployment, ReplicaSet, StatefulSet
from hauberk.model.kubernetes.batch import Job

_TEMPLATE = (
    computed("Containers", columns.container_names, wide=True),
    computed("Images", columns.container_images, wide=True),
)
_SELECTOR = computed("Selector", columns.label_selector, wide=True)


DEPLOYMENT = define(
    Deployment,
    "apps",
    "v1",
    "deployments",
    short_names=("deploy",),
    categories=("all",),
    subresources=("status", "scale"),
    columns=[
        computed("Ready", columns.ready_of_replicas),
        computed(
            "Up-to-date", lambda obj: (obj.get("status") or {}).get("updatedReplicas", 0), type="integer"
        ),
        computed(
            "Available", lambda obj: (obj.get("status") or {}).get("availableReplicas", 0), type="integer"
        ),
        *_TEMPLATE,
        _SELECTOR,
    ],
    admit=rules.admit_deployment,
    default=workloads.default_deployment,
)

REPLICA_SET = define(
    ReplicaSet,
    "apps",
    "v1",
    "replicasets",
    short_names=("rs",),
    categories=("all",),
    subresources=("status", "scale"),
    columns=[
        column("Desired", "spec.replicas", type="integer"),
        computed("Current", lambda obj: (obj.get("status") or {}).get("replicas", 0), type="integer"),
        computed("Ready", lambda obj: (obj.get("status") or {}).get("readyReplicas", 0), type="integer"),
        *_TEMPLATE,
        _SELECTOR,
    ],
    selectable_fields=("status.replicas",),
    admit=rules.admit_replica_set,
    default=workloads.default_replica_set,
)

STATEFUL_SET = define(
    StatefulSet,
    "apps",
    "v1",
    "statefulsets",
    short_names=("sts",),
    categories=("all",),
    subresources=("status", "scale"),
    columns=[computed("Ready", columns.ready_of_replicas), *_TEMPLATE],
    admit=rules.admit_stateful_set,
    default=workloads.default_stateful_set,
)

CONTROLLER_REVISION = define(
    ControllerRevision,
    "apps",
    "v1",
    "controllerrevisions",
    columns=[column("Revision", "revision", type="integer")],
)

JOB = define(
    Job,
    "batch",
    "v1",
    "jobs",
    categories=("all",),
    subresources=("status",),
    columns=[
        computed("Status", columns.job_status),
        computed("Completions", columns.job_completions),
        computed("Duration", columns.job_duration),
        *_TEMPLATE,
        _SELECTOR,
    ],
    selectable_fields=("status.successful",),
    admit=rules.admit_job,
    default=workloads.default_job,
)

KINDS = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, CONTROLLER_REVISION, JOB)

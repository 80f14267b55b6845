"""Job: pods that run to their end, so many times, so many at once.

An ended pod is counted once and only once, whatever dies in between: it keeps a finalizer until its UID stands in
`status.uncountedTerminatedPods`, and moves into the counts only after the finalizer is gone.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, repeat
from typing import Any

from hauberk.model.kind import Object
from hauberk.workloads import condition
from hauberk.workloads.action import Action, Again, Create, Delete, Emit, Update
from hauberk.workloads.clock import rfc3339, seconds_since
from hauberk.workloads.ownership import is_controlled_by, is_deleting
from hauberk.workloads.pod import (
    BURST,
    deletion_rank,
    from_template,
    is_ready,
    is_terminal,
    phase,
    short_hash,
)

FINALIZER = "batch.kubernetes.io/job-tracking"
NAME_LABEL = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
_FIRST_BACKOFF, _LONGEST_BACKOFF = 10.0, 360.0
_LOST_AFTER = 30.0
"""Seconds past its grace period after which a pod that was to stop counts as failed."""


@dataclass(frozen=True, slots=True)
class Observed:
    job: Object
    pods: list[Object]
    """All pods that it controls."""
    seen_at: str
    """As `replicaset.Observed.seen_at`."""


@dataclass(slots=True)
class _Count:
    """What has ended, counted (`succeeded`, `failed`) and on its way to be (`uncounted`)."""

    succeeded: int
    failed: int
    uncounted_succeeded: list[str]
    uncounted_failed: list[str]

    @property
    def all_succeeded(self) -> int:
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def all_failed(self) -> int:
        return self.failed + len(self.uncounted_failed)


def strip(pods: list[Object]) -> list[Action]:
    """Let go of pods whose Job is gone."""
    return [_unfinalized(pod) for pod in pods if FINALIZER in (pod["metadata"].get("finalizers") or ())]


def reconcile(seen: Observed, now: datetime) -> list[Action]:
    job = seen.job
    pods = [pod for pod in seen.pods if is_controlled_by(pod, job)]
    if is_deleting(job):
        return strip(pods)
    if finished(job):
        return [*strip(pods), *_expire(job, now)]
    status = copy.deepcopy(job.get("status") or {})
    status.setdefault("startTime", rfc3339(now))
    count, actions = _count(status, pods, now)
    running = [pod for pod in pods if not _has_ended(pod, now)]
    failure = _failure(job, count, running, status["startTime"], now)
    succeeded = not failure and _is_satisfied(job, count, running)
    waits = [_deadline(job, status["startTime"], now)]
    suspended = bool(job["spec"].get("suspend"))
    if failure or succeeded or suspended:
        actions += [Delete("Pod", pod) for pod in running if not is_deleting(pod)]
    else:
        scaling, wait = _scale(seen, pods, running, count, now)
        actions += scaling
        waits.append(wait)
    _write_status(job, status, count, running, suspended, now)
    if not running and not count.uncounted_succeeded and not count.uncounted_failed:
        if failure:
            _finish(status, "Failed", *failure, now=now)
            actions.append(Emit(job, "Warning", *failure))
        elif succeeded:
            _finish(
                status, "Complete", "CompletionsReached", "Reached expected number of succeeded pods", now=now
            )
            status["completionTime"] = rfc3339(now)
            actions.append(Emit(job, "Normal", "Completed", "Job completed"))
    if status != job.get("status"):
        # The status first: a UID must stand in it before its pod loses the finalizer.
        return [Update("Job", {**job, "status": status}, "status"), *actions, *_wait(waits)]
    return [*actions, *_wait(waits)]


def finished(job: Object) -> str:
    """`Complete`, `Failed`, or empty while it runs."""
    conditions = (job.get("status") or {}).get("conditions")
    return next((kind for kind in ("Complete", "Failed") if condition.holds(conditions, kind)), "")


def _count(status: dict[str, Any], pods: list[Object], now: datetime) -> tuple[_Count, list[Action]]:
    uncounted = status.get("uncountedTerminatedPods") or {}
    tracked = {p["metadata"]["uid"] for p in pods if FINALIZER in (p["metadata"].get("finalizers") or ())}
    gone_succeeded = [uid for uid in uncounted.get("succeeded") or () if uid not in tracked]
    gone_failed = [uid for uid in uncounted.get("failed") or () if uid not in tracked]
    count = _Count(
        status.get("succeeded", 0) + len(gone_succeeded),
        status.get("failed", 0) + len(gone_failed),
        [uid for uid in uncounted.get("succeeded") or () if uid in tracked],
        [uid for uid in uncounted.get("failed") or () if uid in tracked],
    )
    actions: list[Action] = []
    for pod in pods:
        uid = pod["metadata"]["uid"]
        if uid not in tracked or not _has_ended(pod, now):
            continue
        if uid in count.uncounted_succeeded or uid in count.uncounted_failed:
            actions.append(_unfinalized(pod))
        elif phase(pod) == "Succeeded":
            count.uncounted_succeeded.append(uid)
        else:
            count.uncounted_failed.append(uid)
    return count, actions


def _has_ended(pod: Object, now: datetime) -> bool:
    if is_terminal(pod):
        return True
    if not is_deleting(pod):
        return False
    if not pod["spec"].get("nodeName"):
        return True
    # `deletionTimestamp` already includes the grace period.
    return seconds_since(pod["metadata"]["deletionTimestamp"], now) > _LOST_AFTER


def _failure(
    job: Object, count: _Count, running: list[Object], started: str, now: datetime
) -> tuple[str, str] | None:
    spec = job["spec"]
    limit = spec.get("backoffLimit", 6)
    restarts = 0
    if (spec["template"]["spec"].get("restartPolicy")) == "OnFailure":
        restarts = sum(_restarts(pod) for pod in running)
    if count.all_failed + restarts > limit:
        return "BackoffLimitExceeded", f"Job has reached the specified backoff limit ({limit})"
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not spec.get("suspend") and seconds_since(started, now) >= deadline:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return None


def _restarts(pod: Object) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(status.get("restartCount", 0) for status in statuses)


def _is_satisfied(job: Object, count: _Count, running: list[Object]) -> bool:
    completions = job["spec"].get("completions")
    if completions is None:  # a work queue: done when one has succeeded and the rest have ended
        return count.all_succeeded > 0 and not running
    return count.all_succeeded >= int(completions)


def _scale(
    seen: Observed, pods: list[Object], running: list[Object], count: _Count, now: datetime
) -> tuple[list[Action], float]:
    job = seen.job
    completions = job["spec"].get("completions")
    parallelism = job["spec"].get("parallelism", 1)
    if completions is None:
        wanted = len(running) if count.all_succeeded else parallelism
        wanted = min(wanted, parallelism)
    else:
        wanted = min(parallelism, completions - count.all_succeeded)
    missing = min(wanted - len(running), BURST)
    if missing < 0:
        stoppable = sorted((p for p in running if not is_deleting(p)), key=deletion_rank)
        return [
            Delete("Pod", pod) for pod in stoppable[: max(0, -missing - (len(running) - len(stoppable)))]
        ], 0.0
    if missing == 0:
        return [], 0.0
    if (wait := _backoff(pods, count, now)) > 0:
        return [], wait
    indexed = job["spec"].get("completionMode") == "Indexed"
    free = _free_indexes(completions or 0, pods, running)
    indexes: Iterable[int | None] = islice(free, missing) if indexed else repeat(None, missing)
    actions: list[Action] = []
    for number, index in enumerate(indexes):
        pod = _pod(job, seen.seen_at, number, index)
        actions.append(Create("Pod", pod))
        name = pod["metadata"]["name"]
        actions.append(Emit(job, "Normal", "SuccessfulCreate", f"Created pod: {name}"))
    return actions, 0.05 if missing == BURST else 0.0


def _free_indexes(completions: int, pods: list[Object], running: list[Object]) -> Iterator[int]:
    taken = {_index(pod) for pod in running} | {_index(pod) for pod in pods if phase(pod) == "Succeeded"}
    return (index for index in range(completions) if index not in taken)


def _index(pod: Object) -> int:
    return int((pod["metadata"].get("annotations") or {}).get(INDEX, -1))


def _backoff(pods: list[Object], count: _Count, now: datetime) -> float:
    """Seconds until the next pod may start: 10 s after a failure, doubled with each more, at most 360 s."""
    ends = [end for pod in pods if phase(pod) == "Failed" and (end := _ended_at(pod))]
    if not ends or not count.all_failed:
        return 0.0
    delay = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(count.all_failed - 1, 10))
    return max(0.0, delay - seconds_since(max(ends), now))


def _ended_at(pod: Object) -> str:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max(
        (str(((s.get("state") or {}).get("terminated") or {}).get("finishedAt") or "") for s in statuses),
        default="",
    )


def _pod(job: Object, seen_at: str, number: int, index: int | None) -> Object:
    meta = job["metadata"]
    suffix = short_hash(f"{meta['uid']}/{seen_at}/{number}", 5)
    stem = meta["name"][:50] if index is None else f"{meta['name'][:50]}-{index}"
    pod = from_template(job["spec"]["template"], job, f"{stem}-{suffix}")
    labels = pod["metadata"].setdefault("labels", {})
    for prefix in ("", "batch.kubernetes.io/"):
        labels[f"{prefix}controller-uid"] = meta["uid"]
        labels[f"{prefix}job-name"] = meta["name"]
    if index is not None:
        labels[INDEX] = str(index)
        pod["metadata"].setdefault("annotations", {})[INDEX] = str(index)
        for container in pod["spec"]["containers"]:
            container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
    pod["metadata"].setdefault("finalizers", []).append(FINALIZER)
    return pod


def _unfinalized(pod: Object) -> Update:
    changed = copy.deepcopy(pod)
    changed["metadata"]["finalizers"] = [f for f in changed["metadata"]["finalizers"] if f != FINALIZER]
    return Update("Pod", changed)


def _write_status(
    job: Object, status: dict[str, Any], count: _Count, running: list[Object], suspended: bool, now: datetime
) -> None:
    active = [pod for pod in running if not is_deleting(pod)]
    status["active"] = len(active)
    status["ready"] = sum(map(is_ready, active))
    status["terminating"] = len(running) - len(active)
    status["succeeded"] = count.succeeded
    status["failed"] = count.failed
    uncounted = {"succeeded": count.uncounted_succeeded, "failed": count.uncounted_failed}
    status["uncountedTerminatedPods"] = {name: uids for name, uids in uncounted.items() if uids}
    if suspended:
        text = ("True", "JobSuspended", "Job suspended")
        status["conditions"] = condition.put(status.get("conditions"), "Suspended", *text, now)
    elif condition.holds(status.get("conditions"), "Suspended"):
        text = ("False", "JobResumed", "Job resumed")
        status["conditions"] = condition.put(status["conditions"], "Suspended", *text, now)
        status["startTime"] = rfc3339(now)


def _finish(status: dict[str, Any], kind: str, reason: str, message: str, *, now: datetime) -> None:
    status["conditions"] = condition.put(
        status.get("conditions"), kind, "True", reason, message, now, time_field="lastProbeTime"
    )


def _expire(job: Object, now: datetime) -> list[Action]:
    lifetime = job["spec"].get("ttlSecondsAfterFinished")
    if lifetime is None:
        return []
    ended = condition.find(job["status"]["conditions"], finished(job)) or {}
    left = lifetime - seconds_since(ended.get("lastTransitionTime"), now)
    return [Again(left)] if left > 0 else [Delete("Job", job)]


def _deadline(job: Object, started: str, now: datetime) -> float:
    """Seconds until it; 0 without one, or once it has passed."""
    deadline = job["spec"].get("activeDeadlineSeconds")
    return 0.0 if deadline is None else max(0.0, deadline - seconds_since(started, now))


def _wait(waits: list[float]) -> list[Action]:
    shortest = min((wait for wait in waits if wait > 0), default=0.0)
    return [Again(shortest)] if shortest else []

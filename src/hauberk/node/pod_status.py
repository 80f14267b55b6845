"""A pod's status from what its containers do (pure): phase, conditions, container statuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hauberk.model.kind import Object
from hauberk.node.driver import ContainerState

FIRST_BACK_OFF = 10.0
MOST_BACK_OFF = 300.0
RESET_AFTER = 600.0
"""A container that ran this long starts again without waiting."""


@dataclass(slots=True)
class ContainerProgress:
    """One container of a pod, over all its starts."""

    name: str
    image: str
    attempt: int = 0
    """Number of the current start, from 0; equals the restarts so far."""
    state: ContainerState | None = None
    last: ContainerState | None = None
    waiting: tuple[str, str] = ("ContainerCreating", "")
    """Reason and message while `state` is None."""
    started: bool = False
    """Its startup probe, if any, has succeeded."""
    ready: bool = False
    sidecar: bool = False
    """An init container that runs beside the others (`restartPolicy: Always`)."""
    begun: bool = False
    """It has been `started` once, in whichever of its starts."""

    @property
    def initialized(self) -> bool:
        """Of an init container: those after it may start."""
        return self.begun if self.sidecar else self.succeeded

    @property
    def succeeded(self) -> bool:
        return self.state is not None and self.state.phase == "exited" and self.state.exit_code == 0

    @property
    def running(self) -> bool:
        return self.state is not None and self.state.phase == "running"


def back_off(restarts: int) -> float:
    """Seconds before a container starts again after it has ended for the `restarts + 1`th time."""
    return min(FIRST_BACK_OFF * 2.0 ** min(restarts, 10), MOST_BACK_OFF)


def restarts(policy: str, state: ContainerState) -> bool:
    """Whether a container that ended so starts again."""
    return policy == "Always" or (policy == "OnFailure" and state.exit_code != 0)


def phase(
    policy: str, init: Sequence[ContainerProgress], main: Sequence[ContainerProgress], *, deleting: bool
) -> Literal["Pending", "Running", "Succeeded", "Failed"]:
    """The phase as a kubelet reckons it (core/v1 PodPhase)."""
    ends = [each.state for each in main if each.state is not None and each.state.phase == "exited"]
    beside = any(each.running for each in init if each.sidecar)
    if policy == "Never" and any(
        each.state and each.state.phase == "exited" and not each.succeeded and not each.sidecar
        for each in init
    ):
        return "Failed"
    if (
        main
        and len(ends) == len(main)
        and not beside
        and (deleting or not any(restarts(policy, end) for end in ends))
    ):
        return "Succeeded" if all(end.exit_code == 0 for end in ends) else "Failed"
    if not all(each.initialized for each in init) or any(
        each.state is None and each.last is None and each.attempt == 0 for each in main
    ):
        return "Pending"
    return "Running"


def status(
    pod: Object,
    *,
    addresses: Sequence[str],
    started_at: str,
    now: str,
    network_ready: bool,
    init: Sequence[ContainerProgress],
    main: Sequence[ContainerProgress],
    message: tuple[str, str] | None = None,
    failed: bool = False,
) -> dict[str, Any]:
    """The whole `status` of a pod; conditions keep their transition time while their status stays.

    `message` is a reason and message for the pod itself, as when it could not be set up; `failed` says that this
    is the end of the pod, whatever its containers did.
    """
    spec = pod["spec"]
    policy = spec.get("restartPolicy") or "Always"
    ending = "deletionTimestamp" in pod["metadata"]
    reached = "Failed" if failed else phase(policy, init, main, deleting=ending)
    initialized = all(each.initialized for each in init)
    finished = reached in {"Succeeded", "Failed"}
    ready = (
        network_ready
        and not finished
        and all(each.ready for each in [*main, *(each for each in init if each.sidecar)])
    )
    why_not = "PodCompleted" if reached == "Succeeded" else "ContainersNotReady"
    wanted = [
        ("PodReadyToStartContainers", network_ready, ""),
        ("Initialized", initialized, "" if initialized else "ContainersNotInitialized"),
        ("Ready", ready, "" if ready else why_not),
        ("ContainersReady", ready, "" if ready else why_not),
        ("PodScheduled", True, ""),
    ]
    before = {each["type"]: each for each in (pod.get("status") or {}).get("conditions") or ()}
    result: dict[str, Any] = {
        "phase": reached,
        "conditions": [
            _condition(before.get(kind), kind, true, reason, now) for kind, true, reason in wanted
        ],
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "startTime": started_at,
        "qosClass": "BestEffort",
        "containerStatuses": [_container(each) for each in main],
    }
    if network_ready or finished:
        result |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    if init:
        result["initContainerStatuses"] = [
            _container(each) | {"ready": each.ready if each.sidecar else each.succeeded} for each in init
        ]
    if message is not None:
        result |= {"reason": message[0], "message": message[1]}
    return result


def _condition(
    before: Mapping[str, Any] | None, kind: str, true: bool, reason: str, now: str
) -> dict[str, Any]:
    value = "True" if true else "False"
    since = (
        before["lastTransitionTime"]
        if before and before["status"] == value and before.get("lastTransitionTime")
        else now
    )
    condition = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since}
    return condition | ({"reason": reason} if reason else {})


def _container(progress: ContainerProgress) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": progress.name,
        "image": progress.image,
        "imageID": progress.image,
        "ready": progress.ready,
        "started": progress.started,
        "restartCount": progress.attempt,
        "state": _state(progress.state, progress),
        "lastState": _state(progress.last, progress) if progress.last else {},
    }
    if progress.state is not None:
        result["containerID"] = f"hauberk://{progress.name}-{progress.attempt}"
    return result


def _state(state: ContainerState | None, progress: ContainerProgress) -> dict[str, Any]:
    if state is None:
        reason, message = progress.waiting
        return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
    if state.phase == "running":
        return {"running": {"startedAt": state.started_at or None}}
    ended: dict[str, Any] = {
        "exitCode": state.exit_code,
        "reason": state.reason or ("Completed" if state.exit_code == 0 else "Error"),
        "startedAt": state.started_at or None,
        "finishedAt": state.finished_at or None,
    }
    if state.signal:
        ended["signal"] = state.signal
    if state.message:
        ended["message"] = state.message
    return {"terminated": ended}

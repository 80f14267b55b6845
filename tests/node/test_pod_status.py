"""Phase, conditions and container states, as a kubelet reckons them."""

from typing import Any

import pytest

from hauberk.node.driver import ContainerState
from hauberk.node.pod_status import ContainerProgress, back_off, phase, restarts, status

RUNNING = ContainerState(phase="running", started_at="2026-01-01T00:00:00Z")


def exited(code: int) -> ContainerState:
    return ContainerState(phase="exited", exit_code=code)


def progress(state: ContainerState | None, *, ready: bool = False, attempt: int = 0) -> ContainerProgress:
    return ContainerProgress("c", "host", state=state, ready=ready, attempt=attempt)


@pytest.mark.parametrize(
    ("policy", "init", "main", "expected"),
    [
        ("Always", [], [None], "Pending"),
        ("Always", [RUNNING], [None], "Pending"),
        ("Always", [], [RUNNING, None], "Pending"),
        ("Always", [exited(0)], [RUNNING], "Running"),
        ("Always", [], [exited(0)], "Running"),
        ("Always", [], [exited(1)], "Running"),
        ("OnFailure", [], [exited(0), RUNNING], "Running"),
        ("OnFailure", [], [exited(0), exited(0)], "Succeeded"),
        ("OnFailure", [], [exited(2)], "Running"),
        ("Never", [], [exited(0), exited(2)], "Failed"),
        ("Never", [], [exited(2), RUNNING], "Running"),
        ("Never", [exited(1)], [None], "Failed"),
    ],
)
def test_phases(policy: str, init: list[Any], main: list[Any], expected: str) -> None:
    found = phase(
        policy, [progress(each) for each in init], [progress(each) for each in main], deleting=False
    )
    assert found == expected


def test_a_container_between_two_starts_keeps_its_pod_running() -> None:
    assert phase("Always", [], [progress(None, attempt=1)], deleting=False) == "Running"


def test_waits_double_from_ten_seconds_to_five_minutes() -> None:
    assert [back_off(number) for number in range(7)] == [10, 20, 40, 80, 160, 300, 300]
    assert back_off(10_000) == 300


def test_who_starts_again() -> None:
    assert restarts("Always", exited(0))
    assert restarts("OnFailure", exited(1))
    assert not restarts("OnFailure", exited(0))
    assert not restarts("Never", exited(1))


def build(pod: dict[str, Any], now: str, **options: Any) -> dict[str, Any]:
    return status(
        pod, addresses=["10.0.0.1"], started_at="t0", now=now, network_ready=True, init=[], **options
    )


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(each for each in found["conditions"] if each["type"] == kind)


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    pod: dict[str, Any] = {"metadata": {}, "spec": {}}
    pod["status"] = build(pod, "t1", main=[progress(RUNNING)])
    assert condition(pod["status"], "Ready")["status"] == "False"
    pod["status"] = build(pod, "t2", main=[progress(RUNNING)])
    assert condition(pod["status"], "Ready")["lastTransitionTime"] == "t1"
    pod["status"] = build(pod, "t3", main=[progress(RUNNING, ready=True)])
    assert condition(pod["status"], "Ready") == {
        "type": "Ready", "status": "True", "lastProbeTime": None, "lastTransitionTime": "t3",
    }  # fmt: skip
    assert condition(pod["status"], "Initialized")["lastTransitionTime"] == "t1"
    assert pod["status"]["podIP"] == "10.0.0.1"


def test_states_of_a_container() -> None:
    ended = ContainerProgress("c", "host", attempt=1, state=RUNNING, last=exited(9))
    [found] = build({"metadata": {}, "spec": {}}, "t", main=[ended])["containerStatuses"]
    assert found["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert found["lastState"]["terminated"]["exitCode"] == 9
    assert found["restartCount"] == 1

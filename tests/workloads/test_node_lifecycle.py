"""A node that gives no sign of life, and one that comes back."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hauberk.workloads import node_lifecycle
from hauberk.workloads.action import Action, Again, Emit, Update
from hauberk.workloads.controllers import NodeLifecycleController

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "one", "uid": "n"},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": "then"},
            {"type": "DiskPressure", "status": "False", "lastHeartbeatTime": "then"},
        ]
    },
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "bank", "uid": "p"},
    "spec": {"nodeName": "one"},
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}
LEASE = {
    "metadata": {"name": "one", "namespace": "kube-node-lease"},
    "spec": {"renewTime": "t0", "leaseDurationSeconds": 40},
}


class View:
    """What the controller sees."""

    def __init__(self) -> None:
        self.lease = copy.deepcopy(LEASE)
        self.node: Any = copy.deepcopy(NODE)

    def get(self, kind: str, namespace: str, name: str) -> Any:
        return self.lease if kind == "Lease" else self.node

    def all(self, kind: str) -> list[Any]:
        return [POD]


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def decide(controller: NodeLifecycleController, view: View, now: datetime = NOW) -> list[Action]:
    return controller.decide(view, ("", "one"), "", now)  # type: ignore[arg-type]


def test_a_silent_node_becomes_unknown_and_its_pods_not_ready_and_none_is_evicted() -> None:
    seen = node_lifecycle.Observed(NODE, LEASE, [POD], 41.0)
    node, said, pod, _event, again = node_lifecycle.reconcile(seen, NOW)
    assert isinstance(node, Update)
    conditions = {c["type"]: c for c in node.object["status"]["conditions"]}
    assert conditions["Ready"]["status"] == conditions["DiskPressure"]["status"] == "Unknown"
    assert conditions["Ready"]["reason"] == "NodeStatusUnknown"
    assert conditions["Ready"]["lastHeartbeatTime"] == "then", "the node itself has said nothing"
    assert isinstance(said, Emit)
    assert said.reason == "NodeNotReady"
    assert isinstance(pod, Update)
    assert pod.object["status"]["conditions"][0]["status"] == "False"
    assert pod.object["status"]["phase"] == "Running"
    assert again == Again(40.0)


def test_silence_is_measured_by_a_clock_that_nobody_sets() -> None:
    clock, view = Clock(), View()
    controller = NodeLifecycleController(clock=clock)
    assert decide(controller, view) == [Again(40.0)]
    clock.time += 30
    assert decide(controller, view, NOW + timedelta(hours=5)) == [Again(10.0)]
    assert decide(controller, view, NOW - timedelta(hours=5)) == [Again(10.0)]
    clock.time += 11
    assert isinstance(decide(controller, view)[0], Update)


def test_each_new_sign_of_life_counts_whatever_time_it_names() -> None:
    clock, view = Clock(), View()
    controller = NodeLifecycleController(clock=clock)
    for renewed in ("t9", "t1", "t5"):
        clock.time += 39
        view.lease["spec"]["renewTime"] = renewed
        assert decide(controller, view) == [Again(40.0)]
    clock.time += 39
    view.node["status"]["conditions"][0]["lastHeartbeatTime"] = "now"
    assert decide(controller, view) == [Again(40.0)]


def test_what_is_unknown_already_is_not_written_again() -> None:
    seen = node_lifecycle.Observed(NODE, LEASE, [], 41.0)
    (written, *_) = node_lifecycle.reconcile(seen, NOW)
    assert isinstance(written, Update)
    after = node_lifecycle.Observed(written.object, LEASE, [], 99.0)
    assert node_lifecycle.reconcile(after, NOW + timedelta(minutes=1)) == [Again(40.0)]


def test_a_node_that_never_said_anything_is_unknown_too() -> None:
    bare = {**NODE, "status": {}}
    (written, *_) = node_lifecycle.reconcile(node_lifecycle.Observed(bare, None, [], 40.0), NOW)
    assert isinstance(written, Update)
    (ready,) = written.object["status"]["conditions"]
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusNeverUpdated")


@pytest.mark.parametrize("duration", [-1, 0, -(2**63), 2**31 - 1, 2**63 - 1, None])
def test_no_lease_makes_the_controller_spin_or_trust_a_node_for_ever(duration: int | None) -> None:
    controller, view = NodeLifecycleController(clock=(clock := Clock())), View()
    view.lease["spec"]["leaseDurationSeconds"] = duration  # type: ignore[index]
    waits = []
    for _ in range(5):
        (wait,) = [each.after for each in decide(controller, view) if isinstance(each, Again)]
        waits.append(wait)
        clock.time += wait
    assert all(1.0 <= wait <= node_lifecycle.LONGEST_GRACE for wait in waits)
    assert any(isinstance(each, Update) and each.kind == "Node" for each in decide(controller, view))

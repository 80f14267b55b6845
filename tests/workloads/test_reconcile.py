"""The pure parts: what is decided from what is seen."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.workloads import endpointslice, job, namespace, orphan, scheduler
from hauberk.workloads.action import Again, Bind, Create, Delete, Emit, Update
from hauberk.workloads.ownership import matches
from hauberk.workloads.pod import template_hash
from hauberk.workloads.share import amount, apportion, limits

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def service(**spec: Any) -> dict[str, Any]:
    meta = {"name": "web", "namespace": "bank", "uid": "s1"}
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }


def pod(number: int, *, ready: bool = True, port: int = 8080, **meta: Any) -> dict[str, Any]:
    container = {"name": "web", "image": "host", "ports": [{"name": "http", "containerPort": port}]}
    status = {
        "phase": "Running",
        "podIP": f"10.66.{number // 250}.{number % 250 + 1}",
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }
    labels = {"app": "web"}
    found = {"name": f"web-{number:04}", "namespace": "bank", "uid": f"p{number}", "labels": labels, **meta}
    spec = {"nodeName": "one", "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": found, "spec": spec, "status": status}


def converge(services: Any, pods: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
    """Carry the actions out on the slices; returns the slices and the actions."""
    actions = endpointslice.reconcile(endpointslice.Observed(services, pods, slices))
    after = {s["metadata"]["name"]: s for s in slices}
    for action in actions:
        name = action.object["metadata"]["name"]
        if isinstance(action, Delete):
            del after[name]
        else:
            assert isinstance(action, Update) or name not in after
            after[name] = copy.deepcopy(action.object)
    return list(after.values()), actions


def test_past_a_hundred_endpoints_there_are_several_slices_and_one_change_touches_one() -> None:
    slices, _ = converge(service(), [pod(n) for n in range(250)], [])
    assert sorted(len(s["endpoints"]) for s in slices) == [50, 100, 100]
    pods = [pod(n, ready=n != 7) for n in range(250)]
    slices, actions = converge(service(), pods, slices)
    assert len(actions) == 1
    slices, actions = converge(service(), [p for p in pods if p["metadata"]["uid"] != "p120"], slices)
    assert len(actions) == 1
    assert converge(service(), [p for p in pods if p["metadata"]["uid"] != "p120"], slices)[1] == []


@given(st.lists(st.sets(st.integers(0, 400), max_size=230), min_size=1, max_size=4))
def test_slices_hold_exactly_the_pods_each_once(steps: list[set[int]]) -> None:
    slices: list[Any] = []
    for numbers in steps:
        slices, _ = converge(service(), [pod(n) for n in sorted(numbers)], slices)
        held = [e["targetRef"]["uid"] for s in slices for e in s["endpoints"]]
        assert sorted(held) == sorted(f"p{n}" for n in numbers)
        assert all(len(s["endpoints"]) <= endpointslice.LIMIT for s in slices)
        assert slices
        assert converge(service(), [pod(n) for n in sorted(numbers)], slices)[1] == []


def test_pods_whose_named_port_differs_have_slices_of_their_own() -> None:
    slices, _ = converge(service(), [pod(1), pod(2, port=9090)], [])
    assert sorted(s["ports"][0]["port"] for s in slices) == [8080, 9090]


def test_a_terminating_pod_serves_but_is_not_ready() -> None:
    slices, _ = converge(service(), [pod(1, deletionTimestamp="2026-01-01T00:00:00Z")], [])
    assert slices[0]["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}


def test_not_ready_addresses_are_published_on_request() -> None:
    slices, _ = converge(service(publishNotReadyAddresses=True), [pod(1, ready=False)], [])
    assert slices[0]["endpoints"][0]["conditions"] == {"ready": True, "serving": False, "terminating": False}


def test_a_headless_service_says_so_and_names_its_hosts() -> None:
    one = pod(1)
    one["spec"] |= {"hostname": "web-0", "subdomain": "web"}
    slices, _ = converge(service(clusterIP="None"), [one], [])
    assert endpointslice.HEADLESS_LABEL in slices[0]["metadata"]["labels"]
    assert slices[0]["endpoints"][0]["hostname"] == "web-0"


def test_a_service_of_both_versions_of_ip_has_slices_of_each_and_loses_those_of_what_it_leaves() -> None:
    pods = [pod(n) for n in range(120)]
    for number, one in enumerate(pods[:-1]):
        one["status"]["podIPs"] = [{"ip": one["status"]["podIP"]}, {"ip": f"fd00::{number:x}"}]
    both = service(ipFamilies=["IPv4", "IPv6"])
    slices, _ = converge(both, pods, [])
    sizes = sorted((s["addressType"], len(s["endpoints"])) for s in slices)
    assert sizes == [("IPv4", 20), ("IPv4", 100), ("IPv6", 19), ("IPv6", 100)]
    for each in slices:
        versions = {":" in a for e in each["endpoints"] for a in e["addresses"]}
        assert versions == {each["addressType"] == "IPv6"}
    assert converge(both, pods, slices)[1] == []
    left, _ = converge(service(ipFamilies=["IPv6"]), pods, slices)
    assert {s["addressType"] for s in left} == {"IPv6"}


def test_without_a_selector_slices_are_the_users() -> None:
    assert converge(service(selector=None), [pod(1)], []) == ([], [])


@pytest.mark.parametrize(
    ("value", "whole", "up", "expected"),
    [
        ("25%", 10, True, 3),
        ("25%", 10, False, 2),
        (4, 10, True, 4),
        ("100%", 3, False, 3),
        ("0%", 9, True, 0),
    ],
)
def test_amounts(value: Any, whole: int, up: bool, expected: int) -> None:
    assert amount(value, whole, round_up=up) == expected


def test_a_rollout_can_always_move() -> None:
    rolling = {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}, "replicas": 3}
    assert limits({"spec": rolling}).unavailable == 1


@given(st.integers(0, 1000), st.lists(st.integers(0, 100), min_size=1, max_size=8))
def test_shares_add_up(total: int, weights: list[int]) -> None:
    shares = apportion(total, weights)
    if not sum(weights):
        assert not any(shares)
        return
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - total * weight / sum(weights)) < 1


def test_selectors() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a"]},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    assert matches({"matchExpressions": expressions}, {"tier": "a"})
    assert not matches({"matchExpressions": expressions}, {"tier": "a", "old": ""})
    assert not matches(None, {"a": "b"})
    assert matches({}, None)


def test_a_templates_hash_does_not_depend_on_order_or_nulls() -> None:
    assert template_hash({"a": 1, "b": {"c": None}}) == template_hash({"b": {}, "a": 1})
    assert template_hash({"a": 1}) != template_hash({"a": 2})


def node(name: str = "one", **spec: Any) -> dict[str, Any]:
    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"},
    }
    return {"metadata": {"name": name, "labels": {"disk": "fast"}}, "spec": spec, "status": status}


def waiting(**spec: Any) -> dict[str, Any]:
    made = pod(1)
    del made["spec"]["nodeName"]
    made["status"] = {}
    made["spec"] |= spec
    return made


def place(wanted: Any, nodes: list[Any], placed: Any = (), claims: Any = None) -> list[Any]:
    return scheduler.reconcile(scheduler.Observed(wanted, nodes, list(placed), claims or {}), NOW)


def test_the_least_loaded_node_takes_the_pod() -> None:
    actions = place(waiting(), [node("one"), node("two")], [pod(5)])
    assert [a.node for a in actions if isinstance(a, Bind)] == ["two"]


@pytest.mark.parametrize(
    ("wanted", "where", "why"),
    [
        (waiting(), node(unschedulable=True), "unschedulable"),
        (
            waiting(),
            node(taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]),
            "untolerated taint {k: v}",
        ),
        (waiting(nodeSelector={"disk": "slow"}), node(), "node affinity/selector"),
        (
            waiting(containers=[{"name": "a", "resources": {"requests": {"cpu": "2100m"}}}]),
            node(),
            "Insufficient cpu",
        ),
        (
            waiting(containers=[{"name": "a", "resources": {"limits": {"gpu": "1"}}}]),
            node(),
            "Insufficient gpu",
        ),
        (
            waiting(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "lost"}}]),
            node(),
            '"lost" not found',
        ),
    ],
)
def test_a_refusal_says_why(wanted: Any, where: Any, why: str) -> None:
    status, event = place(wanted, [where])
    assert isinstance(status, Update)
    assert isinstance(event, Emit)
    assert why in event.message
    again = {**wanted, "status": status.object["status"]}
    assert place(again, [where]) == []


def test_a_toleration_lets_a_pod_in() -> None:
    taint = {"key": "k", "value": "v", "effect": "NoSchedule"}
    actions = place(waiting(tolerations=[{"key": "k", "operator": "Exists"}]), [node(taints=[taint])])
    assert any(isinstance(a, Bind) for a in actions)


def test_a_waiting_claim_hears_of_its_node() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {}}
    wanted = waiting(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
    actions = place(wanted, [node()], claims={"data": claim})
    assert actions[0].object["metadata"]["annotations"] == {scheduler.SELECTED_NODE: "one"}


def test_pods_of_a_lost_node_end_after_patience() -> None:
    seen = orphan.Observed(pod(1), False, 0.0)
    assert orphan.reconcile(seen, NOW) == [Again(orphan.PATIENCE)]
    actions = orphan.reconcile(orphan.Observed(pod(1), False, 41.0), NOW)
    assert actions[0].object["status"]["phase"] == "Failed"
    assert isinstance(actions[-1], Delete)
    assert actions[-1].grace_period_seconds == 0


def a_job(**spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "a"}]}}
    spec = {"template": template, "completions": 1, **spec}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "pay", "namespace": "bank", "uid": "j"},
        "spec": spec,
    }


def look(wanted: Any, pods: Any = (), now: datetime = NOW) -> list[Any]:
    return job.reconcile(job.Observed(wanted, list(pods), "1"), now)


def test_a_job_waits_longer_after_each_failure() -> None:
    ended = {"containerStatuses": [{"state": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}}}]}
    failed = pod(1, ownerReferences=[{"controller": True, "kind": "Job", "name": "pay", "uid": "j"}])
    failed["status"] = {"phase": "Failed", **ended}
    started = {"startTime": "2025-12-31T00:00:00Z", "failed": 3}
    actions = look({**a_job(), "status": started}, [failed])
    assert Again(40.0) in actions
    assert not any(isinstance(a, Create) for a in actions)


def test_a_job_past_its_deadline_stops_its_pods() -> None:
    wanted = {**a_job(activeDeadlineSeconds=5), "status": {"startTime": "2026-01-01T00:00:00Z"}}
    running = pod(1, ownerReferences=[{"controller": True, "kind": "Job", "name": "pay", "uid": "j"}])
    actions = look(wanted, [running], NOW + timedelta(seconds=6))
    assert any(isinstance(a, Delete) for a in actions)
    (said,) = [a for a in look(wanted, [], NOW + timedelta(seconds=6)) if isinstance(a, Update)]
    assert said.object["status"]["conditions"][0]["reason"] == "DeadlineExceeded"


def test_a_finished_job_goes_after_its_time() -> None:
    done = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    wanted = {**a_job(ttlSecondsAfterFinished=60), "status": {"conditions": [done]}}
    assert look(wanted, now=NOW + timedelta(seconds=20)) == [Again(40.0)]
    assert isinstance(look(wanted, now=NOW + timedelta(seconds=61))[0], Delete)


def test_indexed_jobs_give_each_pod_its_index() -> None:
    made = [
        a.object
        for a in look(a_job(completions=3, parallelism=3, completionMode="Indexed"))
        if isinstance(a, Create)
    ]
    assert [p["metadata"]["annotations"][job.INDEX] for p in made] == ["0", "1", "2"]
    assert {"name": "JOB_COMPLETION_INDEX", "value": "1"} in made[1]["spec"]["containers"][0]["env"]


def test_a_changed_root_is_published() -> None:
    held = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "OLD"}}
    (action,) = namespace.reconcile(namespace.Observed({"metadata": {"name": "bank"}}, held), "NEW")
    assert action.object["data"] == {"ca.crt": "NEW"}


def test_a_claim_for_one_pod_is_refused_to_a_second() -> None:
    def using(number: int, **meta: Any) -> dict[str, Any]:
        found = pod(number, **meta)
        found["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
        return found

    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOncePod"], "volumeName": "v"}}
    node = {"metadata": {"name": "one"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    waiting = using(2)
    del waiting["spec"]["nodeName"]
    first = using(1)
    seen = scheduler.Observed(waiting, [node], [first], {"data": claim})
    said = [action for action in scheduler.reconcile(seen, NOW) if isinstance(action, Emit)]
    assert "ReadWriteOncePod" in said[0].message
    assert not any(isinstance(action, Bind) for action in scheduler.reconcile(seen, NOW))
    first["status"]["phase"] = "Succeeded"
    assert any(isinstance(action, Bind) for action in scheduler.reconcile(seen, NOW))

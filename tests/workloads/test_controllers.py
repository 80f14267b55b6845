"""Controllers against an API in memory, each test once with watches that lag: no duplicates, no stalls."""

import asyncio
import collections
import copy
import decimal
import importlib
from datetime import UTC, datetime
from typing import Any

import pytest

from hauberk.store.client import ApiError
from hauberk.workloads import deployment as deployments
from hauberk.workloads import job as jobs
from hauberk.workloads import statefulset
from hauberk.workloads.action import Again, Create
from hauberk.workloads.pod import BURST
from hauberk.workloads.queue import WorkQueue
from hauberk.workloads.run import run_controllers

NOW = datetime(2026, 1, 1, tzinfo=UTC)

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {
        "containers": [{"name": "web", "image": "host", "ports": [{"name": "http", "containerPort": 8080}]}]
    },
}


def deployment(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "bank"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": TEMPLATE,
            **spec,
        },
    }


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "bank"},
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            **spec,
        },
    }


def condition(obj: Any, kind: str) -> dict[str, Any]:
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def rolled_out(world: Any, revision: str = "1") -> Any:
    found = world.get("Deployment", "web")
    status = found.get("status", {})
    replicas = found["spec"]["replicas"]
    numbers = {status.get(n) for n in ("replicas", "updatedReplicas", "availableReplicas")}
    reason = condition(found, "Progressing").get("reason")
    annotation = found["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision")
    return numbers == {replicas} and reason == "NewReplicaSetAvailable" and annotation == revision and found


def created(world: Any, kind: str) -> int:
    return sum(o["kind"] == kind for o in world.api.created)


async def test_a_deployment_makes_exactly_its_pods(world: Any) -> None:
    await world.create("Deployment", deployment())
    await world.until(lambda: rolled_out(world))
    assert created(world, "Pod") == 3
    assert created(world, "ReplicaSet") == 1
    pod = world.api.all("Pod")[0]
    assert pod["metadata"]["labels"]["pod-template-hash"] in pod["metadata"]["ownerReferences"][0]["name"]


async def test_a_rolling_update_keeps_enough_pods_and_can_be_undone(world: Any) -> None:
    await world.create("Deployment", deployment(4))
    await world.until(lambda: rolled_out(world))
    first = world.api.all("ReplicaSet")[0]["metadata"]["name"]
    lowest = 99

    async def observe() -> None:
        nonlocal lowest
        while True:
            pods = [p for p in world.api.all("Pod") if not p["metadata"].get("deletionTimestamp")]
            lowest = min(lowest, sum(p.get("status", {}).get("phase") == "Running" for p in pods))
            await asyncio.sleep(0)

    observer = asyncio.create_task(observe())
    labels = {"metadata": {"labels": {"app": "web", "version": "two"}}}
    await world.edit("Deployment", "web", {"spec": {"template": labels}})
    await world.until(lambda: rolled_out(world, "2"))
    await world.until(lambda: len(world.api.all("Pod")) == 4)
    await world.edit("Deployment", "web", {"spec": {"template": {"metadata": {"labels": {"version": None}}}}})
    await world.until(lambda: rolled_out(world, "3"))
    observer.cancel()
    assert lowest >= 3
    assert created(world, "ReplicaSet") == 2
    assert (
        world.get("ReplicaSet", first)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    )


async def test_recreate_never_runs_both_revisions(world: Any) -> None:
    await world.create("Deployment", deployment(2, strategy={"type": "Recreate"}))
    await world.until(lambda: rolled_out(world))
    both = False

    async def observe() -> None:
        nonlocal both
        while True:
            revisions = {p["metadata"]["labels"]["pod-template-hash"] for p in world.api.all("Pod")}
            both = both or len(revisions) > 1
            await asyncio.sleep(0)

    observer = asyncio.create_task(observe())
    await world.edit(
        "Deployment", "web", {"spec": {"template": {"metadata": {"labels": {"version": "two"}}}}}
    )
    await world.until(lambda: rolled_out(world, "2"))
    observer.cancel()
    assert not both


async def test_scaling_down_deletes_no_more_than_asked(world: Any) -> None:
    await world.create("Deployment", deployment(5))
    await world.until(lambda: rolled_out(world))
    await world.edit("Deployment", "web", {"spec": {"replicas": 2}})
    await world.until(lambda: rolled_out(world) and len(world.api.all("Pod")) == 2)
    assert created(world, "Pod") == 5


async def test_a_refused_pod_is_said_in_the_deployments_status(world: Any) -> None:
    world.api.refuse["Pod"] = ApiError(403, "Forbidden", "exceeded quota")
    await world.create("Deployment", deployment(1))
    failed = await world.until(lambda: condition(world.get("Deployment", "web"), "ReplicaFailure"))
    assert "exceeded quota" in failed["message"]
    await world.until(lambda: any(e["reason"] == "FailedCreate" for e in world.api.all("Event")))
    world.api.refuse.clear()
    await world.until(lambda: rolled_out(world))


async def test_slices_follow_ready_pods(world: Any) -> None:
    await world.create("Service", service())
    await world.create("Deployment", deployment(3))

    def ready() -> list[Any]:
        slices = world.api.all("EndpointSlice")
        return [e for s in slices for e in s["endpoints"] if e["conditions"]["ready"]]

    await world.until(lambda: len(ready()) == 3)
    (only,) = world.api.all("EndpointSlice")
    assert only["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    await world.edit("Deployment", "web", {"spec": {"replicas": 1}})
    await world.until(lambda: len(ready()) == 1)
    assert len(world.api.all("EndpointSlice")) == 1


async def test_a_job_runs_to_its_completions_and_counts_each_once(world: Any) -> None:
    world.behave = lambda _pod: {"phase": "Succeeded"}
    await world.create("Job", job(completions=5, parallelism=2))
    found = await world.until(
        lambda: condition(world.get("Job", "pay"), "Complete") and world.get("Job", "pay")
    )
    assert found["status"]["succeeded"] == 5
    assert found["status"].get("failed", 0) == 0
    assert created(world, "Pod") == 5


async def test_a_job_gives_up_after_its_backoff_limit(world: Any) -> None:
    world.behave = lambda _pod: {"phase": "Failed"}
    await world.create("Job", job(backoffLimit=1))
    failed = await world.until(lambda: condition(world.get("Job", "pay"), "Failed"))
    assert failed["reason"] == "BackoffLimitExceeded"
    assert world.get("Job", "pay")["status"]["failed"] == 2


def job(**spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "pay", "image": "host"}]}}
    spec.setdefault("completions", 1)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "pay", "namespace": "bank"},
        "spec": {"template": template, **spec},
    }


async def test_a_stateful_set_comes_up_in_order_and_rolls_from_the_last(world: Any) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    spec = {
        "replicas": 3,
        "serviceName": "db",
        "selector": {"matchLabels": {"app": "web"}},
        "template": TEMPLATE,
        "volumeClaimTemplates": [claim],
    }
    meta = {"name": "db", "namespace": "bank"}
    await world.create(
        "StatefulSet", {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": spec}
    )
    await world.until(lambda: world.get("StatefulSet", "db")["status"]["availableReplicas"] == 3)
    assert [o["metadata"]["name"] for o in world.api.created if o["kind"] == "Pod"] == [
        "db-0",
        "db-1",
        "db-2",
    ]
    assert {c["metadata"]["name"] for c in world.api.all("PersistentVolumeClaim")} == {
        "data-db-0",
        "data-db-1",
        "data-db-2",
    }
    before = world.get("StatefulSet", "db")["status"]["updateRevision"]
    await world.edit(
        "StatefulSet", "db", {"spec": {"template": {"metadata": {"labels": {"version": "two"}}}}}
    )

    def updated() -> Any:
        status = world.get("StatefulSet", "db")["status"]
        return (
            before != status["currentRevision"] == status["updateRevision"] and status["updatedReplicas"] == 3
        )

    await world.until(updated)
    made = [o["metadata"]["name"] for o in world.api.created if o["kind"] == "Pod"]
    assert made[3:] == ["db-2", "db-1", "db-0"]
    assert len(world.api.all("ControllerRevision")) == 2


async def test_a_pod_that_fits_nowhere_says_why(world: Any) -> None:
    spec = {**TEMPLATE["spec"], "nodeSelector": {"disk": "fast"}}
    await world.create("Deployment", deployment(1, template={**TEMPLATE, "spec": spec}))

    def said() -> Any:
        return condition(world.api.all("Pod")[0], "PodScheduled")

    found = await world.until(said)
    assert found["reason"] == "Unschedulable"
    assert "0/1 nodes are available" in found["message"]
    await world.until(lambda: any(e["reason"] == "FailedScheduling" for e in world.api.all("Event")))
    node = world.get("Node", "one", "")
    node["metadata"]["labels"] = {"disk": "fast"}
    world.api._put("Node", node)
    await world.until(lambda: rolled_out(world))


async def test_each_namespace_has_the_root(world: Any) -> None:
    found = await world.until(lambda: world.get("ConfigMap", "kube-root-ca.crt"))
    assert found["data"] == {"ca.crt": "ROOT"}


async def test_events_are_counted_not_multiplied(world: Any) -> None:
    await world.create("Deployment", deployment(3))
    await world.until(lambda: rolled_out(world))
    counts = collections.Counter((e["reason"], e["message"]) for e in world.api.all("Event"))
    assert set(counts.values()) == {1}


async def test_a_pod_relabelled_away_leaves_its_slice(world: Any) -> None:
    await world.create("Service", service())
    await world.create("Deployment", deployment(1))

    def held() -> list[str]:
        return [e["targetRef"]["name"] for s in world.api.all("EndpointSlice") for e in s["endpoints"]]

    await world.until(lambda: len(held()) == 1)
    (name,) = held()
    await world.until(lambda: rolled_out(world))
    pod = world.get("Pod", name)
    pod["metadata"]["labels"] = {"app": "quarantine"}
    world.api._put("Pod", pod)
    await world.until(lambda: held() and name not in held())
    await world.until(lambda: rolled_out(world))
    assert not world.get("Pod", name)["metadata"].get("ownerReferences")


def named(name: str) -> dict[str, Any]:
    made = copy.deepcopy(deployment(1))
    made["metadata"]["name"] = name
    made["spec"]["selector"] = {"matchLabels": {"app": name}}
    made["spec"]["template"]["metadata"]["labels"] = {"app": name}
    return made


async def test_an_object_that_makes_a_controller_raise_stops_no_other(
    world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said which one, without its values, and tried again; mended, it goes on."""
    reconcile = deployments.reconcile

    def raising(seen: Any, now: Any) -> Any:
        if seen.deployment["metadata"]["name"] == "bad":
            raise decimal.Overflow("secret")
        return reconcile(seen, now)

    monkeypatch.setattr(deployments, "reconcile", raising)
    await world.create("Deployment", named("bad"))
    await world.until(lambda: "deployment-controller: bank/bad: fault: Overflow < " in caplog.text)
    await world.create("Deployment", named("good"))
    await world.until(lambda: any(p["metadata"]["labels"]["app"] == "good" for p in world.api.all("Pod")))
    assert "secret" not in caplog.text
    monkeypatch.undo()
    await world.until(lambda: any(p["metadata"]["labels"]["app"] == "bad" for p in world.api.all("Pod")))


async def test_an_object_whose_keys_cannot_be_told_stops_no_other(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await world.create("Deployment", {"metadata": {"name": "bare", "namespace": "bank"}})
    replica_set = {**named("set"), "kind": "ReplicaSet"}
    await world.create("ReplicaSet", replica_set)  # might be the Deployment's, which says not what it selects
    await world.until(lambda: "woken by ReplicaSet/bank/set: fault: KeyError < " in caplog.text)
    await world.create("Deployment", deployment(1))
    await world.until(lambda: any(p["metadata"]["labels"]["app"] == "web" for p in world.api.all("Pod")))


async def test_a_bug_outside_of_any_objects_handling_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(_queue: Any) -> Any:
        raise RuntimeError("of the queue's own")

    monkeypatch.setattr(WorkQueue, "take", take)
    api = importlib.import_module("memory_client").MemoryClient()
    with pytest.raises(BaseExceptionGroup) as raised:
        async with asyncio.timeout(10):
            await run_controllers(api, lambda: "ROOT")
    assert raised.group_contains(RuntimeError, match="of the queue's own")


@pytest.mark.parametrize("completions", [None, 2**31 - 1])
def test_a_job_of_two_billion_pods_is_begun_in_small_steps(completions: int | None) -> None:
    spec: dict[str, Any] = {"parallelism": 2**31 - 1, "template": TEMPLATE}
    if completions:
        spec |= {"completions": completions, "completionMode": "Indexed"}
    metadata = {"name": "many", "namespace": "bank", "uid": "u"}
    found = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    actions = jobs.reconcile(jobs.Observed(found, [], "1"), NOW)
    assert sum(isinstance(each, Create) for each in actions) == BURST
    assert any(isinstance(each, Again) for each in actions)


def test_a_job_whose_deadline_has_passed_is_not_looked_at_all_the_time() -> None:
    spec = {"suspend": True, "activeDeadlineSeconds": 1, "template": TEMPLATE}
    status = {"startTime": "2000-01-01T00:00:00Z"}
    found = {"metadata": {"name": "a", "namespace": "bank", "uid": "u"}, "spec": spec, "status": status}
    assert not any(isinstance(each, Again) for each in jobs.reconcile(jobs.Observed(found, [], "1"), NOW))


def test_a_parallel_set_of_two_billion_pods_is_begun_in_small_steps() -> None:
    spec = {
        "replicas": 2**31 - 1,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": "web"}},
        "template": TEMPLATE,
    }
    found = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "many", "namespace": "bank", "uid": "u"},
        "spec": spec,
    }
    actions = statefulset.reconcile(statefulset.Observed(found, [], frozenset(), []), NOW)
    assert 0 < sum(isinstance(each, Create) for each in actions) <= BURST + 1

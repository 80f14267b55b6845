from typing import Any

import pytest

from hauberk.cli.readiness import judge


def deployment(**status: int) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "bank", "generation": 2},
        "spec": {"replicas": 2},
        "status": status,
    }


def test_a_deployment_is_done_when_all_its_pods_are_new_and_ready() -> None:
    assert judge(deployment(observedGeneration=2, readyReplicas=2, updatedReplicas=2)).done


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 2},
        {"observedGeneration": 2, "readyReplicas": 1, "updatedReplicas": 2},
        {"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 1},
    ],
)
def test_it_is_not_done_while_its_controller_or_a_pod_is_behind(status: dict[str, int]) -> None:
    assert not judge(deployment(**status)).done


@pytest.mark.parametrize(
    ("condition", "done", "failed"), [("Complete", True, False), ("Failed", False, True)]
)
def test_a_job_ends_one_way_or_the_other(condition: str, done: bool, failed: bool) -> None:
    job = {
        "kind": "Job",
        "metadata": {"name": "schema", "namespace": "bank"},
        "status": {"conditions": [{"type": condition, "status": "True"}]},
    }
    found = judge(job)
    assert (found.done, found.failed) == (done, failed)

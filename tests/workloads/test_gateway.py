"""What is made for a Gateway of the Gateway API, and what is left to those who make pods themselves."""

import copy
from typing import Any

from hauberk.mesh.gateway_listeners import GATEWAY_NAME_LABEL
from hauberk.mesh.registry import GATEWAY_ANNOTATION
from hauberk.workloads.action import Create, Delete, Update
from hauberk.workloads.gateway import MANAGED_LABEL, Observed, reconcile
from hauberk.workloads.ownership import controller_of


def gateway(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "bank", "uid": "g1"},
        "spec": {"gatewayClassName": "hauberk", "listeners": [], **spec},
    }


def by_hand(kind: str = "Deployment") -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": "mine",
        "namespace": "bank",
        "uid": "d0",
        "labels": {GATEWAY_NAME_LABEL: "edge"},
        "annotations": {GATEWAY_ANNOTATION: "true"},
    }
    return {"kind": kind, "metadata": metadata, "spec": {"template": {"metadata": metadata}}}


def made(found: dict[str, Any]) -> dict[str, Any]:
    """The Deployment that is made for a Gateway, as the API keeps it."""
    actions = reconcile(Observed(found, True, None, [], []))
    (deployment,) = (a.object for a in actions if isinstance(a, Create) and a.kind == "Deployment")
    kept = copy.deepcopy(deployment)
    kept["metadata"]["uid"] = "d1"
    return kept


def test_a_gateway_of_our_class_gets_pods_under_an_account_of_their_own() -> None:
    found = gateway(infrastructure={"labels": {"team": "edge"}, "annotations": {"cost": "1"}})
    actions = reconcile(Observed(found, True, None, [], []))
    assert [(type(a), a.kind) for a in actions if isinstance(a, Create)] == [
        (Create, "ServiceAccount"),
        (Create, "Deployment"),
    ]
    deployment = made(found)
    template = deployment["spec"]["template"]
    assert deployment["metadata"]["name"] == "edge-hauberk" == template["spec"]["serviceAccountName"]
    assert template["metadata"]["labels"] == {
        "team": "edge",
        MANAGED_LABEL: "edge",
        GATEWAY_NAME_LABEL: "edge",
    }
    assert template["metadata"]["annotations"] == {"cost": "1", GATEWAY_ANNOTATION: "true"}
    owner = controller_of(deployment)
    assert owner is not None and owner["uid"] == "g1", "it goes with its Gateway"


def test_what_is_there_is_not_made_again_and_follows_its_gateway() -> None:
    before = made(gateway())
    account = {"metadata": {"name": "edge-hauberk"}}
    assert reconcile(Observed(gateway(), True, account, [before], [])) == []
    later = gateway(infrastructure={"labels": {"team": "edge"}})
    (change,) = reconcile(Observed(later, True, account, [before], []))
    assert isinstance(change, Update)
    assert change.object["spec"]["template"]["metadata"]["labels"]["team"] == "edge"


def test_pods_made_by_hand_are_left_alone_and_take_over() -> None:
    for deployments, pods in (([by_hand()], []), ([], [by_hand("Pod")])):
        assert reconcile(Observed(gateway(), True, None, deployments, pods)) == []
        own = made(gateway())
        assert reconcile(Observed(gateway(), True, None, [own, *deployments], pods)) == [
            Delete("Deployment", own)
        ]


def test_a_gateway_of_another_class_or_one_that_goes_gets_nothing() -> None:
    assert reconcile(Observed(gateway(), False, None, [], [])) == []
    own = made(gateway())
    assert reconcile(Observed(gateway(), False, None, [own], [])) == [Delete("Deployment", own)]
    going = gateway()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert reconcile(Observed(going, True, None, [], [])) == []


async def test_the_controller_is_woken_by_the_class_and_by_pods(world: Any) -> None:
    await world.create("Gateway", gateway())
    classes = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "hauberk"},
        "spec": {"controllerName": "hauberk.io/gateway-controller"},
    }
    await world.create("GatewayClass", classes)
    await world.until(lambda: world.get("Deployment", "edge-hauberk"))

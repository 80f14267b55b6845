"""A Gateway of the Gateway API that no pod of its own serves: a Deployment and an account are made for it (pure).

Whoever makes pods for a Gateway by hand keeps them: what was made here goes as soon as there are others.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hauberk.mesh.gateway_listeners import GATEWAY_NAME_LABEL
from hauberk.mesh.registry import GATEWAY_ANNOTATION
from hauberk.model.kind import Object
from hauberk.workloads.action import Action, Create, Delete, Update
from hauberk.workloads.ownership import is_controlled_by, is_deleting, owner_reference

MANAGED_LABEL = "hauberk.io/managed-gateway"
"""Tells the pods that were made here from those that somebody made by hand."""


@dataclass(frozen=True, slots=True)
class Observed:
    gateway: Object
    ours: bool
    """Whether its class is run by this controller."""
    account: Object | None
    deployments: Sequence[Object]
    """All of its namespace."""
    pods: Sequence[Object]
    """Of its namespace, with the label that names it."""


def resource_name(gateway: Object) -> str:
    """Of the Deployment and the account that are made for a Gateway: `NAME-CLASS`."""
    return f"{gateway['metadata']['name']}-{gateway['spec']['gatewayClassName']}"


def reconcile(seen: Observed) -> list[Action]:
    gateway = seen.gateway
    if is_deleting(gateway):
        return []  # what it owns goes with it
    own = [one for one in seen.deployments if is_controlled_by(one, gateway)]
    refused = bool((gateway["spec"].get("infrastructure") or {}).get("parametersRef"))
    if not seen.ours or refused or _served_by_hand(seen):
        return [Delete("Deployment", one) for one in own if not is_deleting(one)]
    name = resource_name(gateway)
    wanted = _deployment(gateway, name)
    actions: list[Action] = [
        Delete("Deployment", one)
        for one in own
        if one["metadata"]["name"] != name and not is_deleting(one)  # of a class that it no longer has
    ]
    if seen.account is None:
        actions.append(Create("ServiceAccount", _account(gateway, name)))
    found = next((one for one in own if one["metadata"]["name"] == name), None)
    if found is None:
        actions.append(Create("Deployment", wanted))
    elif not is_deleting(found) and _told(found) != _told(wanted):
        renewed = copy.deepcopy(found)
        renewed["spec"]["template"]["metadata"] = wanted["spec"]["template"]["metadata"]
        actions.append(Update("Deployment", renewed))
    return actions


def serves(labels: Mapping[str, str], annotations: Mapping[str, str], gateway: str) -> bool:
    """Whether pods with these labels and annotations are a Gateway's, and not made here."""
    return (
        labels.get(GATEWAY_NAME_LABEL) == gateway
        and annotations.get(GATEWAY_ANNOTATION) == "true"
        and MANAGED_LABEL not in labels
    )


def _served_by_hand(seen: Observed) -> bool:
    name = seen.gateway["metadata"]["name"]
    templates = [one["spec"]["template"].get("metadata") or {} for one in seen.deployments]
    pods = [one["metadata"] for one in seen.pods if not is_deleting(one)]
    return any(
        serves(one.get("labels") or {}, one.get("annotations") or {}, name) for one in templates + pods
    )


def _told(deployment: Object) -> tuple[Any, Any]:
    """What a Gateway can change of its Deployment."""
    metadata = deployment["spec"]["template"].get("metadata") or {}
    return metadata.get("labels"), metadata.get("annotations")


def _account(gateway: Object, name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(gateway, name)}


def _deployment(gateway: Object, name: str) -> Object:
    told = gateway["spec"].get("infrastructure") or {}
    selector = {MANAGED_LABEL: gateway["metadata"]["name"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(gateway, name),
        "spec": {
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {
                    "labels": {
                        **(told.get("labels") or {}),
                        **selector,
                        GATEWAY_NAME_LABEL: gateway["metadata"]["name"],
                    },
                    "annotations": {**(told.get("annotations") or {}), GATEWAY_ANNOTATION: "true"},
                },
                "spec": {
                    "serviceAccountName": name,
                    # A gateway's pod is its proxy: there is no program to run.
                    "containers": [{"name": "proxy", "image": "auto"}],
                },
            },
        },
    }


def _metadata(gateway: Object, name: str) -> dict[str, Any]:
    told = gateway["spec"].get("infrastructure") or {}
    return {
        "name": name,
        "namespace": gateway["metadata"]["namespace"],
        "labels": {
            **(told.get("labels") or {}),
            GATEWAY_NAME_LABEL: gateway["metadata"]["name"],
        },
        "annotations": dict(told.get("annotations") or {}),
        "ownerReferences": [owner_reference(gateway)],
    }

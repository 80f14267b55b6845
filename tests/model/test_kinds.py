"""Kinds: how they are found, and that Kubernetes' own have every field that an independent library knows."""

import importlib
import re
from typing import Any

import pytest

from hauberk.model import kinds
from hauberk.model.kind import Kind

KUBERNETES = {
    "": "core_v1",
    "apps": "apps_v1",
    "batch": "batch_v1",
    "discovery.k8s.io": "discovery_v1",
    "rbac.authorization.k8s.io": "rbac_v1",
    "coordination.k8s.io": "coordination_v1",
    "certificates.k8s.io": "certificates_v1",
    "apiextensions.k8s.io": "apiextensions_v1",
    "storage.k8s.io": "storage_v1",
    "policy": "policy_v1",
    "networking.k8s.io": "networking_v1",
}


def test_names_and_versions_are_distinct() -> None:
    assert len({(kind.api_version, kind.name) for kind in kinds.ALL}) == len(kinds.ALL)
    assert len({(kind.api_version, kind.plural) for kind in kinds.ALL}) == len(kinds.ALL)


def test_a_kind_is_found_as_objects_and_urls_name_it() -> None:
    assert kinds.by_gvk("apps/v1", "Deployment") is kinds.DEPLOYMENT
    assert kinds.by_gvk("apps/v2", "Deployment") is None
    assert kinds.find("Pod") is kinds.POD
    assert kinds.find("Gateway", "gateway.networking.k8s.io") is kinds.GATEWAY
    assert kinds.find("Gateway", "networking.istio.io") is kinds.ISTIO_GATEWAY
    assert kinds.find_resource("apps", "deployments") is kinds.DEPLOYMENT
    assert kinds.find_resource("apps", "pods") is None


def test_a_kind_is_found_as_people_name_it() -> None:
    assert kinds.by_name("po") == [kinds.POD]
    assert kinds.by_name("Deployment") == [kinds.DEPLOYMENT]
    assert kinds.by_name("gateways") == [kinds.ISTIO_GATEWAY, kinds.GATEWAY]
    assert kinds.by_name("gateways.networking.istio.io") == [kinds.ISTIO_GATEWAY]
    assert kinds.by_name("deployments.v1.apps") == [kinds.DEPLOYMENT]
    assert kinds.by_name("nothing") == []


@pytest.mark.parametrize(
    "kind",
    [kind for kind in kinds.ALL if kind.storage_version],
    ids=lambda kind: f"{kind.name} {kind.version}",
)
def test_older_versions_are_stored_in_one_that_is_served(kind: Kind) -> None:
    stored = kinds.find_resource(kind.group, kind.plural, kind.storage_version)
    assert stored is not None
    assert not stored.storage_version
    assert stored.schema["properties"] == kind.schema["properties"]


@pytest.mark.parametrize(
    "kind", [kind for kind in kinds.ALL if kind.group in KUBERNETES], ids=lambda kind: kind.name
)
def test_every_field_of_kubernetes_is_known(kind: Kind) -> None:
    missing = sorted(_missing(KUBERNETES[kind.group], kind.name, kind.schema, kind.name, set()))
    assert missing == []


def _missing(module: str, name: str, schema: Any, path: str, seen: set[str]) -> set[str]:
    if schema.get("x-kubernetes-preserve-unknown-fields") or f"{module}.{name}" in seen:
        return set()
    type_ = getattr(importlib.import_module(f"lightkube.models.{module}"), name, None)
    annotations = getattr(type_, "__annotations__", None)
    if not annotations or "properties" not in schema:
        return set()
    found: set[str] = set()
    for field, annotation in annotations.items():
        name_in_json = {"from_": "from", "continue_": "continue", "except_": "except"}.get(field, field)
        below = schema["properties"].get(name_in_json)
        if below is None:
            found.add(f"{path}.{name_in_json}")
            continue
        below = below["items"] if below.get("type") == "array" else below
        inner = re.findall(
            r"(?:(\w+_v\d\w*)\.)?([A-Z]\w+)", str(annotation).replace("Optional", "").replace("List", "")
        )
        for other, class_name in inner:
            found |= _missing(
                other or module, class_name, below, f"{path}.{name_in_json}", {*seen, f"{module}.{name}"}
            )
    return found


def test_columns_read_objects_that_have_hardly_any_field() -> None:
    bare = {"metadata": {"name": "x"}}
    for kind in kinds.ALL:
        for column in kind.columns:
            column.value(bare)


def test_the_columns_of_a_pod_say_how_it_is() -> None:
    pod = {
        "metadata": {"name": "x"},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n"},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {"name": "a", "ready": True, "restartCount": 2, "state": {"running": {}}},
                {
                    "name": "b",
                    "ready": False,
                    "restartCount": 1,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                },
            ],
        },
    }
    row = {column.name: column.value(pod) for column in kinds.POD.columns}
    assert row["Ready"] == "1/2"
    assert row["Status"] == "CrashLoopBackOff"
    assert row["Restarts"] == 3
    assert row["Node"] == "n"

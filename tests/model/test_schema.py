"""Schemas and types agree: what one accepts, the other reads."""

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from hauberk.model import kinds
from hauberk.model.gateway_api.route import HTTPRoute
from hauberk.model.istio.security import AuthorizationPolicy
from hauberk.model.istio.virtual_service import VirtualService
from hauberk.model.kind import Kind
from hauberk.model.kubernetes.pod import Pod
from hauberk.model.kubernetes.service import Service
from hauberk.model.schema import at
from hauberk.model.struct import kubernetes_name, parse
from hauberk.model.validation import validate_object

TYPES: list[tuple[Kind, type[msgspec.Struct]]] = [
    (kinds.SERVICE, Service),
    (kinds.VIRTUAL_SERVICE, VirtualService),
    (kinds.AUTHORIZATION_POLICY, AuthorizationPolicy),
    (kinds.HTTP_ROUTE, HTTPRoute),
    (kinds.POD, Pod),
]


@st.composite
def instances(draw: st.DrawFn, schema: dict[str, Any], depth: int = 0) -> Any:
    """A value that the schema allows."""
    if schema.get("x-kubernetes-int-or-string"):
        return draw(st.sampled_from([1, "1", "100m"] if schema.get("format") == "quantity" else [1, "a"]))
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    match schema.get("type"):
        case "object":
            return draw(objects(schema, depth))
        case "array":
            least = schema.get("minItems", 0)
            if "x-kubernetes-list-map-keys" in schema:
                return [
                    draw(instances(schema["items"], depth + 1))
                    for _ in range(max(least, draw(st.integers(0, 1))))
                ]
            return [
                draw(instances(schema["items"], depth + 1))
                for _ in range(max(least, draw(st.integers(0, 2))))
            ]
        case "integer":
            return draw(st.integers(schema.get("minimum", -5), schema.get("maximum", 10_000)))
        case "number":
            return draw(st.floats(schema.get("minimum", 0), schema.get("maximum", 100)))
        case "boolean":
            return draw(st.booleans())
        case "string":
            return draw(st.text("abc/.-", min_size=schema.get("minLength", 0), max_size=8))
    return {"free": 1}


@st.composite
def objects(draw: st.DrawFn, schema: dict[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    chosen = set(schema.get("required", ()))
    if depth < 6 and properties:
        chosen |= set(draw(st.lists(st.sampled_from(sorted(properties)), max_size=4, unique=True)))
    result = {name: draw(instances(properties[name], depth + 1)) for name in sorted(chosen)}
    if isinstance(schema.get("additionalProperties"), dict):
        result["key"] = draw(instances(schema["additionalProperties"], depth + 1))
    return result


@pytest.mark.parametrize(("kind", "type_"), TYPES, ids=lambda value: getattr(value, "name", ""))
@given(data=st.data())
@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
def test_what_the_schema_allows_is_read_and_written_again(
    kind: Kind, type_: type[msgspec.Struct], data: st.DataObject
) -> None:
    obj = data.draw(objects(dict(kind.schema), 0))
    assert validate_object(kind, obj) == []
    typed = parse(type_, obj)
    again = msgspec.json.decode(msgspec.json.encode(typed))
    assert validate_object(kind, again) == []
    assert parse(type_, again) == typed


def test_names_follow_kubernetes() -> None:
    assert kubernetes_name("pod_ips") == "podIPs"
    assert kubernetes_name("cluster_ip") == "clusterIP"
    assert kubernetes_name("host_pid") == "hostPID"
    assert kubernetes_name("ip") == "ip"


def test_lists_carry_the_rules_of_strategic_merge() -> None:
    containers = at(dict(kinds.POD.schema), ("spec", "containers"))
    assert containers is not None
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    ports = at(dict(kinds.DEPLOYMENT.schema), ("spec", "template", "spec", "containers", "ports"))
    assert ports is not None
    assert ports["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    volumes = at(dict(kinds.POD.schema), ("spec", "volumes"))
    assert volumes is not None
    assert volumes["x-kubernetes-patch-strategy"] == "merge,retainKeys"


@pytest.mark.parametrize(
    "kind", [kind for kind in kinds.ALL if not kind.storage_version], ids=lambda kind: kind.name
)
def test_every_kind_is_described(kind: Kind) -> None:
    assert kind.schema["description"]
    group_version_kind = {"group": kind.group, "version": kind.version, "kind": kind.name}
    assert kind.schema["x-kubernetes-group-version-kind"] == [group_version_kind]

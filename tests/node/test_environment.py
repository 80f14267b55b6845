"""Variables and arguments as Kubernetes documents them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.node.environment import (
    ConfigurationError,
    References,
    arguments,
    environment,
    expand,
    referenced,
)

POD = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": '2"', "a": "1"}},
    "spec": {"containers": [], "nodeName": "n"},
}
REFERENCES = References(
    {"m": {"data": {"k": "v"}, "binaryData": {"b": "AAE="}}},
    {"s": {"data": {"k": base64.b64encode(b"secret").decode()}}},
)


def variables(*env: dict, **container: object) -> dict[str, str]:
    return environment(POD, {"name": "c", "env": list(env)} | container, REFERENCES, "10.0.0.1")


def test_a_variable_refers_to_those_before_it_and_an_unknown_name_stays() -> None:
    assert expand("$(A) $(B) $$(A) $A $(", {"A": "1"}) == "1 $(B) $(A) $A $("
    found = variables(
        {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)"}, {"name": "C", "value": "3"}
    )
    assert (found["A"], found["B"]) == ("1", "1$(C)")


@given(st.text(alphabet="$()AB ", max_size=30))
def test_expansion_of_any_text_ends_and_leaves_text_without_dollars_alone(text: str) -> None:
    assert isinstance(expand(text, {"A": "1"}), str)
    assert expand(text.replace("$", ""), {"A": "1"}) == text.replace("$", "")


def test_values_come_from_maps_secrets_and_fields() -> None:
    found = variables(
        {"name": "M", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
        {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}},
        {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "none", "optional": True}}},
        envFrom=[{"prefix": "P_", "secretRef": {"name": "s"}}],
    )
    assert (found["M"], found["S"], found["N"], found["P_k"]) == ("v", "secret", "1", "secret")
    assert found["L"] == 'a="1"\nb="2\\""'
    assert "O" not in found


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ({"valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}}, 'configmap "x" not found'),
        ({"valueFrom": {"secretKeyRef": {"name": "s", "key": "x"}}}, 'key "x" not found in secret "s"'),
        ({"valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}}, "expected one of"),
    ],
)
def test_what_is_missing_is_named(variable: dict, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        variables({"name": "A"} | variable)


def test_the_host_has_no_program_of_its_own() -> None:
    with pytest.raises(ConfigurationError, match="set `command`"):
        arguments({"name": "c", "args": ["x"]}, {})
    assert arguments({"name": "c", "command": ["a", "$(X)"], "args": ["$$(X)"]}, {"X": "1"}) == [
        "a",
        "1",
        "$(X)",
    ]


def test_all_that_a_pod_refers_to_is_found() -> None:
    pod = {
        "spec": {
            "volumes": [
                {"secret": {"secretName": "a"}},
                {"projected": {"sources": [{"configMap": {"name": "b"}}]}},
            ],
            "containers": [{"envFrom": [{"secretRef": {"name": "c"}}]}],
            "initContainers": [
                {"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "d", "key": "k"}}}]}
            ],
        }
    }
    assert referenced(pod) == ({"b", "d"}, {"a", "c"})

"""The three patches: vectors, and what must hold for any object."""

from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.store.patch import PatchError, json_patch, merge_patch, strategic_merge_patch

NAMED = {
    "type": "array",
    "x-kubernetes-patch-merge-key": "name",
    "x-kubernetes-patch-strategy": "merge",
    "items": {"type": "object", "properties": {"name": {}, "value": {}, "deep": {"type": "object"}}},
}
SCHEMA = {
    "type": "object",
    "properties": {
        "named": NAMED,
        "primitive": {"type": "array", "x-kubernetes-patch-strategy": "merge", "items": {"type": "string"}},
        "atomic": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "strategy": {"type": "object", "x-kubernetes-patch-strategy": "retainKeys"},
    },
}
A, B, C = ({"name": name, "value": name} for name in "abc")

VECTORS: list[tuple[str, Any, Any, Any]] = [
    ("a field is set", {"x": 1}, {"y": 2}, {"x": 1, "y": 2}),
    ("null deletes", {"x": 1, "y": 2}, {"x": None}, {"y": 2}),
    ("maps merge", {"map": {"a": "1"}}, {"map": {"b": "2"}}, {"map": {"a": "1", "b": "2"}}),
    ("a map is replaced", {"map": {"a": "1"}}, {"map": {"$patch": "replace", "b": "2"}}, {"map": {"b": "2"}}),
    ("a map is emptied", {"map": {"a": "1"}}, {"map": {"$patch": "delete"}}, {"map": {}}),
    (
        "items merge by key",
        {"named": [A, B]},
        {"named": [{"name": "b", "value": 2}]},
        {"named": [A, {"name": "b", "value": 2}]},
    ),
    ("an item is added", {"named": [A]}, {"named": [B]}, {"named": [A, B]}),
    ("a list is made", {}, {"named": [A]}, {"named": [A]}),
    ("an item is deleted", {"named": [A, B]}, {"named": [{"name": "a", "$patch": "delete"}]}, {"named": [B]}),
    ("a list is replaced", {"named": [A, B]}, {"named": [{"$patch": "replace"}, C]}, {"named": [C]}),
    (
        "a field of an item goes",
        {"named": [A]},
        {"named": [{"name": "a", "value": None}]},
        {"named": [{"name": "a"}]},
    ),
    (
        "order is set",
        {"named": [A, B]},
        {"$setElementOrder/named": [{"name": "c"}, {"name": "b"}, {"name": "a"}], "named": [C]},
        {"named": [C, B, A]},
    ),
    (
        "order is set though nothing else changes",
        {"named": [A, B]},
        {"$setElementOrder/named": [{"name": "b"}, {"name": "a"}]},
        {"named": [B, A]},
    ),
    (
        "what the order does not name stays",
        {"named": [A, B, C]},
        {"$setElementOrder/named": [{"name": "c"}]},
        {"named": [A, B, C]},
    ),
    ("primitives are a set", {"primitive": ["a"]}, {"primitive": ["b", "a"]}, {"primitive": ["a", "b"]}),
    (
        "primitives are deleted",
        {"primitive": ["a", "b", "c"]},
        {"$deleteFromPrimitiveList/primitive": ["a", "c"]},
        {"primitive": ["b"]},
    ),
    (
        "primitives are ordered",
        {"primitive": ["a", "b"]},
        {"$setElementOrder/primitive": ["c", "b", "a"], "primitive": ["c"]},
        {"primitive": ["c", "b", "a"]},
    ),
    ("an atomic list is replaced", {"atomic": ["a", "b"]}, {"atomic": ["c"]}, {"atomic": ["c"]}),
    (
        "keys are retained",
        {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"x": 1}}},
        {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
        {"strategy": {"type": "Recreate"}},
    ),
    (
        "a new object takes no directives",
        {},
        {"map": {"a": None, "b": "1"}},
        {"map": {"b": "1"}},
    ),
]


@pytest.mark.parametrize(
    ("target", "patch", "expected"), [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS]
)
def test_strategic_merge(target: Any, patch: Any, expected: Any) -> None:
    assert strategic_merge_patch(target, patch, SCHEMA) == expected


@pytest.mark.parametrize(
    "patch",
    [
        {"named": [{"value": 1}]},
        {"named": [1, {"name": "a"}]},
        {"map": {"$patch": "no"}},
        {"$setElementOrder/named": "a"},
        {"$deleteFromPrimitiveList/primitive": {}},
        [],
        "text",
    ],
)
def test_a_malformed_strategic_patch_is_refused(patch: Any) -> None:
    with pytest.raises(PatchError):
        strategic_merge_patch({"named": [A], "map": {"a": "1"}, "primitive": ["a"]}, patch, SCHEMA)


RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "expected"), RFC_7386)
def test_the_examples_of_rfc_7386(target: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(target, patch) == expected


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=20,
)
json_objects = st.dictionaries(st.sampled_from("abcd"), json_values, max_size=4)


@given(json_objects, json_values)
def test_a_merge_patch_twice_is_as_once(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(json_values, json_values)
def test_a_json_patch_makes_what_it_was_made_for(old: Any, new: Any) -> None:
    operations = jsonpatch.make_patch({"v": old}, {"v": new}).patch
    assert json_patch({"v": old}, operations) == {"v": new}


@given(json_objects, st.lists(json_objects | scalars, max_size=3))
def test_any_json_patch_applies_or_is_refused(target: Any, operations: Any) -> None:
    try:
        json_patch(target, operations)
    except PatchError:
        return


@given(json_objects, json_objects)
def test_without_a_schema_a_strategic_merge_is_a_merge(target: Any, patch: Any) -> None:
    def no_nulls_in_lists(value: Any, inside: bool = False) -> bool:
        if isinstance(value, dict):
            return all(no_nulls_in_lists(v, inside) for v in value.values()) and not (
                inside and None in value.values()
            )
        return not isinstance(value, list) or all(no_nulls_in_lists(v, True) for v in value)

    if no_nulls_in_lists(patch):
        assert strategic_merge_patch(target, patch, {}) == merge_patch(target, patch)


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("abcdef"), unique=True))
def test_set_order_wins(existing: list[str], order: list[str]) -> None:
    added = [name for name in order if name not in existing]
    patch = {"$setElementOrder/primitive": order, "primitive": added}
    result = strategic_merge_patch({"primitive": existing}, patch, SCHEMA)["primitive"]
    assert [name for name in result if name in order] == order
    assert sorted(result) == sorted({*existing, *order})

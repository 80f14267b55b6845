"""Schema validation: everything that is wrong is listed, with the path and what was expected."""

from typing import Any

import pytest

from hauberk.model import kinds
from hauberk.model.validation import MOST_ERRORS, validate, validate_object

POD = {"spec": {"containers": [{"name": "a", "image": "host"}]}}


def errors(obj: dict[str, Any]) -> dict[str, str]:
    return {error.field: error.message for error in validate_object(kinds.POD, obj)}


def test_a_right_object_has_no_errors() -> None:
    assert errors(POD) == {}


def test_all_errors_are_listed_at_once() -> None:
    found = errors(
        {
            "metadata": {"labels": {"a": 1}},
            "spec": {
                "containers": [
                    {"imag": "host", "ports": [{"containerPort": 70000}, {"containerPort": "80"}]}
                ],
                "restartPolicy": "Sometimes",
                "hostNetwork": "yes",
            },
        }
    )
    assert set(found) == {
        "metadata.labels[a]",
        "spec.containers[0].name",
        "spec.containers[0].imag",
        "spec.containers[0].ports[0].containerPort",
        "spec.containers[0].ports[1].containerPort",
        "spec.restartPolicy",
        "spec.hostNetwork",
    }
    assert "do you mean image?" in found["spec.containers[0].imag"]
    assert "expected true or false" in found["spec.hostNetwork"]
    assert 'found "Sometimes"' in found["spec.restartPolicy"]


def test_null_is_an_absent_field() -> None:
    assert errors({"spec": {"containers": [{"name": "a", "command": None}], "nodeName": None}}) == {}


def test_items_of_a_keyed_list_are_distinct() -> None:
    assert (
        "second item"
        in errors({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}})["spec.containers[1]"]
    )


@pytest.mark.parametrize("value", ["1", "500m", "1.5Gi", 2, 0.5, "1e3", "12E"])
def test_quantities(value: Any) -> None:
    resources = {"limits": {"cpu": value}}
    assert errors({"spec": {"containers": [{"name": "a", "resources": resources}]}}) == {}


@pytest.mark.parametrize("value", ["", "1 Gi", "many", True, [], "1GiB"])
def test_wrong_quantities(value: Any) -> None:
    resources = {"limits": {"cpu": value}}
    assert errors({"spec": {"containers": [{"name": "a", "resources": resources}]}})


def test_the_list_of_errors_is_bounded() -> None:
    many = {f"field{index}": 1 for index in range(10 * MOST_ERRORS)}
    assert len(validate(kinds.POD.schema, {"spec": {"containers": [{"name": "a"}], **many}})) == MOST_ERRORS

"""Limits as the kernel's files have them, in both versions of control groups."""

from pathlib import Path

import pytest

from hauberk.node.control_group import ControlGroups, quantity, settings

CONTAINER = {"name": "c", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}}


@pytest.mark.parametrize(
    ("text", "value"), [("250m", "0.25"), ("2", "2"), ("1.5Gi", "1610612736"), ("1k", "1000")]
)
def test_a_quantity_is_a_number_with_a_suffix(text: str, value: str) -> None:
    assert float(quantity(text)) == float(value)


@pytest.mark.parametrize("text", ["", "x", "1Q", "-1", "1 Gi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        quantity(text)


def test_limits_in_both_versions() -> None:
    assert settings(CONTAINER, 2) == {
        "memory": {"memory.max": "67108864"},
        "cpu": {"cpu.max": "25000 100000"},
    }
    assert settings(CONTAINER, 1)["cpu"] == {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "25000"}
    assert settings({"name": "c"}, 2) == {}


def test_in_version_two_each_group_above_passes_the_controller_on(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    [group] = ControlGroups("i", tmp_path).make("u", CONTAINER)
    assert (group / "memory.max").read_text() == "67108864"
    for above in (tmp_path, tmp_path / "hauberk" / "i", tmp_path / "hauberk" / "i" / "u"):
        assert (above / "cgroup.subtree_control").exists()


def test_a_machine_without_a_controller_limits_nothing(tmp_path: Path) -> None:
    assert ControlGroups("i", tmp_path).make("u", CONTAINER) == []

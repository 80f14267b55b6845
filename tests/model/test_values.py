"""Quantities, durations and selectors."""

from decimal import Decimal

import pytest

from hauberk.model.duration import parse_duration
from hauberk.model.kubernetes.meta import LabelSelector, LabelSelectorRequirement
from hauberk.model.quantity import parse_quantity
from hauberk.model.selector import matches


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", "0.5"),
        ("1Gi", "1073741824"),
        ("1.5k", "1500"),
        ("1e3", "1000"),
        ("2E", "2000000000000000000"),
        (3, "3"),
    ],
)
def test_quantities(text: str | int, amount: str) -> None:
    assert parse_quantity(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    ["", "Gi", "1 Gi", "1GB", "0x1", "9" * 1_000_001, "9" * 999_999 + "e0", "1e999999999", "1e999", "16E"],
    ids=lambda text: text[:20],
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="expected a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(("text", "seconds"), [("1.5s", 1.5), ("250ms", 0.25), ("1h30m", 5400), ("0s", 0)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "-1s", "1d", "99999999999h", "9" * 400 + "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


def test_every_requirement_of_a_selector_must_hold() -> None:
    labels = {"app": "web", "tier": "front"}
    assert matches(LabelSelector(), labels)
    assert matches(LabelSelector(match_labels={"app": "web"}), labels)
    assert not matches(LabelSelector(match_labels={"app": "db"}), labels)
    for operator, values, holds in (
        ("In", ("front", "back"), True),
        ("NotIn", ("back",), True),
        ("NotIn", ("front",), False),
        ("Exists", (), True),
        ("DoesNotExist", (), False),
    ):
        requirement = LabelSelectorRequirement(key="tier", operator=operator, values=values)
        assert matches(LabelSelector(match_expressions=(requirement,)), labels) is holds
    absent = LabelSelectorRequirement(key="zone", operator="NotIn", values=("a",))
    assert matches(LabelSelector(match_expressions=(absent,)), labels)

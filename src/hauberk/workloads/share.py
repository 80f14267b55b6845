"""Arithmetic of rollouts: how many pods may be too many or missing, and fair shares of a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hauberk.model.kind import Object


@dataclass(frozen=True, slots=True)
class Limits:
    """Pods beyond the wanted number, and pods short of it, that a rollout may have at a time."""

    surge: int
    unavailable: int


def limits(deployment: Object) -> Limits:
    """`maxSurge` rounds up and `maxUnavailable` down; never are both 0, or nothing could move."""
    strategy = deployment["spec"].get("strategy") or {}
    replicas = deployment["spec"].get("replicas", 1)
    if strategy.get("type") == "Recreate":
        return Limits(surge=0, unavailable=replicas)
    rolling = strategy.get("rollingUpdate") or {}
    surge = amount(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = min(replicas, amount(rolling.get("maxUnavailable", "25%"), replicas, round_up=False))
    return Limits(surge, unavailable if surge or unavailable else 1)


def amount(value: Any, whole: int, *, round_up: bool) -> int:
    """An `intstr.IntOrString`: a number, or a percentage of `whole`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int):
        return value
    digits = str(value).removesuffix("%")
    if not str(value).endswith("%") or not digits.isdecimal():
        raise ValueError(f"expected a number or a percentage such as 25%, found {value!r}")
    hundredfold = int(digits) * whole
    return -(-hundredfold // 100) if round_up else hundredfold // 100


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares of `total` in proportion to `weights` (largest remainder; ties to the later one)."""
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (total * weights[i] % whole, i), reverse=True)
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares

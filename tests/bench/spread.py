"""What several rounds of the same measurement say together."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self


@dataclass(frozen=True)
class Spread:
    """Least, middle and greatest of the rounds. A run whose ends lie far apart was disturbed."""

    least: float
    middle: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Raises ValueError if there is no value."""
        if not values:
            raise ValueError("expected at least one round, found none")
        return cls(min(values), median(values), max(values))

    @property
    def width(self) -> float:
        """The distance of the ends, as a part of the middle; 0 where the middle is 0."""
        return (self.greatest - self.least) / abs(self.middle) if self.middle else 0.0


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest of `values` that at least `part` (0 to 1) of them do not exceed (nearest rank).

    Raises ValueError if there is no value.
    """
    if not values:
        raise ValueError("expected at least one value, found none")
    ordered = sorted(values)
    rank = -(-len(ordered) * part // 1)
    return ordered[max(int(rank), 1) - 1]

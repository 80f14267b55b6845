"""When an authority's successor is made and when it takes over: pure, so that years pass in a test."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from hauberk.identity.certificate import Validity

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Margins:
    """How long before the end a successor is made, and used; capped by a half and a sixth of the life."""

    prepare: timedelta
    use: timedelta

    def prepare_at(self, validity: Validity) -> datetime:
        return validity.not_after - min(validity.lifetime / 2, self.prepare)

    def use_at(self, validity: Validity) -> datetime:
        return validity.not_after - min(validity.lifetime / 6, self.use)


INTERMEDIATE = Margins(prepare=timedelta(days=30), use=timedelta(days=7))
ROOT = Margins(prepare=timedelta(days=365), use=timedelta(days=180))
"""Wide enough that an intermediate signed just before the change still lives its whole life."""


@dataclass(frozen=True, slots=True)
class Succession(Generic[T]):
    """The authority in use, the one made ready to follow, and those no longer used but still trusted."""

    current: T
    following: T | None = None
    retired: tuple[T, ...] = ()

    @property
    def all(self) -> tuple[T, ...]:
        """Everything that a verifier must still, or already, accept."""
        following = () if self.following is None else (self.following,)
        return (*self.retired, self.current, *following)


def advance(
    line: Succession[T],
    now: datetime,
    margins: Margins,
    validity_of: Callable[[T], Validity],
    make: Callable[[], T],
) -> Succession[T]:
    """Do all that is due at `now`; the same line again if nothing is. `make` is called only when due."""
    line = _without_expired(line, now, validity_of)
    line = _promote(line, now, margins, validity_of)
    if line.following is None and now >= margins.prepare_at(validity_of(line.current)):
        line = Succession(line.current, make(), line.retired)
        line = _promote(line, now, margins, validity_of)
    return line


def next_due(line: Succession[T], margins: Margins, validity_of: Callable[[T], Validity]) -> datetime:
    """When `advance` has something to do again."""
    validity = validity_of(line.current)
    due = margins.prepare_at(validity) if line.following is None else margins.use_at(validity)
    return min([due, *(validity_of(each).not_after for each in line.retired)])


def _promote(
    line: Succession[T], now: datetime, margins: Margins, validity_of: Callable[[T], Validity]
) -> Succession[T]:
    if line.following is None or now < margins.use_at(validity_of(line.current)):
        return line
    return _without_expired(Succession(line.following, None, (*line.retired, line.current)), now, validity_of)


def _without_expired(
    line: Succession[T], now: datetime, validity_of: Callable[[T], Validity]
) -> Succession[T]:
    retired = tuple(each for each in line.retired if now <= validity_of(each).not_after)
    return line if retired == line.retired else Succession(line.current, line.following, retired)

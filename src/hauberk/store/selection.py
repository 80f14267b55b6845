"""Which objects a list or watch asks for, and where a list that is read in pages goes on."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from hauberk.model.kind import Kind, Object
from hauberk.store import status
from hauberk.store.database import Key
from hauberk.store.selectors import (
    FieldSelector,
    FieldTerm,
    LabelSelector,
    SelectorError,
    parse_field_selector,
    parse_label_selector,
)
from hauberk.store.storage import Change, Stored, Watcher

WatchType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or watch asks for."""

    labels: LabelSelector = field(default_factory=LabelSelector)
    fields: FieldSelector = field(default_factory=FieldSelector)

    @classmethod
    def parse(cls, kind: Kind, labels: str, fields: str) -> "Selection":
        """Raises `ApiError` 400."""
        try:
            return cls(parse_label_selector(labels), parse_field_selector(fields, kind.selectable_fields))
        except SelectorError as error:
            raise status.bad_request(str(error)) from error

    def named(self, name: str) -> "Selection":
        """Of these only the one of that name."""
        terms = (FieldTerm("metadata.name", name, True), *self.fields.terms)
        return Selection(self.labels, FieldSelector(terms))

    @property
    def everything(self) -> bool:
        return not self.labels.requirements and not self.fields.terms

    def matches(self, obj: Object) -> bool:
        return self.everything or (
            self.labels.matches(obj["metadata"].get("labels") or {}) and self.fields.matches(obj)
        )


def watch_event(change: Change, selection: Selection) -> tuple[WatchType, Stored] | None:
    """What a watcher with this selection sees of a change: entering it is ADDED, leaving it is DELETED."""
    before = change.before is not None and selection.matches(change.before.object)
    now = change.now is not None and selection.matches(change.now.object)
    if now:
        return ("MODIFIED" if before else "ADDED"), change.last
    return ("DELETED", change.last) if before else None


async def events(watcher: Watcher, selection: Selection) -> AsyncIterator[tuple[WatchType, Stored]]:
    """What `watcher` sees, without end. Raises `LaggingError`."""
    while True:
        for change in watcher.take():
            if event := watch_event(change, selection):
                yield event
        await watcher.wait()


def format_continue(revision: int, key: Key) -> str:
    """A token for what follows `key`, at `revision`."""
    return base64.urlsafe_b64encode(msgspec.json.encode([revision, *key])).decode().rstrip("=")


def parse_continue(token: str, resource: str) -> tuple[int, Key]:
    """The revision and the last key that was read. Raises `ApiError` 400."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        revision, *key = msgspec.json.decode(raw, type=tuple[int, str, str, str])
    except ValueError as error:
        raise status.bad_request(
            "continue key is not valid: expected a token that a list answered"
        ) from error
    if key[0] != resource:
        raise status.bad_request(f"continue key is not valid: it is of {key[0]}, not of {resource}")
    return revision, Key(*key)

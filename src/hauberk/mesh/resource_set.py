"""Resources of one type, immutable, and what changed between two such sets: found once, used by every stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from hauberk.mesh.serialization import Resource


@dataclass(frozen=True, slots=True)
class Changes:
    """Names whose resource is new or different, and names that are gone."""

    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class ResourceSet:
    """Resources by name. Equal resources are the same object (`Interning`), so comparing is cheap."""

    __slots__ = ("__weakref__", "_changes", "_resources")

    def __init__(self, resources: Mapping[str, Resource]) -> None:
        self._resources = resources
        self._changes: WeakKeyDictionary[ResourceSet, Changes] = WeakKeyDictionary()

    def get(self, name: str) -> Resource | None:
        return self._resources.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._resources)

    def __len__(self) -> int:
        return len(self._resources)

    def values(self) -> Iterator[Resource]:
        return iter(self._resources.values())

    def changes_since(self, older: ResourceSet) -> Changes:
        if older is self:
            return NO_CHANGES
        known = self._changes.get(older)
        if known is None:
            known = self._compare(older)
            self._changes[older] = known
        return known

    def replacing(self, updates: Mapping[str, Resource]) -> ResourceSet:
        """The set with these in the place of those of their names; the set itself if there are none."""
        if not updates:
            return self
        made = ResourceSet({**self._resources, **updates})
        made._changes[self] = Changes(tuple(updates))
        return made

    def _compare(self, older: ResourceSet) -> Changes:
        was = older._resources
        updated = tuple(name for name, resource in self._resources.items() if was.get(name) is not resource)
        removed = tuple(name for name in was if name not in self._resources)
        return Changes(updated, removed)


NO_CHANGES = Changes()
EMPTY = ResourceSet({})


class LayeredSet:
    """What one proxy sees of one type: a set shared with others, and a small one of its own."""

    __slots__ = ("own", "shared")

    def __init__(self, shared: ResourceSet = EMPTY, own: ResourceSet = EMPTY) -> None:
        self.shared = shared
        self.own = own

    def get(self, name: str) -> Resource | None:
        return self.own.get(name) or self.shared.get(name)

    def __iter__(self) -> Iterator[str]:
        yield from self.shared
        yield from self.own

    def values(self) -> Iterator[Resource]:
        yield from self.shared.values()
        yield from self.own.values()

    def __len__(self) -> int:
        return len(self.shared) + len(self.own)

    def same(self, other: LayeredSet) -> bool:
        return self.shared is other.shared and self.own is other.own

    def changes_since(self, older: LayeredSet) -> Changes:
        shared = self.shared.changes_since(older.shared)
        own = self.own.changes_since(older.own)
        if own == NO_CHANGES:
            return shared
        return Changes(shared.updated + own.updated, shared.removed + own.removed)

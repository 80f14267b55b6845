"""A value that others follow: the latest state, never the history."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Watched(Generic[T]):
    """Holds a value, None until there is one. For use within one event loop."""

    def __init__(self, value: T | None = None) -> None:
        self._value = value
        self._changed = asyncio.Event()

    @property
    def value(self) -> T | None:
        """The value now."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake all who follow it; the same value again wakes nobody."""
        if value == self._value:
            return
        self._value = value
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def get(self) -> T:
        """The value, as soon as there is one."""
        async for value in self.changes():
            return value
        raise AssertionError("changes() never ends")

    async def changes(self) -> AsyncIterator[T]:
        """The value at once if there is one, then each new one; a slow reader sees only the newest."""
        while True:
            changed = self._changed
            if self._value is not None:
                yield self._value
            await changed.wait()

"""A queue of keys to look at: each once, never two at a time for one key, failures ever more slowly."""

import asyncio
import random
from collections import OrderedDict

from hauberk.workloads.action import Key

FIRST_BACKOFF, LONGEST_BACKOFF = 0.05, 60.0
LEAST_WAIT = 0.02
"""Seconds: nothing is added later sooner, so that no number in an object makes its controller spin."""


class WorkQueue:
    """Keys wait in order of arrival. A key added while it is worked on comes up again afterwards."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, None] = OrderedDict()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._arrived = asyncio.Event()

    def add(self, key: Key) -> None:
        self._cancel(key)
        if key in self._working:
            self._again.add(key)
            return
        self._waiting[key] = None
        self._arrived.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Add it then (but not before `LEAST_WAIT`), unless it is due earlier already."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(LEAST_WAIT, seconds)
        if (timer := self._timers.get(key)) is not None and timer.when() <= due:
            return
        self._cancel(key)
        self._timers[key] = loop.call_at(due, self.add, key)

    async def take(self) -> Key:
        """The key that has waited longest; the taker calls `done` with it."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        key, _ = self._waiting.popitem(last=False)
        self._working.add(key)
        return key

    def done(self, key: Key) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def failed(self, key: Key) -> float:
        """Try it again later; returns in how many seconds. Call before `done`."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        longest = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(count, 20))
        seconds = longest * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, not a secret)
        self._again.discard(key)  # what came in meanwhile waits as well: it is the same key
        self.add_after(key, seconds)
        return seconds

    def succeeded(self, key: Key) -> None:
        """Forget that it failed."""
        self._failures.pop(key, None)

    def __len__(self) -> int:
        return len(self._waiting)

    def _cancel(self, key: Key) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

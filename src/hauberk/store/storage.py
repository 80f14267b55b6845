"""All objects in memory, in step with the database's log: reads, history, watches and atomic writes.

Objects handed out are shared and must not be changed: copy before changing.
"""

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from hauberk.model.kind import Object
from hauberk.store.database import (
    Conflict,
    Database,
    DatabaseError,
    Guard,
    Key,
    Operation,
    Outcome,
    Put,
    Remove,
    Row,
    Transaction,
)
from hauberk.store.encryption import Sealer
from hauberk.store.writer import Writer

log = logging.getLogger(__name__)

RETAINED = 10_000
"""Revisions that a watch can resume from."""
RETAINED_BYTES = 64 * 1024 * 1024
"""What these may hold; with large objects it is fewer of them."""
OBJECT_BYTES = 1536 * 1024
"""Of one object in the store, as etcd has it."""
FOLLOW_SECONDS = 1.0
"""How often a process looks for what other processes wrote."""
RESEALED_TOGETHER = 500
"""Values that one transaction encrypts anew."""
WATCH_BACKLOG = 10_000
"""Events that a watcher may lag behind before it is dropped."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object at one revision."""

    key: Key
    revision: int
    object: Object
    _encoded: dict[str, bytes] = field(default_factory=dict, compare=False)

    def in_version(self, api_version: str) -> Object:
        """The object under `api_version`, which may not be the one that it was written in."""
        if self.object.get("apiVersion") == api_version:
            return self.object
        return {**self.object, "apiVersion": api_version}

    def encoded(self, api_version: str) -> bytes:
        """The object's JSON, encoded once for everyone who wants it."""
        found = self._encoded.get(api_version)
        if found is None:
            found = self._encoded[api_version] = msgspec.json.encode(self.in_version(api_version))
        return found


@dataclass(frozen=True, slots=True)
class Change:
    """A step of history: `now` is None after a deletion, `before` is None at a creation.

    `last` is the state that a watch shows: `now`, or at a deletion the last state.
    """

    revision: int
    last: Stored
    now: Stored | None
    before: Stored | None


@dataclass(frozen=True, slots=True)
class Write:
    """Set `key` to `object` if it is still as `expected` (None: absent)."""

    key: Key
    object: Object
    expected: Stored | None


@dataclass(frozen=True, slots=True)
class Erase:
    """Delete `expected` if it has not changed; `object` is the last state that watches show."""

    object: Object
    expected: Stored

    @property
    def key(self) -> Key:
        return self.expected.key


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Hold a transaction to `stored` not having changed since it was read."""

    stored: Stored


Step = Write | Erase | Unchanged


class WriteConflictError(Exception):
    """Somebody else changed `key` first."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"{key} was changed at the same time")
        self.key = key


class TooLargeError(Exception):
    """An object does not fit into the store."""

    def __init__(self, size: int) -> None:
        super().__init__(f"expected an object of at most {OBJECT_BYTES} bytes, found {size}")


class CompactedError(Exception):
    """History before `oldest` is forgotten (or, after a restore, the revision asked for is yet to come)."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")
        self.asked = asked
        self.oldest = oldest


class LaggingError(Exception):
    """The watcher did not keep up and was dropped."""


class Watcher:
    """A queue of changes of one resource, from a revision on. Iterating raises `LaggingError` when dropped."""

    def __init__(self, namespace: str | None, backlog: Sequence[Change], revision: int) -> None:
        self.namespace = namespace
        self.revision = revision
        """Everything up to here was handed out."""
        self._queue = deque(backlog)
        self._wake = asyncio.Event()
        self._lagging = False

    def offer(self, change: Change) -> None:
        if self._lagging or (self.namespace is not None and change.last.key.namespace != self.namespace):
            return
        if len(self._queue) >= WATCH_BACKLOG:
            self._lagging = True
            self._queue.clear()
        else:
            self._queue.append(change)
        self._wake.set()

    def take(self) -> list[Change]:
        """What is waiting, at once. Raises `LaggingError`."""
        if self._lagging:
            raise LaggingError
        taken = list(self._queue)
        self._queue.clear()
        self._wake.clear()
        return taken

    async def wait(self) -> None:
        """Until there is something to take."""
        await self._wake.wait()

    @property
    def waiting(self) -> bool:
        return bool(self._queue) or self._lagging


class _Collection:
    """The objects of one resource, their recent history and who watches them."""

    def __init__(self) -> None:
        self.objects: dict[Key, Stored] = {}
        self.history: deque[Change] = deque()
        self.watchers: set[Watcher] = set()
        self.listeners: list[Callable[[Change], None]] = []
        self._sorted: list[Key] | None = None

    def apply(self, change: Change) -> None:
        key = change.last.key
        if change.now is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = change.now
        if change.now is None or change.before is None:
            self._sorted = None
        self.history.append(change)
        for listener in self.listeners:
            listener(change)
        for watcher in self.watchers:
            watcher.offer(change)

    def keys(self) -> list[Key]:
        if self._sorted is None:
            self._sorted = sorted(self.objects)
        return self._sorted

    def as_of(self, revision: int) -> dict[Key, Stored]:
        """The objects as they were at `revision`."""
        found = dict(self.objects)
        for change in reversed(self.history):
            if change.revision <= revision:
                break
            if change.before is None:
                found.pop(change.last.key, None)
            else:
                found[change.last.key] = change.before
        return found


class _HistorySize:
    """How many bytes the changes of history are, of each revision."""

    def __init__(self) -> None:
        self._sizes: deque[tuple[int, int]] = deque()
        self._total = 0

    def add(self, revision: int, size: int) -> None:
        self._sizes.append((revision, size))
        self._total += size

    def forget(self, revision: int) -> None:
        while self._sizes and self._sizes[0][0] <= revision:
            self._total -= self._sizes.popleft()[1]

    def beyond(self, most: int) -> int:
        """The revision up to which history must be forgotten for half of `most` to be left; 0 if it is not more."""
        if self._total <= most:
            return 0
        left = self._total
        for revision, size in self._sizes:
            left -= size
            if left <= most // 2:
                return revision
        return 0


class Storage:
    """The objects. Make one with `Storage.open`."""

    def __init__(self, database: Database, sealer: Sealer, sensitive: Callable[[str], bool]) -> None:
        self._database = database
        self._sealer = sealer
        self._sensitive = sensitive
        self._writer = Writer(database, self._publish)
        self._collections: dict[str, _Collection] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self._history = _HistorySize()
        self.revision = 0
        self.compacted = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, database: Database, sealer: Sealer, sensitive: Callable[[str], bool]
    ) -> AsyncIterator["Storage"]:
        """Load everything, and keep it in step until the block ends. Raises `DatabaseError`, `SealError`."""
        storage = cls(database, sealer, sensitive)
        await storage._load()
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(storage._writer.run())
            following = tasks.create_task(storage._follow())
            try:
                yield storage
            finally:
                writing.cancel()
                following.cancel()
        storage._writer.close()

    def get(self, key: Key) -> Stored | None:
        return self._collection(key.resource).objects.get(key)

    def objects(self, resource: str, namespace: str | None = None, revision: int = 0) -> list[Stored]:
        """In order of namespace and name, at `revision` or now. Raises `CompactedError`."""
        collection = self._collection(resource)
        if revision:
            self._check(revision)
        if revision and revision < self.revision:
            objects = collection.as_of(revision)
            keys = sorted(objects)
        else:
            objects, keys = collection.objects, collection.keys()
        if namespace is None:
            return [objects[key] for key in keys]
        start = bisect_right(keys, Key(resource, namespace, ""))
        end = bisect_right(keys, Key(resource, namespace + "\0", ""))
        return [objects[key] for key in keys[start:end]]

    def resources(self) -> list[str]:
        """Every resource that has, or lately had, an object."""
        return list(self._collections)

    @contextlib.contextmanager
    def watch(self, resource: str, namespace: str | None, revision: int) -> Iterator[Watcher]:
        """A `Watcher` of what changes after `revision`. Raises `CompactedError`."""
        self._check(revision)
        collection = self._collection(resource)
        backlog: list[Change] = []
        for change in reversed(collection.history):
            if change.revision <= revision:
                break
            if namespace is None or change.last.key.namespace == namespace:
                backlog.append(change)
        backlog.reverse()
        watcher = Watcher(namespace, backlog, revision)
        collection.watchers.add(watcher)
        try:
            yield watcher
        finally:
            collection.watchers.discard(watcher)

    def listen(self, resource: str, listener: Callable[[Change], None]) -> None:
        """Call `listener` at each change, after it is durable and before its writer hears of it."""
        self._collection(resource).listeners.append(listener)

    def listen_all(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` at each change of anything."""
        self._listeners.append(listener)

    async def write(self, *steps: Step) -> list[Stored]:
        """All of it or nothing; the new states (at a deletion the last state) in order.

        Returns when it is on disk and readable here. Raises `WriteConflictError`, `TooLargeError`, `DatabaseError`.
        """
        outcome = await self._writer.commit([self._operation(step) for step in steps])
        if isinstance(outcome, Conflict):
            raise WriteConflictError(outcome.key)
        changes = [step for step in steps if not isinstance(step, Unchanged)]
        return [
            _stored(step.key, revision, step.object) for step, revision in zip(changes, outcome, strict=True)
        ]

    async def compact(self, revision: int) -> None:
        """Forget history up to `revision`."""
        revision = min(revision, self.revision)
        if revision <= self.compacted:
            return
        await self._writer.call(self._database.compact, revision)
        self.compacted = revision
        self._history.forget(revision)
        for collection in self._collections.values():
            while collection.history and collection.history[0].revision <= revision:
                collection.history.popleft()

    def _collection(self, resource: str) -> _Collection:
        return self._collections.setdefault(resource, _Collection())

    def _check(self, revision: int) -> None:
        if revision < self.compacted or revision > self.revision:
            raise CompactedError(revision, self.compacted)

    def _operation(self, step: Step) -> Operation:
        if isinstance(step, Unchanged):
            return Guard(step.stored.key, step.stored.revision)
        value = msgspec.json.encode(step.object)
        if len(value) > OBJECT_BYTES and isinstance(step, Write):
            raise TooLargeError(len(value))
        if self._sensitive(step.key.resource):
            value = self._sealer.seal(value, "/".join(step.key).encode())
        if isinstance(step, Erase):
            return Remove(step.key, value, step.expected.revision)
        return Put(step.key, value, step.expected.revision if step.expected else 0)

    async def _load(self) -> None:
        contents = await self._writer.call(self._database.load)
        await self._reseal(contents.rows)
        self.compacted = contents.compacted
        for row in contents.rows:
            self._apply(row)
        self.revision = contents.revision
        for collection in self._collections.values():
            while collection.history and collection.history[0].revision <= self.compacted:
                collection.history.popleft()

    async def _reseal(self, rows: Sequence[Row]) -> None:
        """Encrypt under the newest key what is under an older one, history too; a kill leaves a part for next time."""
        old = [
            row for row in rows if self._sensitive(row.key.resource) and not self._sealer.is_newest(row.value)
        ]
        for start in range(0, len(old), RESEALED_TOGETHER):
            batch = [
                replace(row, value=self._sealer.reseal(row.value, "/".join(row.key).encode()))
                for row in old[start : start + RESEALED_TOGETHER]
            ]
            await self._writer.call(self._database.rewrite, batch)
        if old:
            log.info("encrypted %d stored values anew, under the newest key of the key file", len(old))

    def _apply(self, row: Row) -> None:
        value = row.value
        self._history.add(row.revision, len(value))
        if self._sensitive(row.key.resource):
            value = self._sealer.open(value, "/".join(row.key).encode())
        self._apply_object(row.key, row.revision, row.deleted, msgspec.json.decode(value))

    def _apply_object(self, key: Key, revision: int, deleted: bool, obj: Object) -> None:
        collection = self._collection(key.resource)
        stored = _stored(key, revision, obj)
        change = Change(revision, stored, None if deleted else stored, collection.objects.get(key))
        self.revision = revision
        collection.apply(change)
        for listener in self._listeners:
            listener(change)

    async def _publish(self, transactions: list[Transaction], outcomes: list[Outcome]) -> None:
        revisions = [r for outcome in outcomes if not isinstance(outcome, Conflict) for r in outcome]
        if not revisions or revisions[0] != self.revision + 1:
            # Another process wrote in between (and may be why a transaction of ours met a conflict).
            await self._catch_up()
            return
        for transaction, outcome in zip(transactions, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                continue
            changing = [operation for operation in transaction if not isinstance(operation, Guard)]
            for operation, revision in zip(changing, outcome, strict=True):
                self._apply(Row(revision, operation.key, isinstance(operation, Remove), operation.value))

    async def _catch_up(self) -> None:
        for row in await self._writer.call(self._database.since, self.revision):
            if row.revision > self.revision:
                self._apply(row)

    async def _follow(self) -> None:
        """Hear of what other processes write, and compact."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            with contextlib.suppress(DatabaseError):  # said to whoever writes; tried again next time
                if await self._writer.call(self._database.revision) != self.revision:
                    await self._catch_up()
                if self.revision - self.compacted > 2 * RETAINED:
                    await self.compact(self.revision - RETAINED)
                if too_old := self._history.beyond(RETAINED_BYTES):
                    await self.compact(too_old)


def _stored(key: Key, revision: int, obj: Object) -> Stored:
    metadata = {**obj.get("metadata", {}), "resourceVersion": str(revision)}
    return Stored(key, revision, {**obj, "metadata": metadata})

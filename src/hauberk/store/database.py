"""What the store asks of a database: an append-only log of revisions, committed in batches.

Every change of an object is one row with the next revision. The state of an object is its newest row;
the rows before it are what watches resume from, until they are compacted. A batch of transactions
is one database transaction, so that one flush to disk acknowledges all of them and none before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol


class Key(NamedTuple):
    """Where an object lives: `resource` is `PLURAL.GROUP`, `namespace` is empty for cluster scope."""

    resource: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Put:
    """Write `value` if the key is at revision `expected` (0: if it is absent)."""

    key: Key
    value: bytes
    expected: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the key if it is at revision `expected`; `value` is its last state, kept for watches."""

    key: Key
    value: bytes
    expected: int


@dataclass(frozen=True, slots=True)
class Guard:
    """Hold the transaction to the key being at revision `expected` (0: absent), changing nothing."""

    key: Key
    expected: int


Operation = Put | Remove | Guard
Transaction = Sequence[Operation]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A transaction was not applied: `key` is at revision `found`, which is not what was expected."""

    key: Key
    found: int


Outcome = list[int] | Conflict
"""The revision of each `Put` and `Remove` of a transaction, in order; or why it was not applied."""


@dataclass(frozen=True, slots=True)
class Row:
    """One revision of one object."""

    revision: int
    key: Key
    deleted: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything there is: rows in order of revision, the newest revision, and the compacted one."""

    rows: list[Row]
    revision: int
    compacted: int


class DatabaseError(Exception):
    """The database refused or could not be reached; nothing of the batch is written."""


class Database(Protocol):
    """Blocking; called from one thread at a time. Every method raises `DatabaseError`."""

    def load(self) -> Contents:
        """Read the whole log."""
        ...

    def commit(self, batch: Sequence[Transaction]) -> list[Outcome]:
        """Apply each transaction wholly or not at all; return when all of it is on disk."""
        ...

    def since(self, revision: int) -> list[Row]:
        """Rows after `revision`, in order."""
        ...

    def compact(self, revision: int) -> None:
        """Forget what was superseded or deleted at or before `revision`."""
        ...

    def restore(self, contents: Contents) -> None:
        """Write `contents` into an empty database."""
        ...

    def rewrite(self, rows: Sequence[Row]) -> None:
        """Replace the values of these revisions, all of them or none; what they say stays the same."""
        ...

    def revision(self) -> int:
        """The newest committed revision."""
        ...

    def close(self) -> None: ...


def open_database(location: str) -> Database:
    """The database at a `postgresql://` URL, or at the path of an SQLite file. Raises `DatabaseError`."""
    # Imported here: a machine with SQLite needs no client of PostgreSQL, and these modules import this one.
    if location.startswith(("postgresql://", "postgres://")):
        from hauberk.store.postgresql import PostgresqlDatabase  # noqa: PLC0415

        return PostgresqlDatabase(location)
    from hauberk.store.sqlite import SqliteDatabase  # noqa: PLC0415

    return SqliteDatabase(Path(location))

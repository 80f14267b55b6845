"""The revision log in SQLite: write-ahead log, flushed to disk at every commit."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hauberk.store.database import (
    Conflict,
    Contents,
    DatabaseError,
    Guard,
    Key,
    Outcome,
    Put,
    Row,
    Transaction,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
  revision INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  deleted INTEGER NOT NULL, value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS log_key ON log (resource, namespace, name, revision);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES ('revision', 1), ('compacted', 0), ('format', 1);
"""
FORMAT = 1
NEWEST = (
    "SELECT revision, deleted FROM log WHERE resource = ? AND namespace = ? AND name = ? "
    "ORDER BY revision DESC LIMIT 1"
)
COMPACT = """
DELETE FROM log WHERE revision <= :at AND (deleted OR EXISTS (
  SELECT 1 FROM log AS newer WHERE newer.resource = log.resource AND newer.namespace = log.namespace
  AND newer.name = log.name AND newer.revision > log.revision AND newer.revision <= :at))
"""


class SqliteDatabase:
    """`Database` over one SQLite file, made with mode 0600 if absent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            path.touch(mode=0o600, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.executescript(SCHEMA)
            if (found := self._counter("format")) != FORMAT:
                raise DatabaseError(
                    f"{path}: expected store format {FORMAT}, found {found}; "
                    "start it with the version of Hauberk that wrote it"
                )

    def load(self) -> Contents:
        with self._errors(), self._transaction("DEFERRED"):
            return Contents(self._rows_after(0), self._counter("revision"), self._counter("compacted"))

    def commit(self, batch: Sequence[Transaction]) -> list[Outcome]:
        with self._errors(), self._transaction("IMMEDIATE"):
            start = revision = self._counter("revision")
            outcomes: list[Outcome] = []
            for transaction in batch:
                outcome: Outcome = self._conflict(transaction) or []
                if isinstance(outcome, list):
                    for operation in transaction:
                        if isinstance(operation, Guard):
                            continue
                        revision += 1
                        outcome.append(revision)
                        self._connection.execute(
                            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)",
                            (revision, *operation.key, not isinstance(operation, Put), operation.value),
                        )
                outcomes.append(outcome)
            if revision != start:
                self._connection.execute("UPDATE counter SET value = ? WHERE name = 'revision'", (revision,))
        return outcomes

    def since(self, revision: int) -> list[Row]:
        with self._errors():
            return self._rows_after(revision)

    def compact(self, revision: int) -> None:
        with self._errors(), self._transaction("IMMEDIATE"):
            self._connection.execute(COMPACT, {"at": revision})
            self._connection.execute("UPDATE counter SET value = ? WHERE name = 'compacted'", (revision,))

    def restore(self, contents: Contents) -> None:
        with self._errors(), self._transaction("IMMEDIATE"):
            if self._connection.execute("SELECT count(*) FROM log").fetchone()[0]:
                raise DatabaseError(
                    f"{self._path}: expected an empty store to restore into, found objects in it; move it away first"
                )
            self._connection.executemany(
                "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)",
                [(row.revision, *row.key, row.deleted, row.value) for row in contents.rows],
            )
            for name, value in (("revision", contents.revision), ("compacted", contents.compacted)):
                self._connection.execute("UPDATE counter SET value = ? WHERE name = ?", (value, name))

    def rewrite(self, rows: Sequence[Row]) -> None:
        with self._errors(), self._transaction("IMMEDIATE"):
            self._connection.executemany(
                "UPDATE log SET value = ? WHERE revision = ?", [(row.value, row.revision) for row in rows]
            )
        with self._errors():
            # What the old values were is in no file afterwards (secure_delete overwrites them in the pages).
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def revision(self) -> int:
        with self._errors():
            return self._counter("revision")

    def close(self) -> None:
        self._connection.close()

    def _conflict(self, transaction: Transaction) -> Conflict | None:
        for operation in transaction:
            row = self._connection.execute(NEWEST, operation.key).fetchone()
            found = 0 if row is None or row[1] else int(row[0])
            if found != operation.expected:
                return Conflict(operation.key, found)
        return None

    def _rows_after(self, revision: int) -> list[Row]:
        rows = self._connection.execute("SELECT * FROM log WHERE revision > ? ORDER BY revision", (revision,))
        return [Row(r, Key(*key), bool(deleted), value) for r, *key, deleted, value in rows]

    def _counter(self, name: str) -> int:
        row = self._connection.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
        return int(row[0])

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[None]:
        self._connection.execute(f"BEGIN {mode}")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DatabaseError(f"the store {self._path} cannot be used: {error}") from error

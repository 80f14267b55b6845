"""The revision log in PostgreSQL, for a control plane whose store is a server of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

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

FORMAT = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
  revision BIGINT PRIMARY KEY, resource TEXT COLLATE "C" NOT NULL, namespace TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL, deleted BOOLEAN NOT NULL, value BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS log_key ON log (resource, namespace, name, revision);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
INSERT INTO counter VALUES ('revision', 1), ('compacted', 0), ('format', 1) ON CONFLICT DO NOTHING;
"""
SCHEMA_LOCK = 0x6861756265726B
"""Advisory lock under which tables are made, so that two processes do not make them at once."""
NEWEST = (
    "SELECT revision, deleted FROM log WHERE resource = %s AND namespace = %s AND name = %s "
    "ORDER BY revision DESC LIMIT 1"
)
COMPACT = """
DELETE FROM log WHERE revision <= %(at)s AND (deleted OR EXISTS (
  SELECT 1 FROM log AS newer WHERE newer.resource = log.resource AND newer.namespace = log.namespace
  AND newer.name = log.name AND newer.revision > log.revision AND newer.revision <= %(at)s))
"""


class PostgresqlDatabase:
    """`Database` over a PostgreSQL database of its own; `url` as libpq takes it.

    A lost connection fails what was under way and is made anew at the next call.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
            cursor.execute(SCHEMA)
            if (found := _counter(cursor, "format")) != FORMAT:
                raise DatabaseError(
                    f"expected store format {FORMAT}, found {found}; start it with the version of Hauberk that wrote it"
                )

    def load(self) -> Contents:
        with self._transaction("REPEATABLE READ") as cursor:
            return Contents(
                _rows_after(cursor, 0), _counter(cursor, "revision"), _counter(cursor, "compacted")
            )

    def commit(self, batch: Sequence[Transaction]) -> list[Outcome]:
        with self._transaction() as cursor:
            # The lock on this row orders all writers, so that revisions are committed in their order.
            cursor.execute("SELECT value FROM counter WHERE name = 'revision' FOR UPDATE")
            start = revision = _first(cursor)
            outcomes: list[Outcome] = []
            for transaction in batch:
                outcome: Outcome = _conflict(cursor, transaction) or []
                if isinstance(outcome, list):
                    for operation in transaction:
                        if isinstance(operation, Guard):
                            continue
                        revision += 1
                        outcome.append(revision)
                        cursor.execute(
                            "INSERT INTO log VALUES (%s, %s, %s, %s, %s, %s)",
                            (revision, *operation.key, not isinstance(operation, Put), operation.value),
                        )
                outcomes.append(outcome)
            if revision != start:
                cursor.execute("UPDATE counter SET value = %s WHERE name = 'revision'", (revision,))
        return outcomes

    def since(self, revision: int) -> list[Row]:
        with self._transaction() as cursor:
            return _rows_after(cursor, revision)

    def compact(self, revision: int) -> None:
        with self._transaction() as cursor:
            cursor.execute("SELECT value FROM counter WHERE name = 'revision' FOR UPDATE")
            cursor.execute(COMPACT, {"at": revision})
            cursor.execute("UPDATE counter SET value = %s WHERE name = 'compacted'", (revision,))

    def restore(self, contents: Contents) -> None:
        with self._transaction() as cursor:
            cursor.execute("SELECT count(*) FROM log")
            if _first(cursor):
                raise DatabaseError("expected an empty store to restore into, found objects in it")
            for row in contents.rows:
                cursor.execute(
                    "INSERT INTO log VALUES (%s, %s, %s, %s, %s, %s)",
                    (row.revision, *row.key, row.deleted, row.value),
                )
            for name, value in (("revision", contents.revision), ("compacted", contents.compacted)):
                cursor.execute("UPDATE counter SET value = %s WHERE name = %s", (value, name))

    def rewrite(self, rows: Sequence[Row]) -> None:
        with self._transaction() as cursor:
            cursor.executemany(
                "UPDATE log SET value = %s WHERE revision = %s", [(row.value, row.revision) for row in rows]
            )

    def revision(self) -> int:
        with self._transaction() as cursor:
            return _counter(cursor, "revision")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def _transaction(self, isolation: str = "READ COMMITTED") -> Iterator[psycopg.Cursor[Any]]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._url, connect_timeout=10)
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
                # Acknowledged is durable, whatever the server's own setting.
                cursor.execute("SET LOCAL synchronous_commit = on")
                yield cursor
        except psycopg.Error as error:
            if self._connection is not None and self._connection.broken:
                self._connection.close()
                self._connection = None
            raise DatabaseError(f"the PostgreSQL store cannot be used: {error}") from error


def _conflict(cursor: psycopg.Cursor[Any], transaction: Transaction) -> Conflict | None:
    for operation in transaction:
        row = cursor.execute(NEWEST, operation.key).fetchone()
        found = 0 if row is None or row[1] else int(row[0])
        if found != operation.expected:
            return Conflict(operation.key, found)
    return None


def _rows_after(cursor: psycopg.Cursor[Any], revision: int) -> list[Row]:
    rows = cursor.execute("SELECT * FROM log WHERE revision > %s ORDER BY revision", (revision,))
    return [Row(r, Key(*key), deleted, bytes(value)) for r, *key, deleted, value in rows]


def _counter(cursor: psycopg.Cursor[Any], name: str) -> int:
    cursor.execute("SELECT value FROM counter WHERE name = %s", (name,))
    return _first(cursor)


def _first(cursor: psycopg.Cursor[Any]) -> int:
    row = cursor.fetchone()
    if row is None:
        raise DatabaseError("expected a counter in the store, found none; it is damaged")
    return int(row[0])

"""Call records of all pods of the node: read from the proxies' files, kept bounded on disk, asked and followed."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from hauberk.node import proxy_folder
from hauberk.node.settings import Settings

log = logging.getLogger(__name__)

MOST_RECORDS = 500_000
POLL_SECONDS = 0.1
CHUNK = 512 * 1024
TRUNCATE_ABOVE = 64 * 1024 * 1024
FOLLOWER_QUEUE = 10_000

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS record (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL, connection TEXT NOT NULL, type TEXT NOT NULL,
  verdict TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS record_id ON record (id);
CREATE INDEX IF NOT EXISTS record_connection ON record (connection);
CREATE TABLE IF NOT EXISTS position (file TEXT PRIMARY KEY, inode INTEGER NOT NULL, offset INTEGER NOT NULL);
"""

Names = Callable[[str], Iterable[str]]
"""From a pod's address to its names: `NS/POD`, `NS/WORKLOAD`."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which records; an empty field is any. `source` and `destination` are `NS/NAME`, of a pod, workload or account."""

    source: str = ""
    destination: str = ""
    verdict: str = ""
    id: str = ""
    type: str = ""
    limit: int = 100

    def matches(self, record: "Stored") -> bool:
        return (
            (not self.source or self.source in record.source)
            and (not self.destination or self.destination in record.destination)
            and self.verdict in {"", record.verdict}
            and self.type in {"", record.type}
            and self.id in {"", record.id, record.connection}
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A record with what it is found by."""

    id: str
    connection: str
    type: str
    verdict: str
    source: frozenset[str]
    destination: frozenset[str]
    body: str


def read(line: bytes, names: Names) -> Stored:
    """One line of a `records.log`. Raises `ValueError` if it is none."""
    try:
        record = msgspec.json.decode(line)
    except RecursionError as error:
        raise ValueError("expected a JSON object, found one nested too deeply") from error
    if not isinstance(record, dict) or record.get("type") not in ("connection", "request"):
        raise ValueError("expected a JSON object with type connection or request")
    return Stored(
        id=str(record.get("id") or ""),
        connection=str(record.get("connection") or ""),
        type=record["type"],
        verdict=str(_object(record.get("policy")).get("verdict") or ""),
        source=_names(record.get("source"), names),
        destination=_names(record.get("destination"), names),
        body=line.decode(errors="replace").strip(),
    )


def _object(value: Any) -> dict[str, Any]:
    """A proxy writes what it likes, were it captured."""
    return value if isinstance(value, dict) else {}


def _names(value: Any, names: Names) -> frozenset[str]:
    """A side is known by its proven identity, and by the pod that has its address."""
    side = _object(value)
    found = set(names(str(side.get("address") or "")))
    parts = str(side.get("spiffe_id") or "").split("/")
    if len(parts) >= 7 and parts[3] == "ns" and parts[5] == "sa":
        found.add(f"{parts[4]}/{parts[6]}")
    host = str(side.get("service") or "").partition(":")[0].split(".")
    if len(host) > 2 and host[2] == "svc":
        found.add(f"{host[1]}/{host[0]}")
    return frozenset(found)


class RecordStore:
    """Use it as an async context manager; `names` may be set later."""

    def __init__(self, settings: Settings, most: int = MOST_RECORDS) -> None:
        self.names: Names = lambda _address: ()
        self._files = settings.run / "pods"
        self._path = settings.node_state / "records.db"
        self._most = most
        self._told: dict[Path, str] = {}
        self._followers: set[asyncio.Queue[Stored]] = set()
        self._database: sqlite3.Connection

    async def __aenter__(self) -> "RecordStore":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(self._path)
        self._path.chmod(0o600)
        self._database.executescript(_SCHEMA)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._database.close()

    async def run(self) -> None:
        """Reads what the proxies write, until cancelled."""
        while True:
            try:
                found = self.collect()
            except (OSError, sqlite3.OperationalError) as error:
                log.warning("call records: %s; trying again", error)
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(0 if found else POLL_SECONDS)

    def collect(self) -> int:
        """Takes in all that is new, one transaction for all files; returns how many records that were."""
        count = 0
        with self._database:
            files = list(self._files.glob("*/records.log"))
            self._told = {file: problem for file, problem in self._told.items() if file in files}
            for file in files:
                count += self._collect_file(file)
            if count:
                self._database.execute(
                    "DELETE FROM record WHERE number <= (SELECT max(number) FROM record) - ?", (self._most,)
                )
        return count

    def query(self, query: Query) -> list[str]:
        """The newest records that match, newest first, as JSON."""
        wheres: list[str] = []
        values: list[Any] = []
        for column in ("verdict", "type"):
            if value := getattr(query, column):
                wheres.append(f"{column} = ?")
                values.append(value)
        for column in ("source", "destination"):
            if value := getattr(query, column):
                wheres.append(f"instr({column}, ?)")
                values.append(f" {value} ")
        if query.id:
            wheres.append("(id = ? OR connection = ?)")
            values += [query.id, query.id]
        where = f"WHERE {' AND '.join(wheres)}" if wheres else ""
        found = self._database.execute(
            f"SELECT body FROM record {where} ORDER BY number DESC LIMIT ?",  # noqa: S608 - fixed words, bound values
            [*values, query.limit],
        )
        return [row[0] for row in found]

    @asynccontextmanager
    async def follow(self) -> AsyncIterator["asyncio.Queue[Stored]"]:
        """Records as they come; a follower that is too slow misses some."""
        queue: asyncio.Queue[Stored] = asyncio.Queue(FOLLOWER_QUEUE)
        self._followers.add(queue)
        try:
            yield queue
        finally:
            self._followers.discard(queue)

    def _collect_file(self, file: Path) -> int:
        try:
            # The proxy may put anything in its place meanwhile: all is done by one descriptor of what was found.
            with proxy_folder.opened(file, os.O_RDWR) as descriptor:
                count = self._collect_from(file, descriptor)
        except FileNotFoundError:
            return 0
        except OSError as error:
            self._tell(file, str(error))
            return 0
        self._told.pop(file, None)
        return count

    def _collect_from(self, file: Path, descriptor: int) -> int:
        name, found = file.parent.name, os.fstat(descriptor)
        row = self._database.execute("SELECT inode, offset FROM position WHERE file = ?", (name,)).fetchone()
        offset = row[1] if row and row[0] == found.st_ino and row[1] <= found.st_size else 0
        if found.st_size == offset:
            return 0
        data = os.pread(descriptor, CHUNK, offset)
        # What fills a whole chunk is no record, however it goes on.
        end = data.rfind(b"\n") + 1 or (len(data) if len(data) == CHUNK else 0)
        records = [
            stored for line in data[:end].splitlines() if (stored := self._read(line, file)) is not None
        ]
        records = self._with_parties(records)
        self._insert(records)
        offset += end
        if offset == found.st_size and offset > TRUNCATE_ABOVE:
            # The proxy appends, so it goes on at the beginning.
            os.ftruncate(descriptor, 0)
            offset = 0
        self._database.execute("REPLACE INTO position VALUES (?, ?, ?)", (name, found.st_ino, offset))
        for stored in records:
            for queue in self._followers:
                if not queue.full():
                    queue.put_nowait(stored)
        return len(records)

    def _tell(self, file: Path, problem: str) -> None:
        """Once, for it is looked at ten times a second."""
        if self._told.get(file) != problem:
            log.warning("call records: %s", problem)
        self._told[file] = problem

    def _read(self, line: bytes, file: Path) -> Stored | None:
        try:
            return read(line, self.names)
        except ValueError as error:
            log.warning("%s: a line is no call record: %s", file, error)
            return None

    def _with_parties(self, records: list[Stored]) -> list[Stored]:
        """A request is written with its connection's id alone: here it is given the parties of that connection."""
        here = {each.id: each for each in records if each.type == "connection"}
        return [
            self._joined(each, here)
            if each.type == "request" and not (each.source or each.destination)
            else each
            for each in records
        ]

    def _joined(self, request: Stored, here: dict[str, Stored]) -> Stored:
        connection = here.get(request.connection) or self._connection(request.connection)
        if connection is None:
            return request
        fields = msgspec.json.decode(connection.body)
        parties = {side: fields[side] for side in ("source", "destination") if side in fields}
        return replace(
            request,
            source=connection.source,
            destination=connection.destination,
            body=msgspec.json.encode(msgspec.json.decode(request.body) | parties).decode(),
        )

    def _connection(self, identifier: str) -> Stored | None:
        row = self._database.execute(
            "SELECT id, verdict, source, destination, body FROM record"
            " WHERE id = ? AND type = 'connection' LIMIT 1",
            (identifier,),
        ).fetchone()
        if row is None:
            return None
        found, verdict, source, destination, body = row
        return Stored(
            found, "", "connection", verdict, frozenset(source.split()), frozenset(destination.split()), body
        )

    def _insert(self, records: list[Stored]) -> None:
        self._database.executemany(
            "INSERT INTO record (id, connection, type, verdict, source, destination, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    each.id,
                    each.connection,
                    each.type,
                    each.verdict,
                    _words(each.source),
                    _words(each.destination),
                    each.body,
                )
                for each in records
            ],
        )


def _words(names: frozenset[str]) -> str:
    return f" {' '.join(sorted(names))} "

"""Nothing acknowledged is lost by `kill -9` at any instant."""

import subprocess
import sys
from pathlib import Path

from hauberk.store.database import Conflict, Database, Guard, Key, Put, Remove

ROUNDS = 250


def test_a_killed_writer_loses_nothing_acknowledged(location: str) -> None:
    program = str(Path(__file__).parent / "kill_writers.py")
    subprocess.run([sys.executable, program, location, str(ROUNDS)], check=True, timeout=120)


def test_transactions_are_whole_or_not_at_all(database: Database) -> None:
    a, b = Key("r", "n", "a"), Key("r", "n", "b")
    first, second = database.commit([[Put(a, b"1", 0)], [Put(b, b"1", 0), Guard(a, 0)]])
    assert isinstance(first, list) and isinstance(second, Conflict)
    assert second.key == a and second.found == first[0]
    assert [row.key for row in database.since(0)] == [a]
    (third,) = database.commit([[Put(b, b"1", 0), Guard(a, first[0])]])
    assert third == [first[0] + 1]
    (gone,) = database.commit([[Remove(a, b"1", first[0])]])
    assert isinstance(gone, list)
    assert isinstance(database.commit([[Put(a, b"2", first[0])]])[0], Conflict)
    assert isinstance(database.commit([[Put(a, b"2", 0)]])[0], list)


def test_compaction_forgets_what_is_superseded(database: Database) -> None:
    a, b = Key("r", "n", "a"), Key("r", "n", "b")
    revisions = []
    expected = 0
    for value in (b"1", b"2", b"3"):
        outcome = database.commit([[Put(a, value, expected)]])[0]
        assert isinstance(outcome, list)
        expected = outcome[0]
        revisions.append(expected)
    made = database.commit([[Put(b, b"1", 0)]])[0]
    assert isinstance(made, list)
    database.commit([[Remove(b, b"1", made[0])]])
    newest = database.revision()
    database.compact(newest)
    contents = database.load()
    assert [(row.key, row.value) for row in contents.rows] == [(a, b"3")]
    assert (contents.compacted, contents.revision) == (newest, newest)


def test_a_full_disk_is_an_error_and_not_a_loss(tmp_path: Path) -> None:
    """A size limit on the file stands for a full disk."""
    program = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from hauberk.store.database import DatabaseError, Key, Put, open_database
database = open_database({str(tmp_path / "s.db")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
written = 0
try:
    while True:
        database.commit([[Put(Key("r", "", str(written)), b"x" * 10_000, 0)]])
        written += 1
except DatabaseError as error:
    assert "cannot be used" in str(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert len(database.load().rows) == written > 5
database.commit([[Put(Key("r", "", "more"), b"x", 0)]])
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

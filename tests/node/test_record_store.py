"""Call records: found by who called whom, bounded, and still there after the agent was killed."""

import json
import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from hauberk.node import record_store
from hauberk.node.record_store import Query, RecordStore
from hauberk.node.settings import Settings


def settings(folder: Path) -> Settings:
    return Settings("n", "i", folder / "state", folder / "run", Path(), "", IPv4Network("10.66.0.0/16"))


def line(number: int, verdict: str = "allow") -> str:
    record = {
        "type": "connection", "phase": "close", "id": f"{number:016x}", "reporter": "inbound",
        "source": {"address": "10.66.0.5", "spiffe_id": "spiffe://cluster.local/ns/bank/sa/web"},
        "destination": {"address": "10.66.0.6", "service": "db.bank.svc.cluster.local:5432"},
        "policy": {"verdict": verdict},
    }  # fmt: skip
    return json.dumps(record) + "\n"


def append(folder: Path, text: str) -> None:
    file = folder / "run" / "pods" / "u" / "records.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        opened.write(text)


async def test_records_are_found_by_account_service_pod_and_verdict(tmp_path: Path) -> None:
    append(tmp_path, line(1) + line(2, "deny"))
    async with RecordStore(settings(tmp_path)) as store:
        store.names = lambda address: ["bank/web-1"] if address == "10.66.0.5" else []
        assert store.collect() == 2
        for source in ("bank/web", "bank/web-1", ""):
            assert len(store.query(Query(source=source, destination="bank/db"))) == 2
        assert store.query(Query(source="bank/we")) == []
        [denied] = store.query(Query(verdict="deny"))
        assert json.loads(denied)["id"] == f"{2:016x}"
        assert [json.loads(body)["id"] for body in store.query(Query(limit=1))] == [f"{2:016x}"]


async def test_a_new_store_goes_on_where_the_old_one_was(tmp_path: Path) -> None:
    append(tmp_path, line(1) + line(2)[:20])
    async with RecordStore(settings(tmp_path)) as store:
        assert store.collect() == 1
    append(tmp_path, line(2)[20:] + "no record\n" + line(3))
    async with RecordStore(settings(tmp_path)) as store:
        assert store.collect() == 2
        assert store.collect() == 0
        assert [json.loads(body)["id"][-1] for body in store.query(Query())] == ["3", "2", "1"]


async def test_the_oldest_records_go_when_there_are_too_many(tmp_path: Path) -> None:
    append(tmp_path, "".join(line(number) for number in range(30)))
    async with RecordStore(settings(tmp_path), most=10) as store:
        store.collect()
        assert len(store.query(Query(limit=100))) == 10


async def test_a_follower_hears_of_new_records(tmp_path: Path) -> None:
    async with RecordStore(settings(tmp_path)) as store, store.follow() as queue:
        append(tmp_path, line(7))
        store.collect()
        assert queue.get_nowait().source == {"bank/web"}


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{}", '{"type":"x"}', '{"type":[]}', "\x00", '{"type":"connection","source":[1],"policy":"x"}',
        "[" * 100_000, "x" * 1_000_000,
    ],
)  # fmt: skip
async def test_what_is_no_record_is_passed_over(tmp_path: Path, text: str) -> None:
    append(tmp_path, text + "\n" + line(1))
    async with RecordStore(settings(tmp_path)) as store:
        while not store.collect():
            pass
        assert f'"{1:016x}"' in store.query(Query(id=f"{1:016x}"))[0]


async def test_a_request_is_found_by_the_parties_of_its_connection(tmp_path: Path) -> None:
    def request(number: int) -> str:
        refused = {
            "type": "request", "id": f"r{number}", "connection": f"{number:016x}", "reporter": "inbound",
            "policy": {"verdict": "deny"},
        }  # fmt: skip
        return json.dumps(refused) + "\n"

    append(tmp_path, line(1) + request(1))
    async with RecordStore(settings(tmp_path)) as store:
        store.collect()
        append(tmp_path, request(1) + request(7))
        store.collect()
        found = store.query(Query(source="bank/web", destination="bank/db", verdict="deny"))
        assert [json.loads(body)["id"] for body in found] == ["r1", "r1"]
        # And says who they are.
        assert [json.loads(body)["source"]["address"] for body in found] == ["10.66.0.5"] * 2
        assert len(store.query(Query(type="request"))) == 3


@pytest.mark.timeout(10)
@pytest.mark.parametrize("trap", ["link", "hard link", "pipe"])
async def test_what_a_captured_proxy_puts_in_the_place_of_its_records_stays_as_it_is(
    tmp_path: Path, trap: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(record_store, "TRUNCATE_ABOVE", 10)
    append(tmp_path, line(1))
    file = tmp_path / "run" / "pods" / "u" / "records.log"
    file.unlink()
    victim = tmp_path / "victim"
    victim.write_text(line(2))
    if trap == "link":
        file.symlink_to(victim)
    elif trap == "hard link":
        file.hardlink_to(victim)
    else:
        os.mkfifo(file)
    async with RecordStore(settings(tmp_path)) as store:
        assert store.collect() == store.collect() == 0
    assert victim.read_text() == line(2)
    assert caplog.text.count("call records:") == 1


async def test_what_has_been_taken_in_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_store, "TRUNCATE_ABOVE", 10)
    append(tmp_path, line(1))
    async with RecordStore(settings(tmp_path)) as store:
        assert store.collect() == 1
        assert (tmp_path / "run" / "pods" / "u" / "records.log").stat().st_size == 0
        append(tmp_path, line(2))
        assert store.collect() == 1

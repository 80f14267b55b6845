"""The bank of the demonstration, each call carried by real Envoys under our control plane."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance_testing.instance import TestInstance, instance, wait_until
from instance_testing.machine import traces

from hauberk.node.proxy import pid_file

BANK = Path(__file__).parents[2] / "examples" / "bank"
TYPES = {"CDS", "LDS", "EDS", "RDS"}
IDENTITY = "spiffe://cluster.local/ns/{}/sa/{}"

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def bank() -> Iterator[TestInstance]:
    with instance() as found:
        yield found
        found.said("down", timeout=60)
        left = traces(found)
        assert not any(left.values()), left


@pytest.fixture(scope="module")
def said(bank: TestInstance) -> str:
    """What `hauberk up` printed."""
    return bank.said("up", "-d", str(BANK), "--proxy", "envoy", timeout=180)


def access_log(bank: TestInstance, app: str, namespace: str = "bank") -> list[dict[str, str]]:
    """What the Envoys of a workload's pods wrote of each call."""
    found = json.loads(bank.said("get", "pods", "-n", namespace, "-l", f"app={app}", "-o", "json"))["items"]
    logs = [bank.run / "pods" / pod["metadata"]["uid"] / "access.log" for pod in found]
    return [
        json.loads(line)
        for log in logs
        for line in log.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def test_the_tour_is_taken_with_the_same_answers(said: str) -> None:
    assert "alice pays bob: 40 of 40 answered 201" in said
    assert "bob pays carol: 20 of 20 answered 201" in said
    assert "carol spends what she has not: 2 of 2 answered 422" in said
    assert "alice reads her statement, streamed: 5 of 5 answered 200" in said
    assert "Envoy keeps no call records" in said


def test_each_pod_has_an_envoy(bank: TestInstance, said: str) -> None:
    pods = json.loads(bank.said("get", "pods", "-A", "-o", "json"))["items"]
    running = [pod["metadata"]["uid"] for pod in pods if pod["status"]["phase"] == "Running"]
    pids = [pid_file(bank.run / "pods" / uid).read_text().split()[0] for uid in running]
    assert [Path(f"/proc/{pid}/comm").read_text() for pid in pids] == ["envoy\n"] * 8


def test_every_proxy_acknowledged_everything_and_none_ever_refused(bank: TestInstance, said: str) -> None:
    def proxies() -> list[dict[str, object]] | None:
        found = json.loads(bank.said("proxy-status", "-o", "json"))["proxies"]
        types = [one for proxy in found for one in proxy["types"]]
        settled = all(one["agreement"] == "SYNCED" for one in types)
        return found if settled and len(found) == 8 else None

    found = wait_until(proxies, 15, "the Job's proxy has left, and every other has what it was sent")
    for proxy in found:
        types = proxy["types"]
        assert isinstance(types, list)
        assert {one["type"] for one in types} >= TYPES
        assert [one for one in types if one["acknowledged"] != one["sent"] or one["reason"]] == []
    assert " refused " not in (bank.state / "hauberkd.log").read_text(), (
        "a refusal that was mended is one too"
    )


def test_each_hop_is_proven_on_both_sides(bank: TestInstance, said: str) -> None:
    def transfers() -> list[dict[str, str]] | None:
        calls = [call for call in access_log(bank, "ledger") if call.get("path") == "/bank.Ledger/Transfer"]
        return calls if len(calls) >= 62 else None

    inbound = wait_until(transfers, 5, "the payments are in the logs of both ledgers")
    assert len(inbound) == 62
    assert {call["upstream_cluster"] for call in inbound} == {"inbound|9000||"}
    assert {call["downstream_peer"] for call in inbound} == {IDENTITY.format("bank", "web")}
    outbound = [call for call in access_log(bank, "web") if call.get("path") == "/bank.Ledger/Transfer"]
    assert {call["upstream_peer"] for call in outbound} == {IDENTITY.format("bank", "ledger")}
    database = [call for call in access_log(bank, "db") if int(call["bytes_sent"])]
    callers = {call["downstream_peer"] for call in database}
    assert callers == {IDENTITY.format("bank", name) for name in ("ledger", "schema")}


def test_the_stranger_is_refused_by_its_identity(bank: TestInstance, said: str) -> None:
    wait_until(
        lambda: bank.said("logs", "-n", "elsewhere", "deploy/stranger").count("HTTP 403") > 1, 15, "its calls"
    )
    lines = bank.said("logs", "-n", "elsewhere", "deploy/stranger").splitlines()
    assert not [line for line in lines if "HTTP 2" in line]
    assert any("closed the connection unexpectedly" in line for line in lines), "PostgreSQL is not for it"
    denied = [call for call in access_log(bank, "web") if str(call.get("response_code")) == "403"]
    assert {call["downstream_peer"] for call in denied} == {IDENTITY.format("elsewhere", "stranger")}
    assert all("rbac_access_denied" in call["response_code_details"] for call in denied)


def test_what_envoy_does_not_record_is_refused_by_name(bank: TestInstance, said: str) -> None:
    for verb in (("edges",), ("why", "bank/web", "bank/ledger"), ("tap", "--count", "1")):
        done = bank.hauberk(*verb)
        assert done.returncode != 0, done.stdout
        assert "expected proxies that keep call records, found envoy" in done.stderr, (verb, done.stderr)


def test_what_an_envoy_runs_is_shown(bank: TestInstance, said: str) -> None:
    shown = json.loads(bank.said("proxy-config", "deploy/web", "-n", "bank", "-o", "json"))
    inbound = next(one for one in shown["listeners"] if one["name"] == "virtualInbound")
    assert inbound["service"] == "web.bank.svc.cluster.local"
    assert inbound["policy_revision"]
    names = {
        section: {one.get("name") or one.get("cluster_name") for one in shown[section]} for section in shown
    }
    assert "ledger.bank.svc.cluster.local:9000" in names["routes"]
    for section in ("clusters", "endpoints"):
        assert "outbound|9000||ledger.bank.svc.cluster.local" in names[section]
    assert names["secrets"] == {"default", "ROOTCA"}
    assert "PRIVATE KEY" not in json.dumps(shown)
    table = bank.said("proxy-config", "deploy/web", "-n", "bank")
    assert IDENTITY.format("bank", "web") in table
    assert "live" in table
    assert "missing" not in table


def test_another_kind_of_proxy_is_not_mixed_in(bank: TestInstance, said: str) -> None:
    done = bank.hauberk("up", "-d", str(BANK), "--proxy", "hauberk")
    assert done.returncode == 1
    assert "hauberk down" in done.stderr

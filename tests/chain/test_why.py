import pytest

from hauberk.chain.record import Connection, MalformedRecordError, Request, parse_record
from hauberk.chain.ring import Ring, State
from hauberk.chain.why import explain

CONNECTION = b"""{"type":"connection","phase":"open","id":"00f1e2d3c4b5a697","time":"2026-01-02T03:04:05.000006Z",
"reporter":"inbound","pod":"ledger-1.bank","listener":"virtualInbound",
"source":{"address":"10.66.0.3","port":40000,"spiffe_id":"spiffe://cluster.local/ns/bank/sa/web","serial":"0a0b"},
"destination":{"address":"10.66.0.4","port":9000,"spiffe_id":"spiffe://cluster.local/ns/bank/sa/ledger","serial":"0c0d",
"service":"ledger.bank.svc.cluster.local"},
"tls":{"version":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384","group":"X25519MLKEM768"},
"policy":{"revision":"r7","verdict":"allow","policy":"ns[bank]-policy[ledger]-rule[0]","reason":""}}"""


def connection() -> Connection:
    record = parse_record(CONNECTION)
    assert isinstance(record, Connection)
    return record


def test_an_allowed_connection_names_both_identities_policy_and_protection() -> None:
    why = explain(connection())
    assert why.verdict == "allow"
    assert "ns[bank]-policy[ledger]-rule[0]" in why.sentence
    assert [side.links[-1].facts["serial"] for side in why.sides] == ["0a0b", "0c0d"]
    assert "X25519MLKEM768" in why.call.line
    assert why.policy.facts["revision"] == "r7"


def test_rings_that_nobody_stated_are_named_and_never_taken_for_verified() -> None:
    why = explain(connection())
    assert why.missing == (Ring.SOURCE, Ring.BUILD, Ring.RELEASE, Ring.BOOT, Ring.SANDBOX, Ring.ENCLAVE)
    assert all(link.state is not State.VERIFIED for side in why.sides for link in side.links)


def test_a_refused_request_counts_over_its_allowed_connection() -> None:
    request = parse_record(
        b'{"type":"request","id":"r1","connection":"00f1e2d3c4b5a697","time":"t","reporter":"inbound","method":"GET",'
        b'"path":"/x","status":403,"policy":{"verdict":"deny","reason":"no policy allows it"}}'
    )
    assert isinstance(request, Request)
    why = explain(connection(), request)
    assert why.verdict == "deny"
    assert "GET /x" in why.sentence and "refused" in why.sentence


def test_an_audit_policy_is_named_beside_the_verdict() -> None:
    request = parse_record(
        b'{"type":"request","id":"r1","connection":"00f1e2d3c4b5a697","time":"t","reporter":"inbound","method":"GET",'
        b'"path":"/x","status":200,"policy":{"verdict":"allow","audit":"ns[bank]-policy[watch]-rule[0]"}}'
    )
    assert isinstance(request, Request)
    why = explain(connection(), request)
    assert why.verdict == "allow"
    assert "ns[bank]-policy[watch]-rule[0] noted it" in why.sentence
    assert why.policy.facts["audit"] == "ns[bank]-policy[watch]-rule[0]"


def test_a_side_without_identity_is_absent_and_plain_text_is_said_aloud() -> None:
    record = parse_record(
        b'{"type":"connection","phase":"open","id":"1","time":"t","reporter":"inbound","source":{"address":"10.1.2.3"}}'
    )
    assert isinstance(record, Connection)
    why = explain(record)
    assert why.sides[0].links[-1].state is State.ABSENT
    assert "NOT ENCRYPTED" in why.call.line


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'{"type":"other"}', b'{"type":"connection","id":1}', b'{"type":"request","id":"x"}'],
)
def test_what_is_no_record_is_refused_with_a_reason(line: bytes) -> None:
    with pytest.raises(MalformedRecordError, match="call record"):
        parse_record(line)

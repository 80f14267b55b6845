"""Records are chosen by any of their fields."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.chain.record_filter import MalformedFilterError, parse_filter

RECORD = {
    "type": "request", "method": "POST", "path": "/pay/7", "status": 503, "duration_us": 250_001, "flags": "UC",
    "source": {"spiffe_id": "spiffe://cluster.local/ns/bank/sa/web"}, "policy": {"verdict": "deny"}, "tls": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("status>=500", True),
        ("status > 503", False),
        ("status=503", True),
        ("status=50*", True),
        ("status<=502", False),
        ("method=GET", False),
        ("method!=GET", True),
        ("path=/pay/*", True),
        ("path=/*/7", True),
        ("path=/pay", False),
        ("source.spiffe_id=*/ns/bank/sa/*", True),
        ("source.spiffe_id=*/ns/ban/*", False),
        ("policy.verdict=deny", True),
        ("tls.group=*", False),
        ("tls.group!=x", True),
        ("duration>250ms", True),
        ("duration<0.2s", False),
        ("listener=x", False),
        ("listener>3", False),
        ("type=request", True),
        ("flags=U*", True),
    ],
)
def test_a_condition_holds_or_not(text: str, holds: bool) -> None:
    assert parse_filter(text).matches(RECORD) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("status", "expected FIELD=VALUE"),
        ("", "expected FIELD=VALUE"),
        ("colour=red", "expected one of duration, authority, "),
        ("source=x", "expected one of"),
        ("status>many", "expected a number after >"),
        ("duration>250", "duration>250ms"),
        ("duration=250ms", "duration>250ms"),
    ],
)
def test_what_is_no_condition_is_told(text: str, said: str) -> None:
    with pytest.raises(MalformedFilterError, match=re.escape(said)):
        parse_filter(text)


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_a_star_stands_for_anything(pattern: str, text: str) -> None:
    wanted = re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text) is not None
    assert parse_filter(f"path={pattern}").matches({"path": text}) is wanted


@given(
    st.sampled_from(["path=a*", "status>1", "policy.policy!=x", "tls.group=x", "duration>1s"]),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False, allow_infinity=False),
        lambda below: (
            st.lists(below, max_size=2)
            | st.dictionaries(
                st.sampled_from(["path", "status", "policy", "tls", "group", "duration_us"]), below
            )
        ),
    ),
)
def test_whatever_a_captured_proxy_writes_is_only_compared(text: str, record: Any) -> None:
    if isinstance(record, dict):
        assert parse_filter(text).matches(record) in (True, False)

"""SPIFFE IDs after the standard's own rules."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.identity.spiffe_id import InvalidSpiffeIdError, SpiffeId


@pytest.mark.parametrize("text", ["spiffe://a", "spiffe://a.b-c_1/x", "spiffe://a/ns/Bank/sa/web.1"])
def test_valid(text: str) -> None:
    assert str(SpiffeId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://a/b",
        "spiffe://",
        "spiffe:///a",
        "spiffe://A/b",
        "spiffe://a/",
        "spiffe://a//b",
        "spiffe://a/b/",
        "spiffe://a/../b",
        "spiffe://a/./b",
        "spiffe://a:1/b",
        "spiffe://u@a/b",
        "spiffe://a/b?c",
        "spiffe://a/b#c",
        "spiffe://a/%41",
        "spiffe://a/b\n",
        "spiffe://a\n",
        "spiffe://a/" + "b" * 2048,
        "spiffe://" + "a" * 256,
    ],
)
def test_invalid(text: str) -> None:
    with pytest.raises(InvalidSpiffeIdError):
        SpiffeId.parse(text)


@given(st.text() | st.text(alphabet="spife:/a.-_A%?#").map(lambda rest: "spiffe://" + rest))
def test_what_is_accepted_is_unchanged_and_all_else_is_one_error(text: str) -> None:
    with contextlib.suppress(InvalidSpiffeIdError):
        assert str(SpiffeId.parse(text)) == text

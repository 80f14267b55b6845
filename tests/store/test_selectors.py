"""Label and field selectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.store.selectors import (
    LabelSelector,
    Requirement,
    SelectorError,
    label_selector_of,
    parse_field_selector,
    parse_label_selector,
)


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a!=b", {"a": "c"}, True),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a=", {"a": ""}, True),
        ("a=,b=c", {"a": "", "b": "c"}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("!a", {"a": "b"}, False),
        ("a in (b,c)", {"a": "c"}, True),
        ("a in (b, c)", {"a": "d"}, False),
        ("a in (b)", {}, False),
        ("a in ()", {"a": ""}, True),
        ("a notin (b,c)", {"a": "d"}, True),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a>1", {"a": "2"}, True),
        ("a<1", {"a": "2"}, False),
        ("a>1", {"a": "x"}, False),
        ("a=b,c!=d", {"a": "b"}, True),
        (" a = b , c ", {"a": "b", "c": "d"}, True),
        ("example.com/a=b", {"example.com/a": "b"}, True),
    ],
)
def test_labels(text: str, labels: dict[str, str], expected: bool) -> None:
    assert parse_label_selector(text).matches(labels) is expected


@pytest.mark.parametrize(
    "text", ["=b", "a in b", "a in (b", "a b", ",", "a,", "!", "a=b=c", "a>x", "-a=b", "a=b!", "!a=b"]
)
def test_malformed_selectors_are_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_label_selector(text)


@given(st.text(alphabet="ab=!(),<> innot/.-", max_size=20))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parse_label_selector(text).matches({"a": "b"})
    except SelectorError:
        return


words = st.from_regex(r"[a-z]([a-z.-]{0,5}[a-z])?", fullmatch=True).filter(
    lambda word: word not in {"in", "notin"}
)
requirements = st.builds(
    Requirement,
    words,
    st.sampled_from(["in", "notin"]),
    st.frozensets(words, min_size=1, max_size=3),
) | st.builds(Requirement, words, st.sampled_from(["exists", "absent"]))


@given(st.lists(requirements, max_size=4))
def test_what_is_written_is_what_is_read(found: list[Requirement]) -> None:
    def written(requirement: Requirement) -> str:
        match requirement.operator:
            case "exists":
                return requirement.key
            case "absent":
                return f"!{requirement.key}"
            case operator:
                return f"{requirement.key} {operator} ({','.join(requirement.values)})"

    text = ",".join(map(written, found))
    assert parse_label_selector(text) == LabelSelector(tuple(found))


def test_a_selector_object() -> None:
    selector = label_selector_of(
        {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}]}
    )
    assert selector.matches({"a": "b"})
    assert not selector.matches({"a": "b", "c": "d"})
    assert not label_selector_of(None).matches({"a": "b"})
    assert label_selector_of({}).matches({})


def test_fields() -> None:
    obj = {"metadata": {"name": "a"}, "spec": {"nodeName": "one", "flag": True}}
    selectable = ("spec.nodeName", "spec.flag", "spec.absent")
    for text, expected in (
        ("metadata.name=a", True),
        ("metadata.name!=a", False),
        ("spec.nodeName==one,metadata.name=a", True),
        ("spec.flag=true", True),
        ("spec.absent=", True),
    ):
        assert parse_field_selector(text, selectable).matches(obj) is expected
    for text in ("spec.other=1", "metadata.name", "=x"):
        with pytest.raises(SelectorError):
            parse_field_selector(text, selectable)

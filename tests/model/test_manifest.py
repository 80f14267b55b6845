"""Manifests: places, bounds, and that no text is answered with anything but a refusal."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from hauberk.model.analysis.finding import Place
from hauberk.model.manifest import ManifestError, parse_manifest

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  key: value\n"


def refusal(text: str) -> str:
    with pytest.raises(ManifestError) as raised:
        parse_manifest(text, "x.yaml")
    return str(raised.value)


def test_objects_know_where_they_were_written() -> None:
    first, second = parse_manifest(f"# a comment\n{CONFIG}---\n{CONFIG}", "x.yaml")
    assert (first.document, second.document) == (0, 1)
    assert first.place("metadata.name") == Place("x.yaml", 5, 3)
    assert second.place("data[key]") == Place("x.yaml", 14, 3)
    assert second.place("data.nothing.at.all") == Place("x.yaml", 13, 1)
    assert (first.namespace, first.name) == ("default", "a")


def test_every_error_of_a_file_is_listed() -> None:
    text = CONFIG.replace("value", "1") + "---\nkind: Foo\napiVersion: v1\n---\n[]\n---\na: 1\na: 2\n"
    lines = [line for line in refusal(text).splitlines() if line.startswith("x.yaml")]
    assert [line.split()[2] for line in lines] == ["HBK0004", "HBK0003", "HBK0007", "HBK0002"]
    assert lines[0].startswith("x.yaml:6:3: error HBK0004 ConfigMap a data[key]: expected a string")


def test_json_is_yaml() -> None:
    text = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"b": "c"}}'
    assert parse_manifest(text, "x.json")[0].object["data"] == {"b": "c"}


def test_a_list_is_its_items() -> None:
    items = "\n".join(f"- apiVersion: v1\n  kind: ConfigMap\n  metadata: {{name: {name}}}" for name in "ab")
    found = parse_manifest(f"apiVersion: v1\nkind: List\nitems:\n{items}\n", "x.yaml")
    assert [item.name for item in found] == ["a", "b"]
    assert found[1].place("metadata.name").line == 9


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: [", "HBK0001"),
        ("a: *b", "HBK0001"),
        ("a: &a [*a]", "HBK0006"),
        ("a: !!python/object:os.system {}", "HBK0001"),
        ("a: !!binary aGk=", "HBK0001"),
        ("1: 2", "HBK0001"),
        ("a: .inf", "HBK0001"),
        ("just text", "HBK0007"),
        ("[" * 5000, "HBK000"),
        ("\x00", "HBK0001"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, code: str) -> None:
    assert code in refusal(text)


def test_aliases_cannot_blow_up() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "HBK0006" in refusal("\n".join(lines))


def test_aliases_and_merges_work() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {<<: {a: b, c: d}, c: e}\n"
    assert parse_manifest(text, "x")[0].object["data"] == {"a": "b", "c": "e"}


def test_scalars_are_those_of_kubernetes() -> None:
    text = CONFIG.replace("key: value", "a: 2020-01-01\n  b: 12:30\n  c: 'yes'")
    assert parse_manifest(text, "x")[0].object["data"] == {"a": "2020-01-01", "b": "12:30", "c": "yes"}


def test_a_kind_of_another_version_is_named() -> None:
    text = "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a}\n"
    assert "it is served as apps/v1" in refusal(text)


@given(st.text(st.sampled_from("abk: -[]{}\n&*!|>'\"#%@1.,?<\t\\~é\x00\ud800"), max_size=80))
@settings(max_examples=400, deadline=None)
def test_random_text_is_read_or_refused(text: str) -> None:
    try:
        parse_manifest(text, "x")
    except ManifestError as error:
        assert error.findings


@given(st.binary(max_size=60))
def test_random_damage_is_read_or_refused(damage: bytes) -> None:
    at = len(damage) * 7 % len(CONFIG)
    text = CONFIG[:at] + damage.decode("latin-1") + CONFIG[at:]
    try:
        parse_manifest(text, "x")
    except ManifestError as error:
        assert error.findings

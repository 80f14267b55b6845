"""Bodies in Kubernetes' protobuf form, as Go's typed clients write them: every field, zero or not, has its tag."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.model.kinds import ALL
from hauberk.store.client import ApiError
from hauberk.store.protobuf_bodies import MAGIC, decode_body
from hauberk.store.protobuf_messages import messages

PLAIN = {"string", "bytes", "int", "bool", "time", "microtime", "quantity", "intorstring", "raw", "extra"}
WITHOUT_PROTOBUF = {"CustomResourceDefinition"}
"""Served, and no Go client sends it so: its types are not of k8s.io/api."""


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    written = b""
    while value > 0x7F:
        written, value = written + bytes([value & 0x7F | 0x80]), value >> 7
    return written + bytes([value])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, raw) + field(3, "")


def decoded(api_version: str, kind: str, raw: bytes) -> dict[str, Any]:
    found = decode_body(body(api_version, kind, raw))
    assert (found.pop("apiVersion"), found.pop("kind")) == (api_version, kind)
    return found


def test_the_table_is_whole() -> None:
    table = messages()
    assert set(table.kinds.values()) <= set(table.fields)
    for name, fields in table.fields.items():
        assert all(field.type in PLAIN or field.type in table.fields for field in fields.values()), name
        assert len({field.name for field in fields.values()}) == len(fields), name
    native = {
        (kind.api_version, kind.name)
        for kind in ALL
        if not any(word in kind.group for word in ("istio", "gateway", "hauberk"))
        and kind.name not in WITHOUT_PROTOBUF
    }
    assert native <= set(table.kinds)


def test_what_is_zero_is_left_out_unless_json_would_have_it() -> None:
    metadata = field(1, "web") + field(2, "") + field(7, 0) + field(8, b"")
    selector = field(1, field(1, "app") + field(2, "web"))
    container = field(1, "c") + field(2, "host") + field(3, "sleep") + field(3, "") + field(17, 0)
    variable = field(1, "A") + field(2, "")
    template = field(1, field(1, "")) + field(2, field(2, container + field(7, variable)) + field(11, 0))
    strategy = field(2, field(1, field(1, 1) + field(2, 0) + field(3, "25%")))
    spec = field(1, 0) + field(2, selector) + field(3, template) + field(4, strategy) + field(5, 0)
    assert decoded("apps/v1", "Deployment", field(1, metadata) + field(2, spec) + field(3, b"")) == {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 0,  # asked for
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "spec": {
                    "containers": [
                        {"name": "c", "image": "host", "command": ["sleep", ""], "env": [{"name": "A"}]}
                    ]
                }
            },
            "strategy": {"rollingUpdate": {"maxUnavailable": "25%"}},
        },
    }


def test_the_core_group_in_a_role_is_the_empty_text() -> None:
    rule = field(1, "get") + field(2, "") + field(3, "pods")
    assert decoded("rbac.authorization.k8s.io/v1", "Role", field(2, rule))["rules"] == [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
    ]


def test_values_that_json_writes_plainly() -> None:
    quantity = field(2, field(1, "cpu") + field(2, field(1, "100m")))
    container = field(1, "c") + field(8, quantity) + field(10, field(1, field(2, field(2, field(2, 8080)))))
    volume = field(1, "v") + field(2, field(6, field(1, "s")))  # the source's fields stand in the volume
    pod = decoded("v1", "Pod", field(2, field(1, volume) + field(2, container)))["spec"]
    assert pod["volumes"] == [{"name": "v", "secret": {"secretName": "s"}}]
    assert pod["containers"][0]["resources"] == {"requests": {"cpu": "100m"}}
    assert pod["containers"][0]["livenessProbe"] == {"httpGet": {"port": 8080}}
    secret = decoded("v1", "Secret", field(2, field(1, "k") + field(2, b"\xff\x00")))
    assert base64.b64decode(secret["data"]["k"]) == b"\xff\x00"
    lease = decoded("coordination.k8s.io/v1", "Lease", field(2, field(4, field(1, 1) + field(2, 2000))))
    assert lease["spec"] == {"renewTime": "1970-01-01T00:00:01.000002Z"}
    extra = field(6, field(1, "scopes") + field(2, field(1, "a") + field(1, "b")))
    review = decoded("certificates.k8s.io/v1", "CertificateSigningRequest", field(2, extra))
    assert review["spec"]["extra"] == {"scopes": ["a", "b"]}
    data = decoded("apps/v1", "ControllerRevision", field(2, field(1, '{"a":1}')) + field(3, -1))
    assert data == {"data": {"a": 1}, "revision": -1}


def test_delete_options_belong_to_every_group() -> None:
    options = field(1, 0) + field(2, field(1, "u")) + field(4, "Orphan")
    assert decoded("apps/v1", "DeleteOptions", options) == {
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
        "propagationPolicy": "Orphan",
    }


def test_a_kind_that_has_no_message_is_415_and_garbage_400() -> None:
    with pytest.raises(ApiError) as unknown:
        decode_body(body("example.com/v1", "Gadget", b""))
    assert unknown.value.code == 415
    for wrong in (
        b"",
        b"\x08",
        b"k8s\x00\x0a\xff",
        body("v1", "Pod", field(2, 7)),
        body("v1", "Pod", b"\x0b"),
    ):
        with pytest.raises(ApiError) as malformed:
            decode_body(wrong)
        assert malformed.value.code == 400


@given(st.binary(max_size=200), st.sampled_from(sorted(messages().kinds)))
def test_whatever_bytes_come_are_an_object_or_refused(raw: bytes, kind: tuple[str, str]) -> None:
    try:
        found = decode_body(body(*kind, raw))
    except ApiError as refused:
        assert refused.code == 400
    else:
        assert found["kind"] == kind[1]


@given(st.binary(max_size=80))
def test_whatever_follows_the_magic_bytes(raw: bytes) -> None:
    try:
        decode_body(MAGIC + raw)
    except ApiError as refused:
        assert refused.code in {400, 415}

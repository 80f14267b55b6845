"""What somebody sends who means no good, or nothing at all: it is refused plainly and disturbs nobody."""

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from hauberk.model.kind import Object
from hauberk.model.kinds import CONFIG_MAP, DEPLOYMENT, SECRET
from hauberk.store import resources, storage
from hauberk.store.bodies import MOST_DEPTH, parse_body
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient
from hauberk.store.patch import PatchError, json_patch, strategic_merge_patch
from hauberk.store.resources import Resources
from hauberk.store.schema import compile_pattern, conform
from hauberk.store.server import ApiServer

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
REVIEWS = "/apis/authorization.k8s.io/v1"
ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"
JSON = "application/json"
YAML = "application/yaml"
JSON_PATCH, MERGE, STRATEGIC = (
    f"application/{name}+json" for name in ("json-patch", "merge-patch", "strategic-merge-patch")
)


@pytest.fixture
def location(tmp_path: Path) -> str:
    """What these tests look at is the same over every database."""
    return str(tmp_path / "store.db")


class Raw:
    """Sends what no client of ours would."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    async def __call__(
        self,
        method: str,
        path: str,
        body: bytes | Object | list[Any] | None = None,
        media: str = JSON,
        **headers: str,
    ) -> tuple[int, Any]:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"Content-Type": media, **{k.replace("_", "-"): v for k, v in headers.items()}}
        async with self._session.request(
            method, URL(self._server + path, encoded=True), data=data, headers=sent
        ) as answer:
            content = await answer.read()
            try:
                return answer.status, json.loads(content)
            except ValueError:
                return answer.status, content.decode(errors="replace")


@pytest.fixture
async def raw(client: HttpClient) -> AsyncIterator[Raw]:
    await client.create(CONFIG_MAP, {"metadata": {"name": "a", "namespace": "default"}, "data": {"a": "b"}})
    yield Raw(client._open(), client.connection.server)
    assert await client.get(CONFIG_MAP, "default", "a")  # it goes on


def named(name: str = "x", **metadata: Any) -> Object:
    return {"metadata": {"name": name, **metadata}}


MALFORMED: list[tuple[str, str, Any, str]] = [
    ("POST", MAPS, b"", JSON),
    ("POST", MAPS, b"[]", JSON),
    ("POST", MAPS, b"null", JSON),
    ("POST", MAPS, b"\xff\xfe", JSON),
    ("POST", MAPS, b"\xff\xfe", YAML),
    ("POST", MAPS, b"a: [", YAML),
    ("POST", MAPS, b"a: !!python/object/apply:os.system [id]", YAML),
    ("POST", MAPS, {"metadata": []}, JSON),
    ("POST", MAPS, {"metadata": {"name": 5}}, JSON),
    ("POST", MAPS, named(labels=["a"]), JSON),
    ("POST", MAPS, named(labels={"a": 1}), JSON),
    ("POST", MAPS, named(finalizers="a"), JSON),
    ("POST", MAPS, named(ownerReferences=[5]), JSON),
    ("POST", MAPS, named(resourceVersion=5), JSON),
    ("POST", MAPS, {"metadata": {"generateName": 5}}, JSON),
    ("POST", MAPS, {**named(), "data": 5}, JSON),
    ("POST", "/api/v1/namespaces", {**named(), "spec": 5}, JSON),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": "x", "labels": 5}}, JSON),
    ("PUT", f"{MAPS}/a", named("a", uid=5), JSON),
    ("PATCH", f"{MAPS}/a", [], MERGE),
    ("PATCH", f"{MAPS}/a", {"metadata": None}, MERGE),
    ("PATCH", f"{MAPS}/a", {"metadata": {"name": "b"}}, MERGE),
    ("PATCH", f"{MAPS}/a", {}, JSON_PATCH),
    ("PATCH", f"{MAPS}/a", [5], JSON_PATCH),
    ("PATCH", f"{MAPS}/a", [{"op": "copy", "path": "/x"}], JSON_PATCH),
    ("PATCH", f"{MAPS}/a", [{"op": "replace", "path": "", "value": 5}], JSON_PATCH),
    ("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": [[]], "$retainKeys": 5}}, STRATEGIC),
    ("DELETE", f"{MAPS}/a", {"gracePeriodSeconds": "soon"}, JSON),
    ("DELETE", f"{MAPS}/a", {"preconditions": []}, JSON),
    ("DELETE", f"{MAPS}/a", {"propagationPolicy": "Sideways"}, JSON),
    ("DELETE", f"{MAPS}/a?gracePeriodSeconds=" + "9" * 5000, None, JSON),
    ("GET", f"{MAPS}?limit=" + "9" * 5000, None, JSON),
    ("GET", f"{MAPS}?limit=-1", None, JSON),
    ("GET", f"{MAPS}?limit=%D9%A3", None, JSON),
    ("GET", f"{MAPS}?continue=bad", None, JSON),
    ("GET", f"{MAPS}?continue=W10", None, JSON),
    ("GET", f"{MAPS}?continue=WzEsInNlY3JldHMiLCJkZWZhdWx0IiwiYSJd", None, JSON),
    ("GET", f"{MAPS}?labelSelector=a+in+(", None, JSON),
    ("GET", f"{MAPS}?labelSelector=" + "a," * 2000, None, JSON),
    ("GET", f"{MAPS}?fieldSelector=data.a=b", None, JSON),
    ("GET", f"{MAPS}?watch=1&resourceVersion=x", None, JSON),
    ("POST", f"{PODS}/none/binding", {"target": "one"}, JSON),
    ("POST", f"{PODS}/none/eviction", {"deleteOptions": []}, JSON),
    ("POST", f"{ACCOUNT}/token", {"spec": []}, JSON),
    ("POST", f"{ACCOUNT}/token", {"spec": {"audiences": "a"}}, JSON),
    ("POST", f"{ACCOUNT}/token", {"spec": {"expirationSeconds": 2**40}}, JSON),
    ("POST", f"{ACCOUNT}/token", {"spec": {"boundObjectRef": "a"}}, JSON),
    ("POST", f"{REVIEWS}/selfsubjectaccessreviews", {"spec": [], "metadata": 5}, JSON),
    ("POST", f"{REVIEWS}/subjectaccessreviews", {"spec": {"groups": [[]]}}, JSON),
    ("POST", f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": 5}}, JSON),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": 5}}, JSON),
    ("PUT", "/apis/apps/v1/namespaces/default/deployments/none/scale", {"spec": {"replicas": "many"}}, JSON),
    ("POST", MAPS, b"k8s\x00\xff\xff\xff", "application/vnd.kubernetes.protobuf"),
    ("PROPFIND", MAPS, None, JSON),
]  # fmt: skip


async def test_malformed_requests_are_the_callers_fault(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    for method, path, body, media in MALFORMED:
        code, answer = await raw(method, path, body, media)
        assert 400 <= code < 500, (method, path[:60], body, code, answer)
        assert isinstance(answer, dict), (method, path[:60], answer)
        assert answer["kind"] == "Status" and answer["code"] == code and answer["reason"]
        assert len(answer["message"]) < 5000
    assert not [record for record in caplog.records if "fault" in record.message]


async def test_paths_are_what_was_authorized(raw: Raw) -> None:
    for path in (
        "/api/v1/namespaces/default/secrets/../configmaps/a",
        "/api/v1/namespaces/default/%2e%2e/%2e%2e/v1/nodes",
        f"{MAPS}/a%2Fstatus",
        f"{MAPS}/a/b/c/d",
        "/api/v1/namespaces//configmaps/a",
        "/apis/apps/v1/namespaces/default/deployments/%00",
        f"{MAPS}/{'a' * 5000}",
    ):
        code, answer = await raw("GET", path)
        assert code in {404, 405}, (path[:50], code, answer)


async def test_bodies_are_bounded(raw: Raw) -> None:
    big = b'{"metadata":{"name":"x"},"data":{"a":"' + b"x" * (4 * 1024 * 1024) + b'"}}'
    assert (await raw("POST", MAPS, big))[0] == 413
    event = {**named(), "involvedObject": {}, "message": "x" * (2 * 1024 * 1024)}
    code, answer = await raw("POST", "/api/v1/namespaces/default/events", event)
    assert code == 413 and "at most 1572864 bytes" in answer["message"]
    bomb = gzip.compress(b" " * (256 * 1024 * 1024))
    assert (await raw("POST", MAPS, bomb, Content_Encoding="gzip"))[0] in {400, 413}
    deep = b'{"metadata":{"name":"x"},"data":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}"
    assert (await raw("POST", MAPS, deep))[0] == 400
    for levels, code in ((MOST_DEPTH + 1, 400), (MOST_DEPTH - 10, 422)):
        nested = b'{"metadata":{"name":"x"},"data":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"
        assert (await raw("POST", MAPS, nested))[0] == code
    aliases = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}' if n else 'y'] * 10)}]" for n in range(12))
    assert (await raw("POST", MAPS, aliases.encode(), YAML))[0] == 400
    assert (await raw("POST", MAPS, b"a: " + b"x" * (1024 * 1024), YAML))[0] == 400


async def test_patches_are_bounded(raw: Raw) -> None:
    doubling = [{"op": "copy", "from": "", "path": f"/{n}"} for n in range(60)]
    code, answer = await raw("PATCH", f"{MAPS}/a", doubling, JSON_PATCH)
    assert code == 422 and "copies of at most" in answer["message"]
    nesting = [{"op": "add", "path": "/data/a" + "/a" * n, "value": {}} for n in range(MOST_DEPTH + 50)]
    assert (await raw("PATCH", f"{MAPS}/a", nesting, JSON_PATCH))[0] in {400, 422}
    # Lists of many elements are merged in time that grows with their length, not with its square.
    finalizers = {"metadata": {"finalizers": [f"example.com/{n}" for n in range(50_000)]}}
    async with asyncio.timeout(20):
        assert (await raw("PATCH", f"{MAPS}/a", finalizers, STRATEGIC))[0] in {200, 413}
    assert (await raw("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, MERGE))[0] == 200


async def test_what_cannot_change_does_not(client: HttpClient, raw: Raw) -> None:
    before = (await client.get(CONFIG_MAP, "default", "a"))["metadata"]
    for field, value in (("uid", "other"), ("namespace", "kube-system"), ("resourceVersion", "1")):
        code, _ = await raw("PATCH", f"{MAPS}/a", {"metadata": {field: value}}, MERGE)
        assert code in {400, 409, 422}, field
    await raw("PATCH", f"{MAPS}/a", {"metadata": {"creationTimestamp": None, "generation": 7}}, MERGE)
    assert (await client.get(CONFIG_MAP, "default", "a"))["metadata"] == before
    await client.create(
        CONFIG_MAP, {"metadata": {"name": "i", "namespace": "default"}, "data": {"a": "b"}, "immutable": True}
    )
    with pytest.raises(ApiError) as immutable:
        await client.patch(CONFIG_MAP, "default", "i", {"data": {"a": "c"}})
    assert immutable.value.code == 422
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "host"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    await client.create(DEPLOYMENT, {"metadata": {"name": "d", "namespace": "default"}, "spec": spec})
    with pytest.raises(ApiError) as selector:
        await client.patch(DEPLOYMENT, "default", "d", {"spec": {"selector": {"matchLabels": {"a": "c"}}}})
    assert selector.value.code == 422


SECRETS = ("aHVudGVyMg", "hunter2")


async def test_a_secret_is_in_no_error_and_no_log(
    client: HttpClient, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = "/api/v1/namespaces/default/secrets"
    await client.create(SECRET, {**named("s", namespace="default"), "data": {"a": "aHVudGVyMg=="}})
    told = []
    for method, where, body, media in (
        ("POST", path, {**named(), "data": {"a": "hunter2!"}}, JSON),
        ("POST", path, {**named(), "data": {"a": ["hunter2"]}}, JSON),
        ("POST", path, {**named(), "data": "hunter2"}, JSON),
        ("POST", path, {**named(), "stringData": {"a": {"b": "hunter2"}}}, JSON),
        ("POST", path, {**named(), "type": ["hunter2"]}, JSON),
        ("POST", path, b'{"metadata": {"name": "x"}, "data": {"a": "aHVudGVyMg=="}', JSON),
        ("POST", path, b'metadata: {name: x}\ndata: {a: "hunter2", a: hunter2: hunter2}', YAML),
        ("PATCH", f"{path}/s", [{"op": "test", "path": "/data/a", "value": "x"}], JSON_PATCH),
        ("PATCH", f"{path}/s", [{"op": "add", "path": "/data/a/b", "value": "x"}], JSON_PATCH),
        ("PATCH", f"{path}/s", {"data": {"a": "hunter2!"}}, STRATEGIC),
        ("PUT", f"{path}/s", {**named("s"), "data": {"a": "hunter2!"}}, JSON),
    ):
        code, answer = await raw(method, where, body, media)
        assert code >= 400, answer
        told.append(json.dumps(answer))
    everything = " ".join([*told, caplog.text])
    assert not [secret for secret in SECRETS if secret in everything], everything


def test_no_value_of_a_secret_object_is_told() -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": "^x$", "enum": ["x"], "minLength": 100}}}
    for secret in (True, False):
        told = str(conform({"a": "hunter2"}, schema, secret=secret).errors)
        assert ("hunter2" in told) is not secret


async def test_a_fault_is_told_without_what_it_met(
    raw: Raw, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_self: Resources, _call: Any) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr(Resources, "answer", fails)
    code, answer = await raw("GET", f"{MAPS}/a")
    monkeypatch.undo()
    assert code == 500 and answer["kind"] == "Status" and answer["reason"] == "InternalError"
    fault = answer["message"].partition("fault ")[2][:16]
    assert fault in caplog.text and "KeyError" in caplog.text and "test_hostile_requests.py" in caplog.text
    assert "hunter2" not in caplog.text + answer["message"]


async def test_definitions_say_only_what_is_carried_out(client: HttpClient, raw: Raw) -> None:
    def definition(schema: Any) -> Object:
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        names = {"plural": "gadgets", "kind": "Gadget"}
        return {
            "metadata": {"name": "gadgets.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
        }

    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for wrong, where in (
        ({"type": "thing"}, "openAPIV3Schema.type"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)"}}}, "[a].pattern"),
        ({"type": "object", "properties": {"a": 5}}, "properties[a]"),
        ({"type": "object", "properties": []}, "properties"),
        ({"type": "object", "required": [5]}, "required"),
        ({"type": "object", "$ref": "#/x"}, "$ref"),
        ({"type": "object", "x-kubernetes-validations": [{"rule": "self.a > 0"}]}, "x-kubernetes-validations"),
        ({"type": "object", "properties": {"a": {"type": "number", "multipleOf": 0}}}, "multipleOf"),
        ({"type": "object", "properties": {"a": {"type": "integer", "maximum": "9"}}}, "maximum"),
    ):  # fmt: skip
        code, answer = await raw("POST", path, definition(wrong))
        assert code == 422 and where in answer["message"], (wrong, answer)
    slow = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    assert (await raw("POST", path, definition(slow)))[0] == 201
    gadget = {"apiVersion": "example.com/v1", "kind": "Gadget", **named(), "a": "a" * 10_000 + "!"}
    async with asyncio.timeout(5):
        code, answer = await raw("POST", "/apis/example.com/v1/namespaces/default/gadgets", gadget)
    assert code == 422 and len(answer["message"]) < 2000


def test_patterns_take_time_in_proportion_to_the_text() -> None:
    assert not compile_pattern("^(a|aa|a?)+$").search("a" * 100_000 + "!")


async def test_impersonation_of_an_account_is_a_right_to_that_account(client: HttpClient, raw: Raw) -> None:
    as_account = {"Impersonate_User": "system:serviceaccount:default:default"}
    code, answer = await raw("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, **as_account)
    assert code == 201
    groups = answer["status"]["userInfo"]["groups"]
    assert groups == ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"]
    nobody = {"Impersonate_User": "system:anonymous"}
    assert (await raw("GET", "/apis", **nobody))[0] == 403
    assert (await raw("GET", "/apis", Impersonate_Group="system:masters"))[0] == 400
    assert client


async def test_a_local_review_is_about_its_own_namespace(raw: Raw) -> None:
    path = f"{REVIEWS}/namespaces/default/localsubjectaccessreviews"
    for namespace, code in (("default", 201), ("kube-system", 400)):
        asked = {"namespace": namespace, "verb": "get", "resource": "secrets"}
        assert (await raw("POST", path, {"spec": {"user": "ann", "resourceAttributes": asked}}))[0] == code


async def test_a_slow_reader_is_dropped_and_others_are_not(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events wait up to a bound; then it gets an error, and its connection ends."""
    monkeypatch.setattr(storage, "WATCH_BACKLOG", 50)
    revision = (await client.list(CONFIG_MAP, "default")).resource_version
    where = f"{client.connection.server}{MAPS}?watch=1&resourceVersion={revision}"
    async with client._open().get(where) as slow:
        large = {"data": {"a": "x" * 200_000}}
        await client.create(CONFIG_MAP, {"metadata": {"name": "large", "namespace": "default"}})
        for number in range(150):
            large["data"]["n"] = str(number)
            await client.patch(CONFIG_MAP, "default", "large", large)
        seen = 0
        async for line in slow.content:
            seen += 1
            if b'"ERROR"' in line[:20]:
                assert json.loads(line)["object"]["code"] == 410
                break
        assert 0 < seen < 150


async def test_watches_of_one_user_are_bounded(
    client: HttpClient, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "MOST_WATCHES", 3)
    where = f"{client.connection.server}{MAPS}?watch=1"
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(client._open().get(where))
        code, answer = await raw("GET", f"{MAPS}?watch=1")
        assert code == 429 and answer["reason"] == "TooManyRequests"
        assert answer["details"]["retryAfterSeconds"] == 1
        assert (await raw("GET", MAPS))[0] == 200
        ann = {"Impersonate_User": "ann", "Impersonate_Group": "system:masters"}
        assert (await raw("GET", f"{MAPS}?watch=1&timeoutSeconds=1", **ann))[0] == 200
    async with asyncio.timeout(10):  # the server hears of closed connections a little later
        while (await raw("GET", f"{MAPS}?watch=1&timeoutSeconds=1"))[0] != 200:
            pass


async def compacted(server: ApiServer, revision: int) -> bool:
    async with asyncio.timeout(10):
        while True:
            if server.storage.compacted > revision:
                return True
            await asyncio.sleep(0.05)


async def test_history_is_bounded_in_bytes(
    server: ApiServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "RETAINED_BYTES", 1_000_000)
    first = (await client.list(CONFIG_MAP, "default")).resource_version
    await client.create(CONFIG_MAP, {"metadata": {"name": "large", "namespace": "default"}})
    for number in range(30):
        await client.patch(CONFIG_MAP, "default", "large", {"data": {"a": str(number) + "x" * 100_000}})
    assert await compacted(server, int(first))
    with pytest.raises(ApiError) as gone:
        async for _ in client.watch(CONFIG_MAP, "default", resource_version=first):
            pass
    assert gone.value.code == 410
    assert (await client.get(CONFIG_MAP, "default", "large"))["data"]["a"].startswith("29")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["a", "b", "name", "$patch", "delete", ""]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["a", "name", "containers", "env", "$patch", "$retainKeys", "$setElementOrder/env"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
LISTS = {
    "properties": {
        name: {
            "type": "array",
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "name",
            "items": {"properties": {}},
        }
        for name in ("env", "containers")
    }
    | {"a": {"type": "array", "x-kubernetes-patch-strategy": "merge"}}
}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON_VALUES, JSON_VALUES)
def test_any_patch_fits_or_is_refused(target: Any, patch: Any) -> None:
    for apply in (lambda: strategic_merge_patch(target, patch, LISTS), lambda: json_patch(target, patch)):
        before = json.dumps([target, patch])
        with contextlib.suppress(PatchError):
            apply()
        assert json.dumps([target, patch]) == before


OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"])},
        optional={
            "path": st.sampled_from(["", "/a", "/a/0", "/a/-", "/name/x", "a", "/~2"]) | st.integers(),
            "from": st.sampled_from(["", "/a", "/a/0", "/a/-", "/name"]) | st.integers(),
            "value": JSON_VALUES,
        },
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON_VALUES, OPERATIONS)
def test_any_operations_fit_or_are_refused(target: Any, operations: list[Any]) -> None:
    with contextlib.suppress(PatchError):
        json_patch(target, operations)


@given(st.binary(max_size=100), st.sampled_from([JSON, YAML]))
def test_any_bytes_are_a_body_or_refused(body: bytes, media: str) -> None:
    try:
        parse_body(media, body)
    except ApiError as refused:
        assert refused.code == 400

"""Who may do what: the matrix of roles, bindings and subjects, over the wire."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.store.conftest import Authority

from hauberk.model.kind import Kind, Object
from hauberk.model.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    NAMESPACE,
    NODE,
    POD,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE_ACCOUNT,
)
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient
from hauberk.store.kubeconfig import Connection

RBAC = "rbac.authorization.k8s.io"


def role(name: str, *rules: Object, namespace: str = "bank") -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "rules": list(rules)}


def rule(verbs: list[str], resources: list[str], group: str = "", **more: Any) -> Object:
    return {"verbs": verbs, "resources": resources, "apiGroups": [group], **more}


def binding(name: str, kind: str, role_name: str, *subjects: Object, namespace: str = "bank") -> Object:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role_name},
        "subjects": list(subjects),
    }


def user(name: str) -> Object:
    return {"kind": "User", "name": name, "apiGroup": RBAC}


def config_map(name: str, namespace: str = "bank") -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "data": {"a": "b"}}


async def refused(call: Any) -> str:
    with pytest.raises(ApiError) as error:
        await call
    assert error.value.code == 403, error.value.message
    return error.value.message


class People:
    """Clients of the same server under different names."""

    def __init__(self, port: int, authority: Authority, admin: HttpClient) -> None:
        self.admin = admin
        self._port = port
        self._authority = authority
        self._opened: list[HttpClient] = []

    def of(self, name: str, *groups: str) -> HttpClient:
        return self._open(self._authority.connection(self._port, name, *groups))

    def bearer(self, token: str) -> HttpClient:
        return self._open(Connection(f"https://127.0.0.1:{self._port}", self._authority.pem(), token=token))

    def _open(self, connection: Connection) -> HttpClient:
        self._opened.append(HttpClient(connection))
        return self._opened[-1]

    async def close(self) -> None:
        for client in self._opened:
            await client.close()


@pytest.fixture
async def people(port: int, authority: Authority, client: HttpClient) -> AsyncIterator[People]:
    found = People(port, authority, client)
    for name in ("bank", "other"):
        await client.create(NAMESPACE, {"metadata": {"name": name}})
        await client.create(CONFIG_MAP, config_map("a", name))
        async with asyncio.timeout(10):
            async for _ in client.watch(SERVICE_ACCOUNT, name, resource_version="0"):
                break  # the default account is there
    yield found
    await found.close()


async def test_nobody_may_do_anything_unless_bound(people: People) -> None:
    for who in (people.of("ann"), people.bearer("")):
        for kind in (CONFIG_MAP, SECRET, POD):
            await refused(who.list(kind, "bank"))
            await refused(who.list(kind))
        message = await refused(who.create(CONFIG_MAP, config_map("b")))
        assert 'cannot create resource "configmaps" in API group "" in the namespace "bank"' in message
    assert (await people.of("ann").raw("GET", "/apis"))["kind"] == "APIGroupList"
    await refused(people.bearer("").raw("GET", "/apis"))
    with pytest.raises(ApiError) as unknown:
        await people.bearer("not-a-token").list(CONFIG_MAP)
    assert unknown.value.code == 401


@pytest.mark.parametrize(
    ("rules", "verb", "allowed"),
    [
        ([rule(["get"], ["configmaps"])], "get", True),
        ([rule(["list"], ["configmaps"])], "get", False),
        ([rule(["get"], ["secrets"])], "get", False),
        ([rule(["get"], ["configmaps"], group="apps")], "get", False),
        ([rule(["*"], ["*"], group="*")], "get", True),
        ([rule(["get"], ["configmaps/status"])], "get", False),
        ([rule(["get"], ["configmaps"], resourceNames=["a"])], "get", True),
        ([rule(["get"], ["configmaps"], resourceNames=["b"])], "get", False),
        ([rule(["list"], ["configmaps"])], "list", True),
        ([rule(["list"], ["configmaps"], resourceNames=["a"])], "list", False),
        ([rule(["create"], ["configmaps"])], "create", True),
        ([rule(["update"], ["configmaps"])], "create", False),
        ([rule(["delete"], ["configmaps"])], "delete", True),
        ([rule(["deletecollection"], ["configmaps"])], "delete", False),
        ([rule(["patch"], ["configmaps"])], "patch", True),
        ([rule(["update"], ["configmaps"])], "patch", False),
    ],
)
async def test_a_role_gives_what_it_says(
    people: People, rules: list[Object], verb: str, allowed: bool
) -> None:
    await people.admin.create(ROLE, role("r", *rules))
    await people.admin.create(ROLE_BINDING, binding("r", "Role", "r", user("ann")))
    ann = people.of("ann")

    def call(who: HttpClient, namespace: str) -> Any:
        match verb:
            case "get":
                return who.get(CONFIG_MAP, namespace, "a")
            case "list":
                return who.list(CONFIG_MAP, namespace)
            case "create":
                return who.create(CONFIG_MAP, config_map("new", namespace))
            case "patch":
                return who.patch(CONFIG_MAP, namespace, "a", {"data": {"x": "y"}})
            case _:
                return who.delete(CONFIG_MAP, namespace, "a")

    await refused(call(ann, "other"))
    await refused(call(people.of("bob"), "bank"))
    if allowed:
        await call(ann, "bank")
    else:
        await refused(call(ann, "bank"))


async def test_cluster_roles_aggregate_and_bindings_confine_them(people: People) -> None:
    await people.admin.create(ROLE_BINDING, binding("v", "ClusterRole", "view", user("ann")))
    ann = people.of("ann")
    assert (await ann.get(CONFIG_MAP, "bank", "a"))["data"]
    await refused(ann.get(CONFIG_MAP, "other", "a"))
    await refused(ann.list(SECRET, "bank"))
    await refused(ann.create(CONFIG_MAP, config_map("b")))
    await people.admin.create(ROLE_BINDING, binding("e", "ClusterRole", "edit", user("ann")))
    await ann.create(CONFIG_MAP, config_map("b"))
    await refused(ann.create(ROLE, role("r")))
    group = {"kind": "Group", "name": "auditors", "apiGroup": RBAC}
    everywhere = binding("auditors", "ClusterRole", "view", group)
    del everywhere["metadata"]["namespace"]
    await people.admin.create(CLUSTER_ROLE_BINDING, everywhere)
    assert len((await people.of("carl", "auditors").list(CONFIG_MAP)).items) == 3


async def test_nobody_gives_what_they_do_not_have(people: People) -> None:
    await people.admin.create(ROLE_BINDING, binding("a", "ClusterRole", "admin", user("ann")))
    ann = people.of("ann")
    await ann.create(ROLE, role("fine", rule(["get"], ["configmaps"])))
    message = await refused(ann.create(ROLE, role("more", rule(["get"], ["nodes"]))))
    assert "attempting to grant RBAC permissions not currently held" in message
    await refused(ann.patch(ROLE, "bank", "fine", {"rules": [rule(["*"], ["*"], group="*")]}))
    await ann.create(ROLE_BINDING, binding("fine", "Role", "fine", user("bob")))
    await refused(ann.create(ROLE_BINDING, binding("more", "ClusterRole", "cluster-admin", user("ann"))))
    await refused(ann.create(ROLE_BINDING, binding("other", "Role", "fine", user("bob"), namespace="other")))
    cluster_role = role("x", rule(["get"], ["configmaps"]))
    del cluster_role["metadata"]["namespace"]
    await refused(ann.create(CLUSTER_ROLE, cluster_role))


async def test_impersonation_is_a_right_of_its_own(port: int, authority: Authority, people: People) -> None:
    async def reads(who: str, *groups: str) -> Object:
        client = HttpClient(authority.connection(port, who, *groups))
        try:
            client._open().headers["Impersonate-User"] = "bob"
            return await client.get(CONFIG_MAP, "bank", "a")
        finally:
            await client.close()

    assert 'cannot impersonate resource "users"' in await refused(reads("ann"))
    # Even the administrator has as bob only what bob has.
    assert 'User "bob" cannot get' in await refused(reads("root", "system:masters"))
    await people.admin.create(ROLE_BINDING, binding("v", "ClusterRole", "view", user("bob")))
    assert (await reads("root", "system:masters"))["data"]


async def pod_token(people: People, pod: Object | None, seconds: int = 600, **spec: Any) -> str:
    request: Object = {"spec": {"expirationSeconds": seconds, **spec}}
    if pod is not None:
        metadata = pod["metadata"]
        request["spec"]["boundObjectRef"] = {"kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    answer = await people.admin.post(SERVICE_ACCOUNT, "bank", "default", "token", request)
    return str(answer["status"]["token"])


def pod(name: str, node: str = "one", **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "namespace": "bank"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "image": "host", "command": ["true"]}],
            **spec,
        },
    }


async def test_a_pods_token_lives_as_long_as_the_pod_and_gives_nothing_by_itself(people: People) -> None:
    await people.admin.create(POD, pod("p"))
    made = await people.admin.get(POD, "bank", "p")
    bearer = people.bearer(await pod_token(people, made))
    message = await refused(bearer.list(CONFIG_MAP, "bank"))
    assert 'User "system:serviceaccount:bank:default" cannot list' in message
    account = {"kind": "ServiceAccount", "name": "default", "namespace": "bank"}
    await people.admin.create(ROLE_BINDING, binding("v", "ClusterRole", "view", account))
    assert (await bearer.list(CONFIG_MAP, "bank")).items
    for_others = people.bearer(await pod_token(people, made, audiences=["vault"]))
    with pytest.raises(ApiError) as wrong_audience:
        await for_others.list(CONFIG_MAP, "bank")
    assert wrong_audience.value.code == 401
    await people.admin.delete(POD, "bank", "p", grace_period_seconds=0)
    with pytest.raises(ApiError) as gone:
        await bearer.list(CONFIG_MAP, "bank")
    assert gone.value.code == 401


async def test_a_changed_token_is_no_token(people: People) -> None:
    token = await pod_token(people, None)
    header, claims, signature = token.split(".")
    for changed in (
        f"{header}.{claims}.",
        f"{header}.{claims}x.{signature}",
        f"{claims}.{header}.{signature}",
        "a.b.c",
    ):
        with pytest.raises(ApiError) as unknown:
            await people.bearer(changed).list(CONFIG_MAP, "bank")
        assert unknown.value.code == 401


async def created(people: People, kind: Kind, *objects: Object) -> None:
    for obj in objects:
        await people.admin.create(kind, obj)


SELECTING = (
    "metadata.namespace!=x\\,metadata.name=a",
    "metadata.name!=x\\,metadata.name=a",
    "metadata.name!=a",
    "metadata.name=a\\,",
    "metadata.name=b",
)
"""Not one of these selects `a` alone, whatever it looks like."""


async def test_a_right_to_one_name_is_no_right_to_a_list(people: People) -> None:
    await people.admin.create(CONFIG_MAP, config_map("b"))
    await people.admin.create(ROLE, role("r", rule(["list", "watch"], ["configmaps"], resourceNames=["a"])))
    await people.admin.create(ROLE_BINDING, binding("r", "Role", "r", user("ann")))
    ann = people.of("ann")
    only = await ann.list(CONFIG_MAP, "bank", field_selector="metadata.name=a")
    assert [item["metadata"]["name"] for item in only.items] == ["a"]
    for selector in SELECTING:
        await refused(ann.list(CONFIG_MAP, "bank", field_selector=selector))
    watched = await ann.raw("GET", "/api/v1/watch/namespaces/bank/configmaps/a?timeoutSeconds=1")
    assert watched["object"]["metadata"]["name"] == "a"  # one event, not one for each
    await refused(ann.raw("GET", "/api/v1/watch/namespaces/bank/configmaps?timeoutSeconds=1"))
    await refused(ann.raw("GET", "/api/v1/watch/namespaces/bank/configmaps/b?timeoutSeconds=1"))


async def test_a_node_obtains_only_what_its_pods_reference(people: People) -> None:
    node = people.of("system:node:one", "system:nodes")
    await created(people, NODE, {"metadata": {"name": "two"}})
    names = ("volume", "environment", "projected", "unused", "foreign")
    await created(
        people,
        SECRET,
        *({"metadata": {"name": n, "namespace": "bank"}, "data": {"a": "Yg=="}} for n in names),
    )
    await created(people, CONFIG_MAP, *(config_map(n) for n in names))
    volumes = [
        {"name": "v", "secret": {"secretName": "volume"}},
        {
            "name": "w",
            "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "volume"}}]},
        },
    ]
    container = {
        "name": "c",
        "image": "host",
        "command": ["true"],
        "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "environment", "key": "a"}}}],
        "envFrom": [{"configMapRef": {"name": "environment"}}],
    }
    await created(
        people,
        POD,
        pod("mine", volumes=volumes, containers=[container]),
        pod("theirs", "two", volumes=[{"name": "v", "secret": {"secretName": "foreign"}}]),
    )
    for name in ("volume", "environment", "projected"):
        assert (await node.get(SECRET, "bank", name))["data"]
    for name in ("volume", "environment"):
        assert (await node.get(CONFIG_MAP, "bank", name))["data"]
    for name in ("unused", "foreign", "absent"):
        await refused(node.get(SECRET, "bank", name))
    await refused(node.get(CONFIG_MAP, "bank", "unused"))
    await refused(node.list(SECRET, "bank"))
    await refused(node.list(SECRET))
    await refused(node.patch(SECRET, "bank", "volume", {"data": {"a": "Yw=="}}))
    # Its own pods, and no others.
    mine = await node.list(POD, field_selector="spec.nodeName=one")
    assert [p["metadata"]["name"] for p in mine.items] == ["mine"]
    await refused(node.list(POD))
    await refused(node.list(POD, field_selector="spec.nodeName=two"))
    await refused(node.list(POD, field_selector="spec.nodeName!=one"))
    await refused(node.list(POD, field_selector="metadata.name!=x\\,spec.nodeName=one"))
    await refused(node.list(SECRET, "bank", field_selector="metadata.name!=x\\,metadata.name=volume"))
    await refused(node.get(POD, "bank", "theirs"))
    await node.patch(POD, "bank", "mine", {"status": {"phase": "Running"}}, subresource="status")
    await refused(node.patch(POD, "bank", "theirs", {"status": {"phase": "Running"}}, subresource="status"))
    await refused(node.patch(POD, "bank", "mine", {"metadata": {"labels": {"a": "b"}}}))
    await refused(node.create(POD, pod("new")))
    # Itself, and no other node.
    await node.create(NODE, {"metadata": {"name": "one"}})
    await refused(node.create(NODE, {"metadata": {"name": "three"}}))
    await node.patch(NODE, None, "one", {"status": {"phase": "Running"}}, subresource="status")
    await refused(node.patch(NODE, None, "two", {"metadata": {"labels": {"a": "b"}}}))
    # A token only for a pod that it runs, bound to it.
    for name, allowed in (("mine", True), ("theirs", False)):
        metadata = (await people.admin.get(POD, "bank", name))["metadata"]
        reference = {"kind": "Pod", "name": name, "uid": metadata["uid"]}
        asked = node.post(
            SERVICE_ACCOUNT, "bank", "default", "token", {"spec": {"boundObjectRef": reference}}
        )
        if allowed:
            assert (await asked)["status"]["token"]
        else:
            await refused(asked)
    await refused(node.post(SERVICE_ACCOUNT, "bank", "default", "token", {"spec": {}}))

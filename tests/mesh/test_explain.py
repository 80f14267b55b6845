"""`authz check` and `route explain` say what the proxy's engine says of a configuration, and where it came from."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mesh_testing.objects import configuration, endpoint_slice, pod, service

from hauberk.cli.callers import caller_of
from hauberk.cli.errors import CommandError
from hauberk.cli.explained import inbound_lines, outbound_lines, policy_object, route_object
from hauberk.cli.explaining import Answer, Call
from hauberk.cli.pods import pod_of
from hauberk.cli.receiving import receive
from hauberk.cli.references import WorkloadReference
from hauberk.cli.verbs.route import send
from hauberk.mesh.proxy import NodeId, ProxyKind, proxy_of
from hauberk.mesh.registry import Registry
from hauberk.mesh.serve_files import dump
from hauberk.mesh.snapshot import Snapshot
from hauberk.model.kind import Kind
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient

Object = dict[str, Any]


class World:
    """A control plane's answers, of objects in memory."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self.objects = objects
        self.snapshot = Snapshot(Registry().update(objects))

    async def raw(self, _method: str, where: str) -> dict[str, Any]:
        namespace, name = where.removeprefix("/hauberk/v1/snapshot/").split("/")
        workload = self.snapshot.registry.workloads[(namespace, name)]
        node = NodeId(ProxyKind.SIDECAR, workload.address, name, namespace)
        return dump(self.snapshot, proxy_of(node, workload))

    async def list(self, kind: Kind, namespace: str) -> SimpleNamespace:
        items = [
            one
            for one in self.objects
            if one["kind"] == kind.name and one["metadata"].get("namespace", "default") == namespace
        ]
        return SimpleNamespace(items=items)

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        for one in (await self.list(kind, namespace)).items:
            if one["metadata"]["name"] == name:
                return cast(Object, one)
        raise ApiError(404, "NotFound", f"no {name}")


def policy(name: str, action: str, **rule: Any) -> Object:
    return configuration("AuthorizationPolicy", name, {"action": action, "rules": [rule]}, "bank")


def account(name: str) -> Object:
    metadata = {"name": name, "namespace": "bank"}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


WEB = {"source": {"principals": ["cluster.local/ns/bank/sa/web"]}}
WORLD = World(
    [
        service("ledger", "bank", "10.96.0.5", http=9000),
        endpoint_slice("ledger", ["10.66.0.5"], "bank", http=9000),
        pod("web", "10.66.0.4", "bank", "web", app="web"),
        pod("ledger", "10.66.0.5", "bank", "ledger", {"http": 9000}, app="ledger"),
        account("batch"),
        configuration("PeerAuthentication", "default", {"mtls": {"mode": "PERMISSIVE"}}, "bank"),
        policy("reads", "ALLOW", to=[{"operation": {"methods": ["GET"]}}], **{"from": [WEB]}),
        policy("near", "ALLOW", **{"from": [{"source": {"ipBlocks": ["10.66.9.0/24"]}}]}),
        policy("secret", "DENY", to=[{"operation": {"paths": ["/secret/*"]}}]),
        configuration(
            "VirtualService",
            "ledger",
            {
                "hosts": ["ledger"],
                "http": [
                    {
                        "name": "slow",
                        "match": [{"uri": {"prefix": "/slow"}}],
                        "route": [{"destination": {"host": "ledger"}}],
                        "timeout": "7s",
                        "retries": {"attempts": 4, "retryOn": "5xx"},
                    },
                    {"route": [{"destination": {"host": "ledger"}}]},
                ],
            },
            "bank",
        ),
    ]
)
CLIENT = cast(HttpClient, WORLD)


def check(caller: str, method: str, url: str, *headers: str) -> tuple[Answer, str]:
    async def asked() -> tuple[Answer, str]:
        call, who = Call.parse(method, url, headers), await caller_of(CLIENT, caller, "bank")
        callee = await pod_of(CLIENT, WorkloadReference("bank", "ledger"))
        answer = await receive(CLIENT, callee, who, call)
        return answer, "\n".join(inbound_lines(answer, who, call))

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("caller", "method", "path", "allowed", "by"),
    [
        ("web", "GET", "/accounts", True, "reads"),
        ("web", "POST", "/accounts", False, ""),
        ("web", "GET", "/secret/x", False, "secret"),
        ("web", "GET", "/%73ecret/x", False, "secret"),
        ("batch", "GET", "/secret/x", False, "secret"),
        ("batch", "GET", "/accounts", None, ""),
        ("anonymous", "GET", "/secret/x", False, "secret"),
        ("anonymous", "GET", "/accounts", None, ""),
    ],
)
def test_who_may_call(caller: str, method: str, path: str, allowed: bool | None, by: str) -> None:
    answer, words = check(caller, method, f"http://ledger:9000{path}")
    assert answer["allowed"] is allowed, words
    assert answer["policy"] == (f"ns[bank]-policy[{by}]-rule[0]" if by else "")
    assert ("IT DEPENDS" in words) is (allowed is None)
    assert ("not known: where the call comes from" in words) is (caller != "web")


def test_why_is_said() -> None:
    _, words = check("web", "POST", "http://ledger:9000/accounts")
    assert "AuthorizationPolicy bank/reads, rule 0: matches: no" in words
    assert 'yes      the caller\'s identity is "spiffe://cluster.local/ns/bank/sa/web"' in words
    assert 'no       the method is "GET"' in words


def test_where_a_call_goes() -> None:
    async def asked(url: str) -> tuple[Answer, str]:
        call, who = Call.parse("GET", url, ()), await caller_of(CLIENT, "web", "bank")
        answer = await send(CLIENT, who, call)
        return answer, "\n".join(outbound_lines(answer))

    answer, words = asyncio.run(asked("http://ledger:9000/slow/x?q=1"))
    forward = answer["route"]["forward"]
    assert (forward["timeout_seconds"], forward["retry"]["retries"]) == (7.0, 4)
    assert [one["address"] for one in forward["clusters"][0]["endpoints"]] == ["10.66.0.5:9000"]
    for line in (
        "route slow, from VirtualService bank/ledger",
        "sent as ledger:9000 /slow/x?q=1",
        "at most 4 retries on server-error",
        "cluster outbound|9000||ledger.bank.svc.cluster.local",
    ):
        assert line in words, words
    nowhere, _ = asyncio.run(asked("http://nowhere/"))
    assert nowhere["allowed"] is False and "no name server of the mesh knows" in nowhere["reason"]
    unlisted, _ = asyncio.run(asked("http://192.0.2.1:80/"))
    assert unlisted["cluster"]["name"] == "BlackHoleCluster"


def test_a_caller_that_is_not_there_is_said_so() -> None:
    with pytest.raises(CommandError, match="expected a pod, what makes pods, a service account or anonymous"):
        asyncio.run(caller_of(CLIENT, "bank/nobody", "bank"))


def test_names_of_objects() -> None:
    assert policy_object("ns[a]-policy[p]-rule[3]") == "AuthorizationPolicy a/p, rule 3"
    path = "/apis/networking.istio.io/v1/namespaces/a/virtual-service/"
    assert route_object(f"{path}v") == "VirtualService a/v"
    assert route_object(f"{path}r~httproute~0") == "HTTPRoute a/r"

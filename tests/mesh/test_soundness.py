"""Objects of impossible shapes, put where the API would let none: each has no effect, and the rest goes on."""

from typing import Any

import pytest
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.rbac import Call, envoy_allows

from hauberk.mesh.authorization import authorize, select_authorization_policies
from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import SECURITY, Labels, Mesh, Registry
from hauberk.mesh.serialization import CLUSTER, LISTENER, ROUTE
from hauberk.mesh.snapshot import Snapshot

CLIENT = Proxy(ProxyKind.SIDECAR, "default", "web-1", "10.66.0.3", Labels.of({"app": "web"}), "web")
EDGE = Proxy(ProxyKind.ROUTER, "default", "edge-1", "10.66.0.9", Labels.of({"app": "edge"}), "edge")
FACTS = [
    service("web", address="10.96.0.1", http=80),
    service("db", address="10.96.0.2", tcp=5432),
    endpoint_slice("web", ["10.66.0.3"], http=80),
    pod("web-1", "10.66.0.3", ports={"http": 80}, app="web"),
    configuration(
        "Gateway",
        "edge",
        {
            "selector": {"app": "edge"},
            "servers": [{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    ),
    configuration(
        "VirtualService",
        "good",
        {
            "hosts": ["web"],
            "gateways": ["mesh", "edge"],
            "http": [{"name": "good", "route": [{"destination": {"host": "web"}}]}],
        },
    ),
]
BAD: dict[str, list[dict[str, Any]]] = {
    "VirtualService": [
        {"hosts": 5, "http": [{}]},
        {"hosts": [5], "http": [{}]},
        {"hosts": ["web"], "http": [{"route": [{}]}]},
        {"hosts": ["web"], "http": [{"match": [{"uri": {"exact": 5}}], "route": []}]},
        {"hosts": ["web"], "http": [{"redirect": {"redirectCode": 999}}]},
        {"hosts": ["web"], "http": [{"timeout": "soon", "route": [{"destination": {"host": "web"}}]}]},
        {"hosts": ["db"], "tcp": [{"match": [{"destinationSubnets": ["x"]}], "route": []}]},
        {"hosts": ["db"], "tcp": "all"},
        {"hosts": ["web"], "gateways": "edge", "http": [{"directResponse": {}}]},
        {"hosts": ["web"], "http": [{"delegate": {}}]},
    ],
    "DestinationRule": [
        {},
        {"host": ["web"]},
        {"host": "web", "subsets": [{}]},
        {"host": "web", "trafficPolicy": {"tls": {"mode": "OPEN"}}},
        {"host": "web", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": "many"}}}},
        {"host": "web", "trafficPolicy": "fast"},
        {"host": "web", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {"distribute": [5]}}}},
        {"host": "web", "trafficPolicy": {"portLevelSettings": [{"loadBalancer": {"localityLbSetting": 5}}]}},
    ],
    "Gateway": [
        {"selector": ["app"], "servers": []},
        {"selector": {"app": "edge"}, "servers": [{"port": {"number": "80"}}]},
        {"selector": {"app": "edge"}, "servers": [{}]},
        {"selector": {"app": "edge"}, "servers": [{"port": {"number": 81}, "tls": "simple", "hosts": ["*"]}]},
    ],
    "Sidecar": [
        {"workloadSelector": {"labels": ["app"]}},
        {"egress": [{"hosts": "*/*"}]},
        {"egress": ["x"]},
    ],
    "ServiceEntry": [{}, {"hosts": ["a.example"], "ports": [{}]}, {"hosts": 5}],
    "WorkloadEntry": [{"labels": ["app"]}, {"ports": 5}],
}


def names(registry: Registry, proxy: Proxy) -> dict[str, set[str]]:
    found = Snapshot(registry).resources(proxy)
    return {type_url: set(found.of(type_url)) for type_url in (CLUSTER, LISTENER, ROUTE)}


@pytest.mark.parametrize(
    ("kind", "spec"), [(kind, spec) for kind, specs in BAD.items() for spec in specs], ids=str
)
def test_a_bad_object_changes_nothing_for_the_rest(kind: str, spec: dict[str, Any]) -> None:
    facts = Registry().update(FACTS)
    bad = facts.update([configuration(kind, "bad", spec)])
    for proxy in (CLIENT, EDGE):
        assert names(bad, proxy) == names(facts, proxy)
    refused = Snapshot(bad).refused
    if not kind.endswith("Entry"):
        assert [(one.kind, one.name) for one in refused] == [(kind, "bad")]
        assert refused[0].reason
    before = Snapshot(facts)
    before.resources(CLIENT)
    later = before.successor(bad)
    later = later.successor(bad.update([service("new", address="10.96.0.3", http=80)]))
    assert "outbound|80||new.default.svc.cluster.local" in set(later.resources(CLIENT).of(CLUSTER))
    mended = later.successor(bad.update([], [("networking.istio.io", kind, "default", "bad")]))
    assert mended.refused == ()


@pytest.mark.parametrize(
    "spec",
    [
        {"action": "DENNY", "rules": [{}]},
        {"action": "DENY", "rules": ["x"]},
        {"action": "DENY", "rules": "x"},
        {"action": "DENY", "rules": [{"from": [5]}]},
        {"action": "ALLOW", "rules": [{"when": [{}]}]},
        {"action": "ALLOW", "rules": 5},
    ],
    ids=str,
)
def test_a_policy_that_cannot_be_read_lets_nobody_in(spec: dict[str, Any]) -> None:
    facts = Registry().update([*FACTS, configuration("AuthorizationPolicy", "bad", spec)])
    policies = facts.of_kind(SECURITY, "AuthorizationPolicy")
    chosen = select_authorization_policies(policies, "default", CLIENT.labels, Mesh())
    made = []
    for one in authorize(chosen, Mesh()).http_filters():
        config = rbac_pb2.RBAC()
        one.typed_config.Unpack(config)
        made.append(config)
    assert not envoy_allows(made, Call(principal="cluster.local/ns/a/sa/x"))


@pytest.mark.parametrize(
    "spec", [{"mtls": {"mode": "OPEN"}}, {"mtls": "PERMISSIVE"}, {"selector": 5}], ids=str
)
def test_a_peer_authentication_that_cannot_be_read_is_strict(spec: dict[str, Any]) -> None:
    facts = Registry().update(FACTS)
    bad = facts.update([configuration("PeerAuthentication", "bad", spec)])
    assert names(bad, CLIENT) == names(facts, CLIENT)


WORDS = [
    "hosts",
    "http",
    "route",
    "destination",
    "host",
    "match",
    "uri",
    "exact",
    "tcp",
    "tls",
    "port",
    "number",
    "selector",
    "servers",
    "trafficPolicy",
    "subsets",
    "name",
    "labels",
    "egress",
    "rules",
    "from",
    "source",
    "principals",
    "when",
    "key",
    "values",
    "mtls",
    "mode",
    "jwtRules",
    "issuer",
    "jwks",
    "listeners",
    "parentRefs",
    "backendRefs",
    "endpoints",
    "ports",
    "address",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 70000)
    | st.sampled_from(["", "web", "*", "80", "10s", "x/y"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
KINDS = [*BAD, "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "HTTPRoute", "TCPRoute"]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.dictionaries(
                st.sampled_from(
                    [
                        "hosts",
                        "http",
                        "tcp",
                        "host",
                        "trafficPolicy",
                        "subsets",
                        "selector",
                        "servers",
                        "egress",
                        "rules",
                        "mtls",
                        "jwtRules",
                        "parentRefs",
                        "endpoints",
                        "ports",
                        "gateways",
                        "action",
                        "targetRefs",
                        "labels",
                    ]
                ),
                JSON,
                max_size=3,
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_no_shape_stops_the_snapshot(objects: list[tuple[str, dict[str, Any]]]) -> None:
    made = [configuration(kind, f"bad-{index}", spec) for index, (kind, spec) in enumerate(objects)]
    snapshot = Snapshot(Registry().update([*FACTS, *made]))
    list(snapshot.statuses())
    for proxy in (CLIENT, EDGE):
        found = snapshot.resources(proxy)
        assert "outbound|80||web.default.svc.cluster.local" in set(found.of(CLUSTER)) or any(
            kind == "Sidecar" for kind, _ in objects
        )

"""A snapshot reached by changes is the one built from scratch, and shares with its predecessor what did not change."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_testing.objects import configuration, endpoint_slice, pod, service

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry, object_key
from hauberk.mesh.serialization import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPES
from hauberk.mesh.serve_files import dump
from hauberk.mesh.snapshot import Snapshot

NAMES = ["a", "b", "c"]
NAMESPACES = ["n1", "n2"]
PROXIES = [
    Proxy(ProxyKind.SIDECAR, "n1", "a-1", "10.66.0.1", Labels.of({"app": "a"}), "a"),
    Proxy(ProxyKind.SIDECAR, "n2", "b-1", "10.66.0.2", Labels.of({"app": "b", "version": "v1"}), "b"),
    Proxy(ProxyKind.ROUTER, "n1", "edge", "10.66.0.3", Labels.of({"istio": "ingressgateway"}), "edge"),
]


def resources(snapshot: Snapshot) -> list[dict[str, dict[str, str]]]:
    return [
        {
            type_url: {one.name: one.version for one in snapshot.resources(proxy).of(type_url).values()}
            for type_url in TYPES
        }
        for proxy in PROXIES
    ]


@st.composite
def an_object(draw: st.DrawFn) -> dict[str, Any]:
    name, namespace = draw(st.sampled_from(NAMES)), draw(st.sampled_from(NAMESPACES))
    other = draw(st.sampled_from(NAMES))
    address = f"10.66.0.{draw(st.integers(1, 4))}"
    number = NAMES.index(name) + 3 * NAMESPACES.index(namespace) + 1
    made: list[dict[str, Any]] = [
        service(
            name,
            namespace,
            f"10.96.0.{number}",
            **draw(st.sampled_from([{"http": 80}, {"tcp": 81}, {"x": 82}])),
        ),
        service(name, namespace, "", **{"http": 8080}),
        endpoint_slice(name, [address], namespace, draw(st.sampled_from("12")), http=8080, tcp=8081, x=8082),
        pod(
            f"{name}-1",
            address,
            namespace,
            account=name,
            app=name,
            version=draw(st.sampled_from(["v1", "v2"])),
        ),
        configuration(
            "VirtualService",
            name,
            {
                "hosts": [name],
                "gateways": draw(st.sampled_from([["mesh"], ["mesh", "n1/edge"]])),
                "exportTo": draw(st.sampled_from([["*"], ["."], ["n2"]])),
                "http": [
                    {
                        "match": [
                            draw(
                                st.sampled_from(
                                    [{}, {"sourceLabels": {"app": "a"}}, {"sourceNamespace": "n2"}]
                                )
                            )
                        ],
                        "route": [{"destination": {"host": other, "subset": "v1"}}],
                    }
                ],
            },
            namespace,
        ),
        configuration(
            "DestinationRule",
            name,
            {"host": other, "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
            namespace,
        ),
        configuration(
            "Gateway",
            "edge",
            {
                "selector": {"istio": "ingressgateway"},
                "servers": [
                    {
                        "port": {"number": 8080, "protocol": "HTTP"},
                        "hosts": [draw(st.sampled_from(["*", "n1/*"]))],
                    }
                ],
            },
            "n1",
        ),
        configuration(
            "Sidecar", "default", {"egress": [{"hosts": [draw(st.sampled_from(["./*", "*/*"]))]}]}, namespace
        ),
        configuration(
            "PeerAuthentication",
            name,
            {"mtls": {"mode": draw(st.sampled_from(["STRICT", "PERMISSIVE", "DISABLE"]))}},
            namespace,
        ),
        configuration(
            "AuthorizationPolicy",
            name,
            {"rules": [{"from": [{"source": {"namespaces": [other]}}]}]},
            namespace,
        ),
        configuration(
            "HTTPRoute",
            name,
            {
                "parentRefs": [{"group": "", "kind": "Service", "name": name}],
                "rules": [{"backendRefs": [{"name": other, "port": 80}]}],
            },
            namespace,
        ),
    ]
    return draw(st.sampled_from(made))


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(an_object(), st.booleans()), min_size=1, max_size=12), st.data())
def test_incremental_is_from_scratch(changes: list[tuple[dict[str, Any], bool]], data: st.DataObject) -> None:
    snapshot = Snapshot(Registry())
    present: dict[Any, dict[str, Any]] = {}
    for obj, removed in changes:
        key = object_key(obj)
        if removed:
            present.pop(key, None)
            later = snapshot.registry.update([], [key])
        else:
            present[key] = obj
            later = snapshot.registry.update([obj])
        snapshot = snapshot.successor(later)
        if data.draw(st.booleans()):
            resources(snapshot)
    assert resources(snapshot) == resources(Snapshot(Registry().update(present.values())))


def _world() -> list[dict[str, Any]]:
    return [
        one
        for number in range(20)
        for one in (
            service(f"s{number}", address=f"10.96.0.{number + 1}", http=80),
            endpoint_slice(f"s{number}", [f"10.66.1.{number + 1}"], http=8080),
            pod(f"s{number}-1", f"10.66.1.{number + 1}", account=f"s{number}", app=f"s{number}"),
            pod(f"s{number}-2", f"10.66.2.{number + 1}", account=f"s{number}", app=f"s{number}"),
        )
    ]


def test_a_changed_endpoint_changes_one_load_assignment() -> None:
    first = Snapshot(Registry().update(_world()))
    proxy = PROXIES[0]
    before = first.resources(proxy)
    later = first.successor(
        first.registry.update([endpoint_slice("s3", ["10.66.1.4", "10.66.2.4"], http=8080)])
    )
    after = later.resources(proxy)
    assert after.of(ENDPOINT).changes_since(before.of(ENDPOINT)).updated == (
        "outbound|80||s3.default.svc.cluster.local",
    )
    for type_url in (CLUSTER, LISTENER, ROUTE):
        assert after.of(type_url).same(before.of(type_url))


def test_what_does_not_matter_changes_nothing() -> None:
    first = Snapshot(Registry().update(_world()))
    heartbeat = pod("s3-1", "10.66.1.4", account="s3", app="s3")
    heartbeat["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert first.successor(first.registry.update([heartbeat])) is first


def test_scopes_share_resources() -> None:
    snapshot = Snapshot(Registry().update(_world()))
    name = "outbound|80||s3.default.svc.cluster.local"
    one, other = (snapshot.resources(proxy).of(CLUSTER).get(name) for proxy in PROXIES[:2])
    assert one is other is not None


def test_identities_of_a_service_are_those_of_its_pods() -> None:
    snapshot = Snapshot(Registry().update(_world()))
    cluster = snapshot.resources(PROXIES[0]).of(CLUSTER).get("outbound|80||s3.default.svc.cluster.local")
    assert cluster is not None
    assert b"spiffe://cluster.local/ns/default/sa/s3" in cluster.any
    assert b"/sa/s4" not in cluster.any


def test_a_service_without_sense_disturbs_no_other() -> None:
    first = Snapshot(Registry().update(_world()))
    before = first.resources(PROXIES[0])
    nonsense = {"hosts": ["s3"], "http": [{"timeout": "soon", "route": [{"destination": {"host": "s3"}}]}]}
    changed = [configuration("VirtualService", "s3", nonsense), service("s4", address="10.96.0.99", http=80)]
    after = first.successor(first.registry.update(changed)).resources(PROXIES[0])
    name = "s3.default.svc.cluster.local:80"
    assert after.of(ROUTE).get(name) is before.of(ROUTE).get(name)
    assert after.of(LISTENER).get("10.96.0.99_80") is not None


def test_tls_that_needs_what_no_proxy_has_makes_nobody_reachable() -> None:
    def type_of(**tls: object) -> str:
        rule = configuration("DestinationRule", "web", {"host": "web", "trafficPolicy": {"tls": tls}})
        facts = Registry().update([service("web", address="10.96.0.1", http=80), rule])
        proxy = Proxy(ProxyKind.SIDECAR, "default", "a", "10.66.0.7", Labels.of({}), "a")
        clusters = dump(Snapshot(facts), proxy)["CDS"]
        found = next(one for one in clusters if one["name"] == "outbound|80||web.default.svc.cluster.local")
        return str(found.get("type", "STATIC"))

    assert type_of(mode="SIMPLE") == "EDS"
    assert type_of(mode="SIMPLE", caCertificates="/ca.pem") == "STATIC"
    assert type_of(mode="SIMPLE", caCertificates="/ca.pem", insecureSkipVerify=True) == "EDS"
    assert type_of(mode="SIMPLE", subjectAltNames=["a.example"]) == "STATIC"
    assert type_of(mode="MUTUAL", credentialName="x") == "STATIC"

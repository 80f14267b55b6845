"""Gateway API: routes in the words of VirtualServices, what their status says, and how proxies follow them."""

from pathlib import Path
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import any_pb2
from mesh_testing.backends import free_port, front
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.running import StartProxy

from hauberk.mesh.gateway_api import convert
from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from hauberk.mesh.serialization import CLUSTER
from hauberk.mesh.snapshot import Snapshot

GROUP = "gateway.networking.k8s.io"


def gateway(port: int, **listener: object) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {"listeners": [{"name": "http", "port": port, "protocol": "HTTP", **listener}]},
    }


def route(
    rules: list[dict[str, Any]], namespace: str = "default", kind: str = "HTTPRoute", **more: object
) -> dict[str, Any]:
    return configuration(
        kind,
        "route",
        {"parentRefs": [{"name": "edge", "namespace": "default"}], "rules": rules, **more},
        namespace,
    )


def conditions(registry: Registry) -> dict[str, tuple[bool, str]]:
    (status,) = convert(registry).statuses
    (parent,) = status.parents
    return {one.type: (one.status, one.reason) for one in parent.conditions}


def test_status_says_what_is_wrong() -> None:
    backend = [{"backendRefs": [{"name": "web", "port": 80}]}]
    empty = Registry().update([gateway(80), route(backend)])
    assert conditions(empty) == {"Accepted": (True, "Accepted"), "ResolvedRefs": (False, "BackendNotFound")}
    good = empty.update([service("web", address="10.96.0.1", http=80)])
    assert conditions(good)["ResolvedRefs"] == (True, "ResolvedRefs")
    assert conditions(good.update([], [(GROUP, "Gateway", "default", "edge")]))["Accepted"] == (
        False,
        "NoMatchingParent",
    )
    assert conditions(
        good.update([gateway(80, hostname="a.example"), route(backend, hostnames=["b.example"])])
    )["Accepted"] == (False, "NoMatchingListenerHostname")


def test_other_namespaces_need_leave() -> None:
    rules = [{"backendRefs": [{"name": "web", "namespace": "other", "port": 80}]}]
    facts = Registry().update([gateway(80), route(rules), service("web", "other", "10.96.0.1", http=80)])
    assert conditions(facts)["ResolvedRefs"] == (False, "RefNotPermitted")
    grant = configuration(
        "ReferenceGrant",
        "grant",
        {
            "from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "default"}],
            "to": [{"group": "", "kind": "Service"}],
        },
        "other",
    )
    assert conditions(facts.update([grant]))["ResolvedRefs"] == (True, "ResolvedRefs")
    foreign = Registry().update([gateway(80), route(rules, "foreign")])
    assert conditions(foreign)["Accepted"] == (False, "NotAllowedByListeners")


def gateway_pod(namespace: str = "default", address: str = "10.66.0.9") -> dict[str, Any]:
    made = pod("edge-1", address, namespace, **{"gateway.networking.k8s.io/gateway-name": "edge"})
    made["metadata"]["annotations"] = {"hauberk.io/gateway": "true"}
    return made


def told(registry: Registry, kind: str = "Gateway", before: dict[str, Any] | None = None) -> dict[str, Any]:
    (found,) = [one for one in Snapshot(registry).statuses() if one.kind == kind]
    return found.merge(before or {}, "2026-01-01T00:00:00Z")


def by_type(conditions: list[dict[str, Any]]) -> dict[str, str]:
    return {one["type"]: f"{one['status']} {one['reason']}" for one in conditions}


def test_a_gateway_is_programmed_once_a_pod_serves_it() -> None:
    facts = Registry().update([gateway(80), gateway_pod("other")])
    status = told(facts)
    assert by_type(status["conditions"]) == {
        "Accepted": "True Accepted",
        "Programmed": "False AddressNotAssigned",
    }
    served = told(facts.update([gateway_pod()]), before=status)
    assert by_type(served["conditions"])["Programmed"] == "True Programmed"
    assert [one["value"] for one in served["addresses"]] == ["10.66.0.9"]
    assert served["listeners"][0]["attachedRoutes"] == 0
    routed = facts.update([gateway_pod(), route([{"backendRefs": [{"name": "web", "port": 80}]}])])
    assert told(routed)["listeners"][0]["attachedRoutes"] == 1


def test_the_moment_of_a_condition_moves_with_it_alone() -> None:
    facts = Registry().update([gateway(80)])
    before = told(facts)
    for one in before["conditions"]:
        one["lastTransitionTime"] = "2025-01-01T00:00:00Z"
    before["conditions"].append({"type": "example.com/Other", "status": "True"})
    after = told(facts.update([gateway_pod()]), before=before)
    times = {one["type"]: one.get("lastTransitionTime") for one in after["conditions"]}
    assert times["Accepted"] == "2025-01-01T00:00:00Z"
    assert times["Programmed"] == "2026-01-01T00:00:00Z"
    assert "example.com/Other" in times
    assert told(facts.update([gateway_pod()]), before=after) == after


def test_listeners_that_cannot_be_served_say_why() -> None:
    facts = gateway(80)
    facts["spec"]["listeners"] = [
        {"name": "web", "port": 80, "protocol": "HTTP"},
        {"name": "twin", "port": 80, "protocol": "HTTP"},
        {"name": "tcp", "port": 80, "protocol": "TCP"},
        {"name": "udp", "port": 53, "protocol": "UDP"},
        {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "absent"}]}},
        {"name": "kinds", "port": 81, "protocol": "HTTP", "allowedRoutes": {"kinds": [{"kind": "TCPRoute"}]}},
    ]
    status = told(Registry().update([facts, gateway_pod()]))
    found = {one["name"]: by_type(one["conditions"]) for one in status["listeners"]}
    assert found["web"]["Programmed"] == "True Programmed"
    assert found["twin"]["Conflicted"] == "True HostnameConflict"
    assert found["tcp"]["Conflicted"] == "True ProtocolConflict"
    assert found["udp"]["Accepted"] == "False UnsupportedProtocol"
    assert found["tls"]["ResolvedRefs"] == "False InvalidCertificateRef"
    assert found["kinds"]["ResolvedRefs"] == "False InvalidRouteKinds"
    assert {name for name in found if found[name]["Programmed"] == "False Invalid"} == {
        "twin",
        "tcp",
        "udp",
        "tls",
    }
    assert by_type(status["conditions"])["Accepted"] == "True ListenersNotValid"


def test_parameters_of_an_implementation_are_refused() -> None:
    facts = gateway(80)
    facts["spec"]["infrastructure"] = {"parametersRef": {"group": "", "kind": "ConfigMap", "name": "x"}}
    status = told(Registry().update([facts, gateway_pod()]))
    assert by_type(status["conditions"])["Accepted"] == "False InvalidParameters"
    assert by_type(status["listeners"][0]["conditions"])["Programmed"] == "False Invalid"


def clusters(registry: Registry) -> dict[str, str]:
    """The discovery type of each cluster that a gateway's proxy is sent."""
    edge = Proxy(
        ProxyKind.ROUTER,
        "default",
        "edge-1",
        "10.66.0.9",
        Labels.of({"gateway.networking.k8s.io/gateway-name": "edge"}),
        "default",
    )
    found = {}
    for one in Snapshot(registry).resources(edge).of(CLUSTER).values():
        cluster = cluster_pb2.Cluster.FromString(any_pb2.Any.FromString(one.any).value)
        found[cluster.name] = cluster_pb2.Cluster.DiscoveryType.Name(cluster.type)
    return found


def test_a_gateway_balances_over_the_pods_of_a_headless_service() -> None:
    """Its callers meant the gateway's own address, which leads to no pod."""
    rules = [{"backendRefs": [{"name": "web", "port": 80}]}]
    facts = [
        gateway(80),
        gateway_pod(),
        service("web", http=80),
        route(rules),
        pod("web-1", "10.66.0.2", app="web"),
    ]
    found = clusters(Registry().update([*facts, endpoint_slice("web", ["10.66.0.2"], http=80)]))
    assert found["outbound|80||web.default.svc.cluster.local"] == "EDS"


def test_a_gateway_of_another_controller_is_left_to_it() -> None:
    facts = gateway(80)
    facts["spec"]["gatewayClassName"] = "other"
    routed = [facts, route([{"backendRefs": [{"name": "web", "port": 80}]}])]
    other = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "other"},
        "spec": {"controllerName": "example.com/other"},
    }
    snapshot = Snapshot(Registry().update([*routed, other]))
    assert [one.kind for one in snapshot.statuses()] == ["HTTPRoute"]
    known = {"parents": [{"parentRef": {"name": "edge"}, "controllerName": "example.com/other"}]}
    assert told(Registry().update([*routed, other]), "HTTPRoute", known) == known
    own = {**other, "spec": {"controllerName": "hauberk.io/gateway-controller"}}
    kinds = [one.kind for one in Snapshot(Registry().update([*routed, own])).statuses()]
    assert kinds == ["GatewayClass", "Gateway", "HTTPRoute"]


def test_objects_that_make_no_sense_disturb_no_other() -> None:
    good = route([{"backendRefs": [{"name": "web", "port": 80}]}])
    bad = route([{"backendRefs": [{"weight": 1}]}])
    bad["metadata"]["name"] = "bad"
    worse = gateway(80)
    worse["metadata"]["name"] = "worse"
    worse["spec"]["listeners"] = [{"name": "a"}]
    converted = convert(Registry().update([gateway(80), good, bad, worse]))
    assert [one.name for one in converted.virtual_services] == ["route~httproute~0~http"]
    statuses = {one.name: one.parents[0].conditions[0] for one in converted.statuses}
    assert (statuses["route"].status, statuses["bad"].reason) == (True, "UnsupportedValue")
    assert [one.name for one in converted.gateways] == ["edge~http~gateway-api"]


def test_a_route_of_a_service_is_the_mesh() -> None:
    spec = {
        "parentRefs": [{"group": "", "kind": "Service", "name": "web", "port": 80}],
        "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
    }
    facts = Registry().update(
        [service("web", address="10.96.0.1", http=80), configuration("HTTPRoute", "route", spec)]
    )
    (made,) = convert(facts).virtual_services
    assert made.spec["hosts"] == ["web.default.svc.cluster.local"]
    assert made.spec["http"][0]["match"][0]["port"] == 80
    assert made.spec["http"][0]["route"][0]["destination"]["host"] == "web.default.svc.cluster.local"


async def test_behaviour_at_a_gateway(start_proxy: StartProxy, tmp_path: Path) -> None:
    port = free_port()
    backend = [{"name": "reviews", "port": 9080}]
    rules = [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/a"}}], "backendRefs": backend},
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/a/long"}}],
            "filters": [
                {
                    "type": "RequestHeaderModifier",
                    "requestHeaderModifier": {"set": [{"name": "x-long", "value": "1"}]},
                },
                {
                    "type": "URLRewrite",
                    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
                },
            ],
            "backendRefs": backend,
        },
        {
            "matches": [{"path": {"type": "Exact", "value": "/full"}}],
            "filters": [
                {
                    "type": "URLRewrite",
                    "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/other"}},
                }
            ],
            "backendRefs": backend,
        },
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/go"}}],
            "filters": [
                {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
            ],
        },
        {"matches": [{"path": {"value": "/none"}}], "backendRefs": [{"name": "absent", "port": 1}]},
    ]
    objects = [gateway(port), route(rules, hostnames=["reviews.example"])]
    async with front(start_proxy, objects, tmp_path, gateway_name="edge") as edge:
        edge.port = port
        assert (await edge.get("/a/x"))[1]["path"] == "/a/x"
        assert (await edge.get("/ab"))[0] == 404
        _, body, _ = await edge.get("/a/long/x?q=1")
        assert (body["path"], body["headers"]["x-long"]) == ("/x?q=1", "1")
        assert (await edge.get("/full?q=1"))[1]["path"] == "/other?q=1"
        status, _, headers = await edge.get("/go")
        assert (status, headers["location"]) == (301, "https://reviews.example/go")
        assert (await edge.get("/none"))[0] == 500
        assert (await edge.get("/a", host="other.example"))[0] == 404

"""Gateway API: routes in the words of VirtualServices, what their status says, and how a real Envoy follows them."""

from pathlib import Path

from mesh_testing.backends import free_port, front
from mesh_testing.objects import configuration, service

from hauberk.mesh.gateway_api import convert
from hauberk.mesh.registry import Registry

GROUP = "gateway.networking.k8s.io"


def gateway(port: int, **listener: object) -> dict[str, object]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {"listeners": [{"name": "http", "port": port, "protocol": "HTTP", **listener}]},
    }


def route(
    rules: list[dict[str, object]], namespace: str = "default", kind: str = "HTTPRoute", **more: object
):  # type: ignore[no-untyped-def]
    return configuration(
        kind,
        "route",
        {"parentRefs": [{"name": "edge", "namespace": "default"}], "rules": rules, **more},
        namespace,
    )


def conditions(registry: Registry) -> dict[str, tuple[bool, str]]:
    (status,) = convert(registry).statuses
    ((_, found),) = status.parents
    return {one.type: (one.status, one.reason) for one in found}


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


async def test_behaviour_at_a_gateway(tmp_path: Path) -> None:
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
    async with front(objects, tmp_path, gateway_name="edge") as edge:
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

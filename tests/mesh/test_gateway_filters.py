"""Filters of the Gateway API that nobody here carries out: no request passes without them, and the status says so."""

from pathlib import Path
from typing import Any

import pytest
from mesh_testing.backends import free_port, front
from mesh_testing.objects import configuration, service
from mesh_testing.running import StartProxy

from hauberk.mesh.gateway_api import convert
from hauberk.mesh.registry import Registry

BACKEND = {"name": "reviews", "port": 9080}
EXTERNAL_AUTH = {
    "type": "ExternalAuth",
    "externalAuth": {"protocol": "HTTP", "backendRef": {"name": "authorizer", "port": 80}},
}
EXTENSION = {"type": "ExtensionRef", "extensionRef": {"group": "a.example", "kind": "OIDC", "name": "login"}}
REWRITE = {"type": "URLRewrite", "urlRewrite": {"hostname": "other.example"}}
HEADER = {
    "type": "RequestHeaderModifier",
    "requestHeaderModifier": {"set": [{"name": "x-tenant", "value": "shop"}]},
}


def redirect(hostname: str) -> dict[str, Any]:
    return {"type": "RequestRedirect", "requestRedirect": {"hostname": hostname}}


def gateway(port: int) -> dict[str, Any]:
    listener = {
        "name": "http",
        "port": port,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {"listeners": [listener]},
    }


def route(*rules: dict[str, Any], kind: str = "HTTPRoute") -> dict[str, Any]:
    spec = {"parentRefs": [{"name": "edge"}], "rules": list(rules), "hostnames": ["reviews.example"]}
    return configuration(kind, "route", spec)


def rule(path: str, *filters: dict[str, Any], backend: dict[str, Any] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"matches": [{"path": {"type": "PathPrefix", "value": path}}]}
    if filters:
        made["filters"] = list(filters)
    if not any(one["type"] == "RequestRedirect" for one in filters):
        made["backendRefs"] = [backend or BACKEND]
    return made


NOT_CARRIED_OUT = [
    rule("/", EXTERNAL_AUTH),
    rule("/", EXTENSION),
    rule("/", HEADER, {"type": "OfTomorrow"}),
    rule("/", EXTENSION, redirect("reviews.test")),
    rule("/", HEADER, HEADER),
    rule("/", backend={**BACKEND, "filters": [REWRITE]}),
    rule("/", backend={**BACKEND, "filters": [EXTENSION]}),
]


def said(route: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, tuple[bool, str]]]:
    """The HTTP routes that are made of it, and its conditions."""
    facts = Registry().update([gateway(80), service("reviews", address="10.96.0.9", http=9080), route])
    converted = convert(facts)
    (made,), (status,) = converted.virtual_services, converted.statuses
    found = {one.type: (one.status, one.reason) for one in status.parents[0].conditions}
    return list(made.spec["http"]), found


@pytest.mark.parametrize("told", NOT_CARRIED_OUT)
def test_a_route_of_such_rules_is_not_accepted(told: dict[str, Any]) -> None:
    (made,), conditions = said(route(told))
    assert made["directResponse"] == {"status": 500}
    assert not made.keys() & {"route", "redirect"}
    assert conditions["Accepted"] == (False, "UnsupportedValue")
    assert "PartiallyInvalid" not in conditions


def test_a_grpc_route_has_fewer_filters() -> None:
    method = {"matches": [{"method": {"service": "a.B"}}], "backendRefs": [BACKEND]}
    for filters in ([EXTENSION], [REWRITE]):
        (made,), conditions = said(route({**method, "filters": filters}, kind="GRPCRoute"))
        assert made["directResponse"] == {"status": 500}
        assert conditions["Accepted"] == (False, "UnsupportedValue")
    (made,), conditions = said(route({**method, "filters": [HEADER]}, kind="GRPCRoute"))
    assert (made["route"][0]["weight"], conditions["Accepted"]) == (1, (True, "Accepted"))


def test_what_is_partly_carried_out_says_what_is_not() -> None:
    _, conditions = said(route(rule("/a", EXTENSION), rule("/b", HEADER)))
    assert conditions == {
        "Accepted": (True, "Accepted"),
        "ResolvedRefs": (False, "InvalidKind"),
        "PartiallyInvalid": (True, "UnsupportedValue"),
    }
    _, conditions = said(route(rule("/b", HEADER)))
    assert conditions.keys() == {"Accepted", "ResolvedRefs"}


def test_a_mirror_gets_its_share() -> None:
    def share(**told: object) -> float:
        mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": BACKEND, **told}}
        (made,), _ = said(route(rule("/", mirror)))
        return float(made["mirrors"][0]["percentage"]["value"])

    assert [share(), share(percent=0), share(fraction={"numerator": 1, "denominator": 4})] == [100, 0, 25]


async def test_no_request_passes_without_its_filter(start_proxy: StartProxy, tmp_path: Path) -> None:
    port = free_port()
    split = [BACKEND, {**BACKEND, "filters": [REWRITE]}]
    rules = [
        rule("/asked", EXTERNAL_AUTH),
        rule("/extended", EXTENSION),
        {"matches": [{"path": {"value": "/split"}}], "backendRefs": split},
        rule("/open", HEADER),
    ]
    async with front(start_proxy, [gateway(port), route(*rules)], tmp_path, gateway_name="edge") as edge:
        edge.port = port
        assert (await edge.get("/open"))[1]["headers"]["x-tenant"] == "shop"
        answers = [await edge.get(path) for path in ("/asked", "/extended", "/split", "/split")]
        assert [status for status, _, _ in answers] == [500] * 4
        assert len(edge.heard) == 1


async def test_other_origins_are_answered(start_proxy: StartProxy, tmp_path: Path) -> None:
    port = free_port()
    cors = {
        "allowOrigins": ["https://*.shop.example", "https://partner.example"],
        "allowMethods": ["GET", "PUT"],
        "allowHeaders": ["x-token"],
        "exposeHeaders": ["x-count"],
        "maxAge": 60,
        "allowCredentials": True,
    }
    wide = {"allowOrigins": ["*"], "allowMethods": ["*"]}
    objects = [
        gateway(port),
        route(rule("/wide", {"type": "CORS", "cors": wide}), rule("/", {"type": "CORS", "cors": cors})),
    ]
    async with front(start_proxy, objects, tmp_path, gateway_name="edge") as edge:
        edge.port = port

        async def told(path: str, method: str, origin: str) -> dict[str, str]:
            asks = {"access_control_request_method": "PUT"} if method == "OPTIONS" else {}
            status, _, found = await edge.get(path, method, origin=origin, **asks)
            assert status == 200
            start = "access-control-"
            return {
                key.lower().removeprefix(start): value
                for key, value in found.items()
                if key.lower().startswith(start)
            }

        allowed = {
            "allow-origin": "https://a.shop.example",
            "allow-credentials": "true",
            "expose-headers": "x-count",
        }
        preflight = {"allow-methods": "GET,PUT", "allow-headers": "x-token", "max-age": "60"}
        assert await told("/", "OPTIONS", "https://a.shop.example") == allowed | preflight
        # Envoy says the methods even so; without an origin they allow nothing.
        for origin in ("https://shop.example", "https://evil.example"):
            assert "allow-origin" not in await told("/", "OPTIONS", origin)
        found = await told("/wide", "OPTIONS", "https://any.example")
        assert (found["allow-origin"], "DELETE" in found["allow-methods"], found["max-age"]) == (
            "https://any.example",
            True,
            "5",
        )
        assert len(edge.heard) == 0, "the gateway answers all of these"
        assert await told("/", "GET", "https://a.shop.example") == allowed
        assert (await told("/", "GET", "https://partner.example"))[
            "allow-origin"
        ] == "https://partner.example"
        assert await told("/", "GET", "https://evil.example") == {}


def test_what_browsers_would_not_take_is_refused() -> None:
    cors = {"allowOrigins": ["*"], "allowHeaders": ["*"], "allowCredentials": True}
    (made,), conditions = said(route(rule("/", {"type": "CORS", "cors": cors})))
    assert made["directResponse"] == {"status": 500}
    assert conditions["Accepted"] == (False, "UnsupportedValue")

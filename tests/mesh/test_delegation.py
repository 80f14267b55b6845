"""Delegates, destination subnets and source labels of VirtualServices."""

from pathlib import Path
from typing import Any

from mesh_testing.backends import front, to
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, service
from mesh_testing.running import StartProxy

from hauberk.mesh.delegation import delegated
from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import NETWORKING, Labels, Mesh, Registry
from hauberk.mesh.serve_files import dump
from hauberk.mesh.snapshot import Snapshot


def root(*http: dict[str, Any], **more: Any) -> dict[str, Any]:
    return configuration(
        "VirtualService",
        "root",
        {"hosts": ["reviews.example"], "gateways": ["gateway"], "http": list(http), **more},
    )


def delegate(
    *http: dict[str, Any], name: str = "team", namespace: str = "default", **more: Any
) -> dict[str, Any]:
    return configuration("VirtualService", name, {"http": list(http), **more}, namespace)


def leads_to(name: str, namespace: str = "", **match: Any) -> dict[str, Any]:
    told = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"match": [match], "delegate": told} if match else {"delegate": told}


async def test_a_delegate_s_routes_are_narrowed(tmp_path: Path, start_proxy: StartProxy) -> None:
    objects = [
        root(
            leads_to("team", uri={"prefix": "/team"}),
            leads_to("absent", uri={"prefix": "/absent"}),
            {"route": [to("v1")]},
        ),
        delegate(
            {"match": [{"uri": {"prefix": "/team/a"}}], "route": [to("v2")], "rewrite": {"uri": "/a"}},
            {"match": [{"uri": {"prefix": "/other"}}], "route": [to("v2")]},
            {"match": [{"headers": {"x": {"exact": "1"}}}], "route": [to("v2")]},
            {"route": [to("v3")]},
        ),
    ]
    async with front(start_proxy, objects, tmp_path) as edge:

        async def version(path: str, **headers: str) -> str:
            return str((await edge.get(path, **headers))[1]["version"])

        assert await version("/team/a/x") == "v2"
        assert (await edge.get("/team/a/x"))[1]["path"] == "/a/x"
        assert await version("/team/b") == "v3"
        assert await version("/team/b", x="1") == "v2"
        # Outside of what leads to the delegate nothing of it holds.
        assert await version("/other") == "v1"
        assert await version("/absent") == "v1"
        changed = delegate({"route": [to("v1")]})
        edge.plane.discovery.publish(edge.plane.discovery.snapshot.registry.update([changed]))

        async def moved() -> bool:
            return await version("/team/b") == "v1"

        await eventually(moved)


def merged(*objects: dict[str, Any]) -> list[dict[str, Any]]:
    facts = Registry().update(objects)
    found = delegated(facts.of_kind(NETWORKING, "VirtualService"), Mesh())
    (only,) = [one for one in found if one.name == "root"]
    return [dict(route) for route in only.spec["http"]]


def test_what_a_route_inherits_and_where_its_hosts_are() -> None:
    leading = {**leads_to("team", "shop", uri={"prefix": "/"}), "timeout": "3s", "name": "a"}
    own = {"name": "b", "timeout": "1s", "route": [{"destination": {"host": "web"}}]}
    (route,) = merged(root({**leading, "retries": {"attempts": 1}}), delegate(own, namespace="shop"))
    assert (route["name"], route["timeout"], route["retries"]) == ("a-b", "1s", {"attempts": 1})
    assert route["route"][0]["destination"]["host"] == "web.shop.svc.cluster.local"
    hidden = delegate(own, namespace="shop", exportTo=["."])
    assert merged(root(leading), hidden) == []


def test_matches_that_cannot_both_hold_make_no_route() -> None:
    def pairs(mine: dict[str, Any], theirs: dict[str, Any]) -> int:
        return len(merged(root(leads_to("team", **mine)), delegate({"match": [theirs], "route": []})))

    assert pairs({"uri": {"prefix": "/a"}}, {"uri": {"exact": "/a/b"}}) == 1
    assert pairs({"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/"}}) == 0
    assert pairs({"uri": {"exact": "/a"}}, {"uri": {"prefix": "/a"}}) == 0
    assert pairs({"uri": {"regex": "/a.*"}}, {"uri": {"prefix": "/a"}}) == 0
    assert pairs({"headers": {"x": {"exact": "1"}}}, {"headers": {"x": {"exact": "2"}}}) == 0
    assert pairs({"headers": {"x": {"exact": "1"}}}, {"headers": {"y": {"exact": "2"}}}) == 1
    assert pairs({"port": 80}, {"port": 81}) == 0
    assert pairs({"sourceLabels": {"app": "a"}}, {"sourceLabels": {"app": "b"}}) == 0


def test_a_delegate_serves_nothing_by_itself() -> None:
    facts = Registry().update([delegate({"route": [{"destination": {"host": "web"}}]})])
    assert delegated(facts.of_kind(NETWORKING, "VirtualService"), Mesh()) == []


def clusters(registry: Registry, listener: str, **labels: str) -> list[str]:
    """Where the default chain of a TCP listener leads a caller with these labels."""
    proxy = Proxy(ProxyKind.SIDECAR, "default", "a", "10.66.0.7", Labels.of(labels), "a")
    found = next(one for one in dump(Snapshot(registry), proxy)["LDS"] if one["name"] == listener)
    return [each["typed_config"].get("cluster", "") for each in found["default_filter_chain"]["filters"]]


def test_destination_subnets_and_source_labels() -> None:
    def leads(to_host: str, **match: Any) -> dict[str, Any]:
        return {"match": [match], "route": [{"destination": {"host": to_host, "port": {"number": 5432}}}]}

    facts = Registry().update(
        [
            service("db", address="10.96.0.1", tcp=5432),
            service("near", address="10.96.1.1", tcp=5432),
            configuration(
                "VirtualService",
                "db",
                {
                    "hosts": ["db", "near"],
                    "tcp": [
                        leads("red", sourceLabels={"app": "red"}),
                        leads("subnet", destinationSubnets=["10.96.1.0/24"]),
                        leads("rest"),
                    ],
                },
            ),
        ]
    )
    name = "outbound|5432||{}.default.svc.cluster.local"
    assert clusters(facts, "10.96.0.1_5432", app="blue") == [name.format("rest")]
    assert clusters(facts, "10.96.1.1_5432", app="blue") == [name.format("subnet")]
    assert clusters(facts, "10.96.0.1_5432", app="red") == [name.format("red")]

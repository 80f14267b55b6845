"""Locality settings of a DestinationRule: shares and failover by place, in both proxies."""

from collections import Counter
from pathlib import Path
from typing import Any

from mesh_testing.backends import VERSIONS, Front, front, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, endpoint_slice, pod
from mesh_testing.running import StartProxy

from hauberk.mesh.facts import Endpoint, Labels, Workload
from hauberk.mesh.locality import Caller, Locality, groups, locality_of, locality_of_labels

PLACES = {"v1": "east.a.1", "v2": "east.b.1", "v3": "west.a.1"}


def pods() -> list[dict[str, Any]]:
    return [
        pod(
            version,
            address,
            host_network=True,
            app="reviews",
            version=version,
            **{"istio-locality": PLACES[version]},
        )
        for version, address in VERSIONS.items()
    ]


def rule(**policy: Any) -> dict[str, Any]:
    return configuration("DestinationRule", "reviews", {"host": "reviews", "trafficPolicy": policy})


async def versions(edge: Front, count: int = 60) -> Counter[str]:
    return Counter([(await edge.get())[1]["version"] for _ in range(count)])


ROUTE = virtual_service({"route": [{"destination": {"host": "reviews"}}]})
OUTLIERS = {"consecutive5xxErrors": 5, "interval": "1s"}


async def test_shares_by_place(tmp_path: Path, start_proxy: StartProxy) -> None:
    shares = [
        {"from": "north/*", "to": {"west/*": 100}},
        {"from": "east/*", "to": {"east/a/*": 75, "west/*": 25}},
    ]
    policy = rule(loadBalancer={"simple": "RANDOM", "localityLbSetting": {"distribute": shares}})
    objects = [*pods(), ROUTE, policy]
    async with front(start_proxy, objects, tmp_path, **{"istio-locality": "east.a"}) as edge:
        found = await versions(edge, 400)
        assert set(found) == {"v1", "v3"}
        assert 250 <= found["v1"] <= 350


async def test_the_nearest_come_first_and_others_when_they_are_gone(
    tmp_path: Path, start_proxy: StartProxy
) -> None:
    policy = rule(outlierDetection=OUTLIERS, loadBalancer={"localityLbSetting": {"enabled": True}})
    objects = [*pods(), ROUTE, policy]
    async with front(start_proxy, objects, tmp_path, **{"istio-locality": "east.a.1"}) as edge:
        assert set(await versions(edge)) == {"v1"}
        registry = edge.plane.discovery.snapshot.registry
        port = registry.views["reviews.default.svc.cluster.local"].endpoints[0].port("http") or 0
        for left in (["v2", "v3"], ["v3"]):
            later = endpoint_slice("reviews", [VERSIONS[one] for one in left], http=port)
            edge.plane.discovery.publish(registry.update([later]))
            first = left[0]

            async def moved(first: str = first) -> bool:
                return set(await versions(edge, 10)) == {first}

            await eventually(moved)


def endpoint(address: str, place: str = "", **labels: str) -> Endpoint:
    told = {**labels, **({"istio-locality": place} if place else {})}
    workload = Workload("n", address, address, Labels.of(told), "a", (), False, True)
    return Endpoint(address, (("http", 80),), True, "", "zone-1", workload)


def order(
    settings: dict[str, Any], caller: Caller, *endpoints: Endpoint, failover: bool = True
) -> list[list[str]]:
    """Addresses by priority."""
    found: dict[int, list[str]] = {}
    for group in groups(endpoints, settings, caller, failover=failover):
        found.setdefault(group.priority, []).extend(one.address for one in group.endpoints)
    return [found[priority] for priority in sorted(found)]


EVERYWHERE = [
    endpoint("same", "east.a.1"),
    endpoint("zone", "east.a.2"),
    endpoint("region", "east.b.1"),
    endpoint("north", "north.a.1"),
    endpoint("west", "west.a.1"),
]


def test_the_order_of_places() -> None:
    caller = Caller(Locality("east", "a", "1"), Labels())
    on = {"enabled": True}
    assert order(on, caller, *EVERYWHERE) == [["same"], ["zone"], ["region"], ["north", "west"]]
    told = {"failover": [{"from": "east", "to": "west"}]}
    assert order(told, caller, *EVERYWHERE) == [["same"], ["zone"], ["region"], ["west"], ["north"]]
    # Nobody judges the endpoints: none fails over.
    assert len(order(told, caller, *EVERYWHERE, failover=False)) == 1
    # To be judged is enough: near ones come first then.
    assert order({}, caller, *EVERYWHERE) == order(on, caller, *EVERYWHERE)


def test_priority_by_labels() -> None:
    caller = Caller(Locality(), Labels.of({"network": "n1", "version": "v2"}))
    told = {"failoverPriority": ["network", "version"]}
    endpoints = [
        endpoint("both", network="n1", version="v2"),
        endpoint("network", network="n1", version="v1"),
        endpoint("version", network="n2", version="v2"),
    ]
    assert order(told, caller, *endpoints) == [["both"], ["network"], ["version"]]
    assert order({"failoverPriority": ["version=v1"]}, caller, *endpoints) == [
        ["network"],
        ["both", "version"],
    ]


def test_where_something_is() -> None:
    assert locality_of_labels(Labels.of({"istio-locality": "a.b.c"})) == Locality("a", "b", "c")
    assert locality_of_labels(Labels.of({"topology.kubernetes.io/zone": "b"})) == Locality("", "b", "")
    assert locality_of(endpoint("x")) == Locality("", "zone-1", "")
    assert Locality("a", "b").within("a/*")
    assert Locality("a", "b").within("*")
    assert not Locality("a", "b").within("a/c/*")

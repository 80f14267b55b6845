"""Both variants of the xDS protocol, fed messages without a network."""

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from mesh_testing.objects import endpoint_slice, pod, service

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from hauberk.mesh.serialization import CLUSTER, ENDPOINT, LISTENER
from hauberk.mesh.snapshot import Interning, ProxyResources, Snapshot
from hauberk.mesh.subscription import DeltaStream, StateOfTheWorldStream

PROXY = Proxy(ProxyKind.SIDECAR, "default", "p", "10.66.0.1", Labels(), "default")
A, B = (f"outbound|80||{name}.default.svc.cluster.local" for name in "ab")


INTERNING = Interning()


def world(*, a: str = "10.66.0.2", without: str = "", b_account: str = "b") -> ProxyResources:
    objects = [
        service("a", address="10.96.0.1", http=80),
        service("b", address="10.96.0.2", http=80),
        endpoint_slice("a", [a], http=80),
        endpoint_slice("b", ["10.66.0.9"], http=80),
        pod("b", "10.66.0.9", account=b_account),
    ]
    present = [one for one in objects if one["metadata"]["name"] != without]
    return Snapshot(Registry().update(present), INTERNING).resources(PROXY)


def delta(stream: DeltaStream, resources: ProxyResources) -> list[Any]:
    return [discovery_pb2.DeltaDiscoveryResponse.FromString(one) for one in stream.responses(resources)]


def ask(type_url: str, *names: str, nonce: str = "", **more: Any) -> discovery_pb2.DeltaDiscoveryRequest:
    return discovery_pb2.DeltaDiscoveryRequest(
        type_url=type_url, resource_names_subscribe=names, response_nonce=nonce, **more
    )


def names(response: Any) -> set[str]:
    return {one.name for one in response.resources}


def test_only_what_was_asked_for_and_changed() -> None:
    stream = DeltaStream()
    stream.receive(ask(ENDPOINT, A))
    (first,) = delta(stream, world())
    assert names(first) == {A}
    assert delta(stream, world(a="10.66.0.3")) == [], "nothing before the answer"
    stream.receive(ask(ENDPOINT, nonce=first.nonce))
    (second,) = delta(stream, world(a="10.66.0.3"))
    assert names(second) == {A}
    stream.receive(ask(ENDPOINT, nonce=second.nonce))
    stream.receive(ask(ENDPOINT, B))
    (third,) = delta(stream, world(a="10.66.0.3"))
    assert B in names(third)


def test_a_removed_resource_is_told() -> None:
    stream = DeltaStream()
    stream.receive(ask(CLUSTER))
    (first,) = delta(stream, world())
    stream.receive(ask(CLUSTER, nonce=first.nonce))
    (second,) = delta(stream, world(without="a"))
    assert list(second.removed_resources) == [A]
    stream.receive(ask(ENDPOINT, "outbound|80||absent"))
    (third,) = delta(stream, world(without="a"))
    assert list(third.removed_resources) == ["outbound|80||absent"], (
        "what does not exist is said to be removed"
    )


def test_reconnecting_sends_only_differences() -> None:
    first = DeltaStream()
    first.receive(ask(CLUSTER))
    (all_of_them,) = delta(first, world())
    versions = {one.name: one.version for one in all_of_them.resources}
    again = DeltaStream()
    again.receive(ask(CLUSTER, initial_resource_versions=versions))
    (nothing,) = delta(again, world())
    assert (names(nothing), list(nothing.removed_resources)) == (set(), [])
    stale = DeltaStream()
    stale.receive(ask(CLUSTER, initial_resource_versions={**versions, B: "old", "gone": "1"}))
    (some,) = delta(stale, world())
    assert (names(some), list(some.removed_resources)) == ({B}, ["gone"])


def test_a_refusal_is_kept_until_the_next_acknowledgement() -> None:
    stream = DeltaStream()
    stream.receive(ask(CLUSTER))
    (first,) = delta(stream, world())
    stream.receive(ask(CLUSTER, nonce=first.nonce, error_detail={"code": 3, "message": "no such thing"}))
    assert stream.state(CLUSTER).rejection == "no such thing"
    (second,) = delta(stream, world(without="a"))
    assert stream.state(CLUSTER).rejection == "no such thing"
    stream.receive(ask(CLUSTER, nonce=second.nonce))
    assert stream.state(CLUSTER).rejection == ""


def test_clusters_before_endpoints_before_listeners() -> None:
    stream = DeltaStream()
    for type_url in (LISTENER, ENDPOINT, CLUSTER):
        stream.receive(ask(type_url, *([A] if type_url == ENDPOINT else [])))
    assert [one.type_url for one in delta(stream, world())] == [CLUSTER, ENDPOINT, LISTENER]


def test_state_of_the_world() -> None:
    stream = StateOfTheWorldStream()

    def responses(resources: ProxyResources) -> list[Any]:
        return [discovery_pb2.DiscoveryResponse.FromString(one) for one in stream.responses(resources)]

    stream.receive(discovery_pb2.DiscoveryRequest(type_url=CLUSTER))
    (first,) = responses(world())
    assert len(first.resources) == 4
    stream.receive(discovery_pb2.DiscoveryRequest(type_url=CLUSTER, response_nonce="stale"))
    assert stream.state(CLUSTER).awaiting == first.nonce, "an answer to something older is none"
    stream.receive(discovery_pb2.DiscoveryRequest(type_url=CLUSTER, response_nonce=first.nonce))
    (second,) = responses(world(without="a"))
    assert len(second.resources) == 3, "clusters come whole: what is missing is removed"
    stream.receive(discovery_pb2.DiscoveryRequest(type_url=ENDPOINT, resource_names=[A, B]))
    (third,) = responses(world())
    assert len(third.resources) == 2


def test_a_changed_cluster_hears_of_its_endpoints_again() -> None:
    """Else a real Envoy warms it up until a timeout."""
    stream = DeltaStream()
    stream.receive(ask(CLUSTER))
    (clusters,) = delta(stream, world())
    stream.receive(ask(ENDPOINT, A, B))
    (endpoints,) = delta(stream, world())
    stream.receive(ask(CLUSTER, nonce=clusters.nonce))
    stream.receive(ask(ENDPOINT, nonce=endpoints.nonce))
    changed = world(b_account="another")
    first, second = delta(stream, changed)
    assert (first.type_url, names(first)) == (CLUSTER, {B})
    assert (second.type_url, names(second)) == (ENDPOINT, {B})

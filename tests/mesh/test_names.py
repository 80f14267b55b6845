"""Which names a pod can ask for: those of Services, and of Services that are other names (ExternalName)."""

from typing import Any

from mesh_testing.objects import endpoint_slice, pod, service

from hauberk.mesh.names import dns_names
from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from hauberk.mesh.serialization import CLUSTER, LISTENER
from hauberk.mesh.snapshot import Snapshot

LEDGER = "ledger.bank.svc.cluster.local"


def alias(name: str, target: str, namespace: str = "shop") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": target},
    }


def table(*objects: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    facts = [service("ledger", "bank", "10.96.0.1", http=80), *objects]
    return dns_names(Registry().update(facts).views.values())


def test_an_alias_has_the_addresses_of_its_name() -> None:
    found = table(alias("books", LEDGER), alias("old-books", "Books.shop.svc.cluster.local."))
    assert found[LEDGER] == ("10.96.0.1",)
    assert found["books.shop.svc.cluster.local"] == ("10.96.0.1",)
    assert found["old-books.shop.svc.cluster.local"] == ("10.96.0.1",)


def test_an_alias_of_what_is_not_in_the_mesh_is_no_name() -> None:
    names = (
        alias("web", "example.com"),
        alias("a", "b.shop.svc.cluster.local"),
        alias("b", "a.shop.svc.cluster.local"),
    )
    assert table(*names).keys() == {LEDGER}


def test_an_alias_of_a_headless_service_leads_to_its_pods() -> None:
    facts = [
        service("db", "bank", "None", tcp=5432),
        endpoint_slice("db", ["10.66.0.5"], "bank", tcp=5432),
        pod("db-0", "10.66.0.5", "bank"),
    ]
    assert table(*facts, alias("store", "db.bank.svc.cluster.local"))["store.shop.svc.cluster.local"] == (
        "10.66.0.5",
    )


def test_an_alias_follows_its_name_and_has_nothing_of_its_own() -> None:
    proxy = Proxy(ProxyKind.SIDECAR, "shop", "p", "10.66.0.9", Labels(), "default")
    first = Snapshot(Registry().update([service("ledger", "bank", "10.96.0.1", http=80)]))
    before = first.resources(proxy)
    second = first.successor(first.registry.update([alias("books", LEDGER)]))
    after = second.resources(proxy)
    assert set(after.of(CLUSTER)) == set(before.of(CLUSTER))
    assert set(after.of(LISTENER)) == set(before.of(LISTENER))
    dns = after.of(LISTENER).get("dns")
    assert dns is not None and b"books.shop.svc.cluster.local" in dns.any
    third = second.successor(second.registry.update([service("ledger", "bank", "10.96.0.77", http=80)]))
    moved = third.resources(proxy).of(LISTENER).get("dns")
    assert moved is not None and b"10.96.0.77" in moved.any and b"10.96.0.1" not in moved.any

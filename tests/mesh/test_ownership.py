"""Whose an address and a name are: no namespace has the calls to another's by what it writes into its own objects."""

from typing import Any

from mesh_testing.objects import configuration, endpoint_slice, pod, service

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from hauberk.mesh.serve_files import dump
from hauberk.mesh.snapshot import Snapshot

CLIENT = Proxy(ProxyKind.SIDECAR, "bank", "web", "10.66.0.7", Labels(), "web")
BANK = [
    service("reviews", "bank", "10.96.0.5", http=80),
    service("zdb", "bank", tcp=5432),
    endpoint_slice("zdb", ["10.66.0.5"], "bank", tcp=5432),
    pod("zdb-0", "10.66.0.5", "bank"),
    pod("thief", "10.66.0.6", "evil"),
]


def entry(name: str, namespace: str, created: str, **spec: Any) -> dict[str, Any]:
    ports = [{"number": 443, "name": "tcp", "protocol": "TCP"}]
    told = {"resolution": "STATIC", "ports": ports, "endpoints": [{"address": "10.66.0.6"}], **spec}
    return configuration("ServiceEntry", name, {"hosts": [f"{name}.com"], **told}, namespace, created)


def listeners(objects: list[dict[str, Any]]) -> dict[str, str]:
    """Where bank's program finds something, and which service that is."""
    dumped = dump(Snapshot(Registry().update([*BANK, *objects])), CLIENT)["LDS"]
    found = {one["name"]: one["metadata"]["filter_metadata"]["hauberk.io"]["service"] for one in dumped}
    return {name: host for name, host in found.items() if host}


def names(objects: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What bank's program is told of names."""
    (dns,) = (
        one
        for one in dump(Snapshot(Registry().update([*BANK, *objects])), CLIENT)["LDS"]
        if one["name"] == "dns"
    )
    (listener_filter,) = dns["listener_filters"]
    table = listener_filter["typed_config"]["server_config"]["inline_dns_table"]
    return {one["name"]: one["endpoint"]["address_list"]["address"] for one in table["virtual_domains"]}


def headless(address: str, **ports: int) -> list[dict[str, Any]]:
    """A headless Service of evil, before bank's own by name, whose endpoint somebody wrote."""
    return [service("aaa", "evil", **ports), endpoint_slice("aaa", [address], "evil", **ports)]


def test_a_headless_service_takes_no_services_address() -> None:
    assert listeners(headless("10.96.0.5", http=80))["10.96.0.5_80"] == "reviews.bank.svc.cluster.local"
    assert "10.96.0.5_81" not in listeners(headless("10.96.0.5", http=81))
    assert "aaa.evil.svc.cluster.local" not in names(headless("10.96.0.5", http=80))


def test_a_headless_service_takes_no_pod_of_another_namespace() -> None:
    assert listeners(headless("10.66.0.5", tcp=5432))["10.66.0.5_5432"] == "zdb.bank.svc.cluster.local"
    assert "10.66.0.5_81" not in listeners(headless("10.66.0.5", tcp=81))
    assert listeners(headless("10.66.0.6", tcp=81))["10.66.0.6_81"] == "aaa.evil.svc.cluster.local"


def test_a_headless_service_takes_no_entrys_address() -> None:
    payments = entry("payments", "bank", "2024-01-01T00:00:00Z", addresses=["10.9.9.9"])
    found = listeners([payments, *headless("10.9.9.9", tcp=443), *headless("10.9.9.9", tcp=80)])
    assert found["10.9.9.9_443"] == "payments.com"
    assert "10.9.9.9_80" not in found


def test_a_newer_entry_takes_no_address_of_an_older_one() -> None:
    payments = entry("payments", "bank", "2024-01-01T00:00:00Z", addresses=["10.9.9.9"])
    thief = entry("a", "evil", "2025-01-01T00:00:00Z", addresses=["10.9.9.9"])
    other_port = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    for ports in thief["spec"]["ports"], other_port:
        thief["spec"]["ports"] = ports
        found = listeners([payments, thief])
        assert found["10.9.9.9_443"] == "payments.com"
        assert "10.9.9.9_80" not in found
        assert names([payments, thief])["a.com"] != ["10.9.9.9"]
    own = entry("b", "bank", "2025-01-01T00:00:00Z", addresses=["10.9.9.9"], ports=other_port)
    assert listeners([payments, own])["10.9.9.9_80"] == "b.com"


def test_a_newer_entry_takes_no_address_that_was_given_to_an_older_one() -> None:
    payments = entry("payments", "bank", "2024-01-01T00:00:00Z")
    (address,) = names([payments])["payments.com"]
    thief = entry("a", "evil", "2025-01-01T00:00:00Z", addresses=[address])
    assert listeners([payments, thief])[f"{address}_443"] == "payments.com"


def test_an_entry_takes_no_pod_of_another_namespace() -> None:
    told = {"addresses": ["10.66.0.5"], "resolution": "NONE", "endpoints": []}
    assert "10.66.0.5_443" not in listeners([entry("a", "evil", "", **told)])
    assert listeners([entry("a", "bank", "", **told)])["10.66.0.5_443"] == "a.com"


def test_an_entry_has_no_address_that_is_no_one_hosts() -> None:
    for address in ("0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1"):
        assert f"{address}_443" not in listeners([entry("a", "evil", "", addresses=[address])])


def test_names_of_services_and_their_pods_come_first() -> None:
    slices = endpoint_slice("adb", ["10.66.0.5"], "bank", tcp=5432)
    slices["endpoints"][0]["hostname"] = "db-0"
    bank = [service("adb", "bank", tcp=5432), slices]
    name = "db-0.adb.bank.svc.cluster.local"
    assert names(bank)[name] == ["10.66.0.5"]
    assert names([*bank, entry("a", "bank", "", hosts=[name])])[name] == ["10.66.0.5"]


def test_only_its_own_namespace_may_name_what_lies_under_the_meshs_domain() -> None:
    for host in (
        "db-0.zdb.bank.svc.cluster.local",
        "DB-0.zdb.bank.svc.Cluster.Local.",
        # What a program of bank asks for first when it means reviews.bank.svc.cluster.local, or payments.com.
        "reviews.bank.svc.cluster.local.bank.svc.cluster.local",
        "payments.com.svc.cluster.local",
        "payments.com.cluster.local",
        "cluster.local",
    ):
        thief = Registry().update([*BANK, entry("a", "evil", "", hosts=[host])])
        assert host not in thief.views
        (refused,) = Snapshot(thief).refused
        assert (refused.kind, refused.namespace, refused.name) == ("ServiceEntry", "evil", "a")
        assert host in refused.reason
    own = "old.evil.svc.cluster.local"
    assert own in names([entry("a", "evil", "", hosts=[own])])


def test_the_same_name_in_other_letters_is_the_same_name() -> None:
    payments = entry("payments", "bank", "2024-01-01T00:00:00Z")
    thief = entry("a", "evil", "2025-01-01T00:00:00Z", hosts=["Payments.COM", "payments.com."])
    found = names([payments, thief])
    assert "payments.com" in found
    assert not {"Payments.COM", "payments.com."} & found.keys()

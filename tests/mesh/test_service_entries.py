"""ServiceEntry and WorkloadEntry: addresses, names and endpoints, and calls through both proxies."""

import ipaddress
from pathlib import Path
from typing import Any

from mesh_testing.backends import front
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.running import StartProxy

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Mesh, Registry, Workload
from hauberk.mesh.serialization import CLUSTER, ENDPOINT, LISTENER
from hauberk.mesh.serve_files import dump
from hauberk.mesh.service_entries import OWN_ADDRESSES, entry_views
from hauberk.mesh.snapshot import Snapshot

CLIENT = Proxy(ProxyKind.SIDECAR, "default", "client", "10.66.0.7", Labels.of({"app": "client"}), "client")
HTTP = {"number": 80, "name": "http", "protocol": "HTTP"}


def entry(name: str = "pay", created: str = "", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    told = {"hosts": [f"{name}.example"], "ports": [HTTP], "resolution": "STATIC", **spec}
    return configuration("ServiceEntry", name, told, namespace, created)


def endpoints(registry: Registry, host: str) -> list[tuple[str, int, str]]:
    """Address, port and identity of each."""
    (port, *_) = registry.views[host].service.ports
    return [
        (one.address, one.port(port.name) or 0, one.workload.service_account if one.workload else "")
        for one in registry.views[host].endpoints
    ]


def found(registry: Registry, type_url: str, name: str) -> Any:
    short = {LISTENER: "LDS", CLUSTER: "CDS", ENDPOINT: "EDS"}[type_url]
    key = "cluster_name" if type_url == ENDPOINT else "name"
    return next((one for one in dump(Snapshot(registry), CLIENT)[short] if one[key] == name), None)


def test_a_host_without_an_address_has_one_that_stays() -> None:
    static = entry(endpoints=[{"address": "10.66.0.9"}])
    alone = Registry().update([static])
    address = alone.views["pay.example"].service.address
    assert ipaddress.ip_address(address) in OWN_ADDRESSES
    others = [entry(f"other{number}", endpoints=[{"address": "10.66.0.9"}]) for number in range(50)]
    among = Registry().update([*others, static])
    assert among.views["pay.example"].service.address == address
    assert len({view.service.address for view in among.views.values()}) == 51
    assert found(alone, LISTENER, f"{address}_80") is not None
    dns = found(alone, LISTENER, "dns")
    assert f"'{address}'" in str(dns)
    assert "pay.example" in str(dns)
    assert (
        "pay.example"
        not in alone.update([], [("networking.istio.io", "ServiceEntry", "default", "pay")]).views
    )


def test_endpoints_are_told_selected_or_resolved() -> None:
    facts = Registry().update(
        [
            pod("a", "10.66.0.3", account="pod", ports={"http": 8080}, app="pay"),
            configuration(
                "WorkloadEntry",
                "vm",
                {
                    "address": "10.66.0.4",
                    "labels": {"app": "pay", "security.istio.io/tlsMode": "istio"},
                    "serviceAccount": "vm",
                    "ports": {"http": 9090},
                },
            ),
            service("reviews", address="10.96.0.1", http=9080),
            endpoint_slice("reviews", ["10.66.0.5"], http=8000),
            entry("told", endpoints=[{"address": "10.66.0.3", "ports": {"http": 81}}]),
            entry("inside", location="MESH_INTERNAL", endpoints=[{"address": "10.66.0.3"}]),
            entry("selected", location="MESH_INTERNAL", workloadSelector={"labels": {"app": "pay"}}),
            entry(
                "named",
                resolution="DNS",
                ports=[{**HTTP, "targetPort": 9080}],
                endpoints=[{"address": "reviews.default.svc.cluster.local"}, {"address": "db.example"}],
            ),
            entry("outside", resolution="DNS"),
        ]
    )
    assert endpoints(facts, "told.example") == [("10.66.0.3", 81, "default")]
    assert endpoints(facts, "inside.example") == [("10.66.0.3", 80, "pod")]
    assert endpoints(facts, "selected.example") == [("10.66.0.3", 8080, "pod"), ("10.66.0.4", 9090, "vm")]
    assert endpoints(facts, "named.example") == [("10.66.0.5", 8000, "")]
    assert endpoints(facts, "outside.example") == []
    moved = facts.update([endpoint_slice("reviews", ["10.66.0.6"], http=8000)])
    assert endpoints(moved, "named.example") == [("10.66.0.6", 8000, "")]
    assert moved.views["told.example"] is facts.views["told.example"]
    unready = pod("a", "10.66.0.3", account="pod", ports={"http": 8080}, app="pay")
    unready["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    assert endpoints(moved.update([unready]), "selected.example") == [("10.66.0.4", 9090, "vm")]


def test_what_is_inside_the_mesh_proves_its_identity() -> None:
    pay = pod("a", "10.66.0.3", account="pay")
    inside = entry(location="MESH_INTERNAL", endpoints=[{"address": "10.66.0.3"}])
    facts = Registry().update([pay, inside])
    cluster = str(found(facts, CLUSTER, "outbound|80||pay.example"))
    assert "spiffe://cluster.local/ns/default/sa/pay" in cluster
    assert "tlsMode" in str(found(facts, ENDPOINT, "outbound|80||pay.example"))
    told = entry(
        location="MESH_INTERNAL",
        endpoints=[{"address": "10.66.0.3"}],
        subjectAltNames=["spiffe://cluster.local/ns/default/sa/other"],
    )
    cluster = str(found(facts.update([told]), CLUSTER, "outbound|80||pay.example"))
    assert "sa/other" in cluster
    assert "sa/pay" not in cluster
    outside = facts.update([entry(endpoints=[{"address": "10.66.0.3"}])])
    assert "transport_socket" not in str(found(outside, CLUSTER, "outbound|80||pay.example"))


def test_resolution_none_goes_where_the_caller_meant() -> None:
    facts = Registry().update(
        [
            entry("direct", resolution="NONE", addresses=["10.66.0.3", "10.66.0.4/32", "10.67.0.0/16"]),
            entry("nowhere", resolution="NONE"),
        ]
    )
    assert found(facts, LISTENER, "10.66.0.3_80") is not None
    assert found(facts, LISTENER, "10.66.0.4_80") is not None
    assert found(facts, CLUSTER, "outbound|80||direct.example")["type"] == "ORIGINAL_DST"
    assert "nowhere.example" not in facts.views


def test_no_entry_takes_the_address_or_name_of_a_service() -> None:
    own = service("ledger", "bank", "10.96.0.1", http=80)
    thief = entry("aaa", addresses=["10.96.0.1"], endpoints=[{"address": "10.66.0.66"}])
    named = entry(
        "twin", "", "bank", hosts=["ledger.bank.svc.cluster.local"], endpoints=[{"address": "10.66.0.66"}]
    )
    headless = service("db", "bank", http=80)
    facts = Registry().update(
        [
            own,
            thief,
            named,
            headless,
            endpoint_slice("db", ["10.66.0.5"], "bank", http=80),
            pod("db-0", "10.66.0.5", "bank"),
        ]
    )
    at_pod = facts.update(
        [entry("aab", resolution="NONE", addresses=["10.66.0.5"], endpoints=[{"address": "10.66.0.66"}])]
    )
    for registry in (facts, at_pod):
        listener = found(registry, LISTENER, "10.96.0.1_80")
        assert listener["metadata"]["filter_metadata"]["hauberk.io"]["service"] == own["metadata"]["name"] + (
            ".bank.svc.cluster.local"
        )
    assert "db.bank" in str(found(at_pod, LISTENER, "10.66.0.5_80")["metadata"])
    assert facts.views["ledger.bank.svc.cluster.local"].service.entry is None
    assert facts.views["aaa.example"].service.address != "10.96.0.1"
    gone = facts.update([], [("", "Service", "bank", "ledger")])
    assert gone.views["ledger.bank.svc.cluster.local"].service.entry is not None
    back = gone.update([own])
    assert back.views["ledger.bank.svc.cluster.local"].service.entry is None


def test_of_several_entries_the_oldest_counts_and_a_bad_one_disturbs_none() -> None:
    facts = Registry().update(
        [
            entry("b", "2026-01-02", hosts=["pay.example"], endpoints=[{"address": "10.66.0.2"}]),
            entry("a", "2026-01-03", hosts=["pay.example"], endpoints=[{"address": "10.66.0.1"}]),
            entry("bad", "2026-01-01", hosts=["bad.example"], ports=[{"name": "x"}]),
            entry("wild", hosts=["*.example"], endpoints=[{"address": "10.66.0.1"}]),
        ]
    )
    assert set(facts.views) == {"pay.example"}
    assert endpoints(facts, "pay.example")[0][0] == "10.66.0.2"


def test_pods_are_looked_through_once_whatever_the_number_of_entries() -> None:
    looked_at: list[str] = []

    class Watched(Workload):
        def __getattribute__(self, name: str) -> Any:
            if name == "namespace":
                looked_at.append(name)
            return super().__getattribute__(name)

    selected = [entry(f"e{number}", workloadSelector={"labels": {"app": "pay"}}) for number in range(50)]
    configurations = Registry().update(selected).configurations.values()
    pods = {
        ("other", f"p{n}"): Watched("other", f"p{n}", f"10.66.0.{n}", Labels(), "default", (), False, True)
        for n in range(20)
    }
    assert len(entry_views(configurations, {}, pods, {}, Mesh())) == 50
    assert len(looked_at) == 20


async def test_calls_reach_the_endpoints(start_proxy: StartProxy, tmp_path: Path) -> None:
    """From a gateway: weights, subsets by a WorkloadEntry's labels, and an endpoint that is added."""
    spec = {
        "hosts": ["pay.example"],
        "gateways": ["gateway"],
        "http": [
            {
                "match": [{"uri": {"prefix": "/second"}}],
                "route": [{"destination": {"host": "pay.example", "subset": "second"}}],
            },
            {"route": [{"destination": {"host": "pay.example"}}]},
        ],
    }
    rule = {"host": "pay.example", "subsets": [{"name": "second", "labels": {"version": "second"}}]}

    def workload(name: str, address: str, port: int) -> dict[str, Any]:
        told = {"address": address, "ports": {"http": port}, "labels": {"app": "pay", "version": name}}
        return configuration("WorkloadEntry", name, told)

    objects = [
        entry(workloadSelector={"labels": {"app": "pay"}}, location="MESH_INTERNAL"),
        configuration("VirtualService", "pay", spec),
        configuration("DestinationRule", "pay", rule),
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        reviews = gateway.plane.discovery.snapshot.registry.views["reviews.default.svc.cluster.local"]
        port = reviews.endpoints[0].port("http") or 0
        assert (await gateway.get(host="pay.example"))[0] == 503
        registry = gateway.plane.discovery.snapshot.registry.update([workload("first", "127.0.0.2", port)])
        gateway.plane.discovery.publish(registry)

        async def answers(path: str) -> bool:
            return (await gateway.get(path, host="pay.example"))[0] == 200

        await eventually(lambda: answers("/"))
        assert (await gateway.get("/second", host="pay.example"))[0] == 503
        registry = registry.update([workload("second", "127.0.0.3", port)])
        gateway.plane.discovery.publish(registry)
        await eventually(lambda: answers("/second"))
        assert (await gateway.get("/second", host="pay.example"))[1]["version"] == "v2"
        seen = {(await gateway.get(host="pay.example"))[1]["version"] for _ in range(40)}
        assert seen == {"v1", "v2"}
        status = await gateway.running.synced(gateway.plane.discovery)
        assert [one.reason for one in status.types if one.reason] == []

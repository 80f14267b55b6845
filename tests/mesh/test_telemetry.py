"""Which providers a workload's calls are logged and traced by: the levels of Telemetry, and what Envoy is told."""

from typing import Any

import pytest
from mesh_testing.objects import configuration, service

from hauberk.mesh.access_logs import FileLog, HttpLogService, TcpLogService
from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from hauberk.mesh.serve_files import dump
from hauberk.mesh.snapshot import Snapshot
from hauberk.mesh.telemetry import Observation, Telemetry, TelemetryIndex
from hauberk.mesh.tracing import CustomTag, Tracing

COLLECTOR = "collector.observability.svc.cluster.local"
CLUSTER = f"outbound|9000||{COLLECTOR}"
WEB = {"selector": {"matchLabels": {"app": "web"}}}


def mesh(**defaults: list[str]) -> dict[str, Any]:
    at = {"service": COLLECTOR, "port": 9000}
    providers = [
        {"name": "requests", "envoyHttpAls": at},
        {"name": "connections", "envoyTcpAls": at | {"logName": "bytes"}},
        {"name": "spans", "opentelemetry": at},
        {"name": "other-spans", "opentelemetry": {"service": COLLECTOR, "port": 9001}},
        {"name": "short", "envoyFileAccessLog": {"logFormat": {"labels": {"code": "%RESPONSE_CODE%"}}}},
        {"name": "nowhere", "envoyHttpAls": {"service": "none.observability.svc.cluster.local", "port": 1}},
    ]
    return configuration(
        "MeshConfig", "default", {"extensionProviders": providers, "defaultProviders": defaults}
    )


def told(namespace: str, spec: dict[str, Any], name: str = "") -> dict[str, Any]:
    return configuration("Telemetry", name or f"t{len(spec)}", spec, namespace)


def logging(*providers: str, **more: Any) -> dict[str, Any]:
    return {"accessLogging": [{"providers": [{"name": name} for name in providers], **more}]}


def observed(*objects: dict[str, Any], namespace: str = "bank", app: str = "web") -> Telemetry:
    collector = service("collector", "observability", "10.96.0.9", grpc=9000, grpc_more=9001)
    registry = Registry().update([collector, *objects])
    return TelemetryIndex(registry).of(namespace, Labels.of({"app": app}))


REQUESTS = HttpLogService(CLUSTER, "http_envoy_accesslog")
CONNECTIONS = TcpLogService(CLUSTER, "bytes")
DISABLED = {"accessLogging": [{"disabled": True}]}


def test_without_any_object_each_proxy_keeps_its_log_and_traces_nothing() -> None:
    assert observed() == Telemetry(Observation((FileLog(),)), Observation((FileLog(),)))


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([mesh(accessLogging=[])], ()),
        ([mesh(accessLogging=["requests"])], (REQUESTS,)),
        ([mesh(accessLogging=["nowhere"])], ()),
        ([mesh(), told("istio-system", DISABLED)], ()),
        ([mesh(), told("istio-system", DISABLED), told("bank", logging("requests"))], (REQUESTS,)),
        ([mesh(), told("istio-system", logging("requests")), told("bank", DISABLED)], ()),
        ([mesh(), told("bank", logging("requests")), told("shop", DISABLED)], (REQUESTS,)),
        ([mesh(), told("istio-system", WEB | DISABLED)], (FileLog(),)),
        (
            [mesh(), told("istio-system", logging("requests")), told("bank", WEB | logging("connections"))],
            (CONNECTIONS,),
        ),
        ([mesh(), told("bank", logging("requests", "connections"))], (CONNECTIONS, REQUESTS)),
        ([mesh(), told("bank", logging("missing"))], ()),
        ([mesh(), told("bank", logging("spans"))], ()),
        ([mesh(), told("bank", logging("short"))], (FileLog(fields=(("code", "%RESPONSE_CODE%"),)),)),
        ([mesh(), told("bank", {"selector": {"matchLabels": {"app": "db"}}} | DISABLED)], (FileLog(),)),
    ],
)
def test_the_narrowest_level_that_names_providers_counts(
    objects: list[dict[str, Any]], expected: tuple[Any, ...]
) -> None:
    assert observed(*objects).client.loggers == expected


def test_of_several_objects_of_a_level_the_oldest_counts() -> None:
    older = configuration("Telemetry", "z", logging("requests"), "bank", created="2026-01-01T00:00:00Z")
    newer = configuration("Telemetry", "a", DISABLED, "bank", created="2026-01-02T00:00:00Z")
    assert observed(mesh(), newer, older).client.loggers == (REQUESTS,)


def test_a_mode_speaks_of_one_direction() -> None:
    found = observed(
        mesh(), told("bank", {"accessLogging": [{"match": {"mode": "SERVER"}, "disabled": True}]})
    )
    assert (found.client.loggers, found.server.loggers) == ((), ()), "nothing is enabled for clients either"
    both = {"accessLogging": [{}, {"match": {"mode": "SERVER"}, "disabled": True}]}
    found = observed(mesh(), told("bank", both))
    assert (found.client.loggers, found.server.loggers) == ((FileLog(),), ())


def tracing(**entry: Any) -> dict[str, Any]:
    return {"tracing": [entry]}


def test_tracing_is_put_together_setting_by_setting() -> None:
    tags = {"a": {"literal": {"value": "x"}}, "b": {"header": {"name": "x-b", "defaultValue": "-"}}}
    spans = {"providers": [{"name": "other-spans"}]}
    objects = [
        mesh(tracing=["spans"]),
        told("istio-system", tracing(randomSamplingPercentage=5, customTags=tags)),
        told("bank", tracing(**spans)),
        told("bank", WEB | tracing(randomSamplingPercentage=100, match={"mode": "CLIENT"})),
    ]
    found = observed(*objects)
    made = (CustomTag("a", "", "x"), CustomTag("b", "x-b", "-"))
    other = f"outbound|9001||{COLLECTOR}"
    assert found.client.tracing == Tracing(other, "web.bank", 100.0, made)
    assert found.server.tracing == Tracing(other, "web.bank", 5.0, made)
    assert (
        observed(mesh(tracing=["spans"]), told("bank", tracing(disableSpanReporting=True))).client.tracing
        is None
    )
    assert observed(mesh(), told("bank", tracing(randomSamplingPercentage=50))).client.tracing is None


def test_a_collector_out_of_sight_has_its_cluster_and_no_listener() -> None:
    """A Sidecar narrows what the program may call, not where its proxy reports to."""
    narrow = configuration("Sidecar", "default", {"egress": [{"hosts": ["./*"]}]}, "bank")
    objects = [service("collector", "observability", "10.96.0.9", grpc=9000, grpc_more=9001), mesh(), narrow]
    proxy = Proxy(ProxyKind.SIDECAR, "bank", "web-1", "10.66.0.7", Labels.of({"app": "web"}), "web")
    shown = dump(Snapshot(Registry().update(objects)), proxy)
    assert CLUSTER in {one["name"] for one in shown["CDS"]}
    assert "10.96.0.9_9000" not in {one["name"] for one in shown["LDS"]}
    assert shown["RDS"] == []


def test_a_change_of_telemetry_reaches_the_proxies_that_it_is_about() -> None:
    objects = [service("ledger", "bank", "10.96.0.1", http=80), service("db", "bank", "10.96.0.2", tcp=5432)]
    first = Snapshot(Registry().update([*objects, mesh()]))
    proxies = {
        app: Proxy(ProxyKind.SIDECAR, "bank", f"{app}-1", "10.66.0.7", Labels.of({"app": app}), app)
        for app in ("web", "ledger")
    }
    before = {app: first.resources(proxy) for app, proxy in proxies.items()}
    second = first.successor(first.registry.update([told("bank", WEB | DISABLED)]))
    for app, changes in (("web", True), ("ledger", False)):
        after = second.resources(proxies[app])
        assert any(not after.of(url).same(sets) for url, sets in before[app].sets.items()) is changes, app
    assert "access_log" not in str(dump(second, proxies["web"])["LDS"])
    assert "access_log" in str(dump(second, proxies["ledger"])["LDS"])

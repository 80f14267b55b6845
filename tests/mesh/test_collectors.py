"""Access log entries and spans to a collector, from a real Envoy and from our own proxy alike."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mesh_testing.control_plane import eventually
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.objects import configuration, endpoint_slice, service
from mesh_testing.running import StartProxy
from mesh_testing.two_hops import CLIENT, COLLECTOR, IDENTITIES, SERVER, VIRTUAL, send_bytes, two_hops

pytestmark = pytest.mark.root

PORT = 9000
WEB = "web.default.svc.cluster.local"


def objects(**defaults: list[str]) -> list[dict[str, Any]]:
    """A collector outside of the mesh that is told everything."""
    at = {"service": "collector.observability.svc.cluster.local", "port": PORT}
    providers = [
        {"name": "requests", "envoyHttpAls": at | {"logName": "requests"}},
        {"name": "connections", "envoyTcpAls": at | {"logName": "connections"}},
        {"name": "spans", "opentelemetry": at},
    ]
    told = {"extensionProviders": providers, "defaultProviders": defaults}
    return [
        service("collector", "observability", "10.96.0.9", grpc=PORT),
        endpoint_slice("collector", [COLLECTOR], "observability", grpc=PORT),
        configuration("MeshConfig", "default", told),
    ]


class Told:
    """What the collector was told."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def all(self, kind: str) -> list[dict[str, Any]]:
        lines = self._file.read_text().splitlines(keepends=True) if self._file.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in found if one["kind"] == kind]


@asynccontextmanager
async def collector(namespace: str, folder: Path) -> AsyncIterator[Told]:
    file = folder / "told.jsonl"
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", namespace, sys.executable, "-m", "mesh_testing.collector",
        f"{COLLECTOR}:{PORT}", str(file), cwd=Path(__file__).parent, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield Told(file)
    finally:
        process.kill()
        await process.wait()


async def test_entries_of_requests_and_connections(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    client, _ = pair
    policy = {
        "selector": {"matchLabels": {"app": "web"}},
        "rules": [
            {"to": [{"operation": {"paths": ["/open*"]}}]},
            {"to": [{"operation": {"ports": ["8081"]}}]},
        ],
    }
    facts = [
        *objects(accessLogging=["requests", "connections"]),
        configuration("AuthorizationPolicy", "web", policy),
    ]
    async with (
        collector(client, tmp_path) as told,
        two_hops(start_proxy, pair, tmp_path, *facts) as proxies,
    ):
        url = f"http://{VIRTUAL}/open?x=1"
        assert (await proxies.call("-A", "tester", "-X", "POST", "-d", "12345", url))[0] == "200"
        assert (await proxies.call(f"http://{VIRTUAL}/shut"))[0] == "403"
        await send_bytes(client)

        def everything() -> bool:
            return len(told.all("http")) >= 4 and len(told.all("tcp")) >= 2

        await eventually(everything)
        for name, running, cluster, tcp_cluster in (
            ("front-1", proxies.front, f"outbound|80||{WEB}", f"outbound|81||{WEB}"),
            ("web-1", proxies.web, "inbound|8080||", "inbound|8081||"),
        ):
            mine = [one for one in told.all("http") if name in one["node"]]
            assert {one["log"] for one in mine} == {"requests"}
            assert running.accesses() == [], "the file is not among the providers"
            by_path = {one["entry"]["request"]["path"]: one["entry"] for one in mine}
            opened, shut = by_path["/open?x=1"], by_path["/shut"]
            common = opened["common_properties"]
            assert opened["request"]["request_method"] == "POST"
            assert opened["request"]["user_agent"] == "tester"
            assert opened["request"]["authority"] == VIRTUAL
            assert opened["request"]["request_body_bytes"] == "5"
            assert opened["response"]["response_code"] == 200
            assert opened["response"]["response_code_details"] == "via_upstream"
            assert int(opened["response"]["response_body_bytes"]) > 0
            assert common["upstream_cluster"] == cluster
            assert common["upstream_remote_address"]["socket_address"]["address"] == SERVER
            assert common["downstream_remote_address"]["socket_address"]["address"] == CLIENT
            assert not common.get("response_flags"), common
            assert common["access_log_type"] == "DownstreamEnd"
            assert opened["protocol_version"] in ("HTTP11", "HTTP2")
            assert shut["response"]["response_code"] == 403
            (raw,) = [one["entry"] for one in told.all("tcp") if name in one["node"]]
            assert raw["connection_properties"]["received_bytes"] == str(len(b"GET /raw HTTP/1.0\r\n\r\n"))
            assert int(raw["connection_properties"]["sent_bytes"]) > 0
            assert raw["common_properties"]["upstream_cluster"] == tcp_cluster
            for entry in (opened, shut, raw):
                peer = peer_of(entry)
                assert peer == ([IDENTITIES["front"]] if name == "web-1" else []), entry
        inbound_shut = next(
            one["entry"]
            for one in told.all("http")
            if "web-1" in one["node"] and one["entry"]["request"]["path"] == "/shut"
        )
        details = inbound_shut["response"]["response_code_details"]
        assert details == "rbac_access_denied_matched_policy[none]"
        assert not inbound_shut["common_properties"].get("response_flags"), inbound_shut


def peer_of(entry: dict[str, Any]) -> list[str]:
    """URI names of the caller's certificate."""
    tls = entry["common_properties"].get("tls_properties") or {}
    names = (tls.get("peer_certificate_properties") or {}).get("subject_alt_name") or []
    return [name["uri"] for name in names]


async def test_the_spans_of_two_hops_are_one_trace(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    client, _ = pair
    tags = {
        "tenant": {"header": {"name": "x-tenant", "defaultValue": "none"}},
        "mesh": {"literal": {"value": "m"}},
    }
    spec = {"tracing": [{"randomSamplingPercentage": 100, "customTags": tags}]}
    facts = [*objects(tracing=["spans"]), configuration("Telemetry", "all", spec, "istio-system")]
    parent = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    async with (
        collector(client, tmp_path) as told,
        two_hops(start_proxy, pair, tmp_path, *facts) as proxies,
    ):
        traceparent = f"traceparent: 00-{parent[0]}-{parent[1]}-01"
        url = f"http://{VIRTUAL}/open"
        assert (await proxies.call("-H", traceparent, "-H", "x-tenant: blue", url))[0] == "200"
        assert (await proxies.call("-H", traceparent.replace("-01", "-00"), url))[0] == "200"
        assert (await proxies.call(url))[0] == "200"
        await eventually(lambda: len(told.all("span")) >= 4)
        spans = told.all("span")
        assert len(spans) == 4, "the caller's decision not to sample holds"
        continued = [one for one in spans if one["span"]["trace"] == parent[0]]
        begun = [one for one in spans if one["span"]["trace"] != parent[0]]
        for pair_of_spans, first_parent in ((continued, parent[1]), (begun, "")):
            out, into = sorted(pair_of_spans, key=lambda one: one["span"]["side"])
            assert (out["span"]["side"], into["span"]["side"]) == ("SPAN_KIND_CLIENT", "SPAN_KIND_SERVER")
            assert out["span"]["trace"] == into["span"]["trace"]
            assert out["span"]["parent"] == first_parent
            assert into["span"]["parent"] == out["span"]["span"]
            assert out["resource"]["service.name"] == "front.default"
            assert into["resource"]["service.name"] == "web.default"
            assert out["span"]["name"] == f"egress {VIRTUAL}"
            assert into["span"]["name"] == "ingress"
            assert 0 < out["span"]["took"] < 10_000_000_000
            for one, cluster in ((out, f"outbound|80||{WEB}"), (into, "inbound|8080||")):
                attributes = one["span"]["attributes"]
                assert attributes["http.status_code"] == "200"
                assert attributes["http.method"] == "GET"
                assert attributes["http.url"].endswith(f"{VIRTUAL}/open"), attributes
                assert attributes["upstream_cluster"] == cluster
                assert attributes["response_flags"] == "-"
                assert attributes["component"] == "proxy"
                assert attributes["mesh"] == "m"
                assert attributes["tenant"] == ("blue" if first_parent else "none")


async def test_a_collector_that_is_away_holds_nothing_up_and_is_told_later(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    """Our own proxy: calls go on, it tries again, and what it kept arrives."""
    client, _ = pair
    spec = {"tracing": [{"randomSamplingPercentage": 100}]}
    facts = [
        *objects(accessLogging=["requests"], tracing=["spans"]),
        configuration("Telemetry", "all", spec, "istio-system"),
    ]
    async with two_hops(hauberk_proxy, pair, tmp_path, *facts) as proxies:
        for _ in range(3):
            assert (await proxies.call(f"http://{VIRTUAL}/early"))[0] == "200"
        await eventually(lambda: "the collector of access logs is away" in proxies.front.log.read_text())
        async with collector(client, tmp_path) as told:
            await eventually(lambda: len(told.all("http")) >= 6 and len(told.all("span")) >= 6, 30)
        assert (await proxies.call(f"http://{VIRTUAL}/between"))[0] == "200"
        async with collector(client, tmp_path) as told:
            assert (await proxies.call(f"http://{VIRTUAL}/late"))[0] == "200"
            late = "/late"
            await eventually(
                lambda: sum(one["entry"]["request"]["path"] == late for one in told.all("http")) >= 2, 30
            )
        metrics = await proxies.front.admin("/stats/prometheus")
        assert 'hauberk_export_dropped_total{kind="span"} 0' in metrics, metrics

"""Our proxy under a real istiod over a real kube-apiserver: it takes all it is sent, and serves the httpbin sample."""

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conformance_testing.built import FOLDER
from conformance_testing.istiod import Istiod, istiod
from conformance_testing.kubernetes import kubernetes
from conformance_testing.pod import pods
from conformance_testing.process import eventually

pytestmark = pytest.mark.root

HTTPBIN = ["/usr/bin/python3", "-m", "httpbin.core", "--host", "0.0.0.0", "--port", "8080"]
"""Debian's, in the place of the sample's image: the objects are Istio's own."""


@dataclass(frozen=True)
class Objects:
    """Objects of Istio's, and a request of `caller` whose answer shows that they work."""

    values: tuple[dict[str, Any], ...]
    status: str
    path: str = "/headers"
    arguments: tuple[str, ...] = ()


def istio(group: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


HTTPBIN_PODS = {"selector": {"matchLabels": {"app": "httpbin"}}}
OBJECTS = {
    "STRICT": Objects((istio("security", "PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}}),), "200"),
    "AuthorizationPolicy": Objects(
        (
            istio("security", "AuthorizationPolicy", "teapots", {
                **HTTPBIN_PODS,
                "action": "DENY",
                "rules": [
                    {
                        "from": [{"source": {"principals": ["cluster.local/ns/default/sa/caller"]}}],
                        "to": [{"operation": {"paths": ["/status/418"]}}],
                    }
                ],
            }),
        ),
        "403",
        "/status/418",
    ),
    "RequestAuthentication": Objects(
        (
            istio("security", "RequestAuthentication", "tokens", {
                **HTTPBIN_PODS,
                "jwtRules": [{"issuer": "https://issuer.example", "jwks": '{"keys": []}'}],
            }),
        ),
        "401",
        "/headers",
        ("-H", "Authorization: Bearer a.b.c"),
    ),
    "VirtualService": Objects(
        (
            istio("networking", "VirtualService", "httpbin-mesh", {
                "hosts": ["httpbin"],
                "http": [
                    {
                        "match": [{"uri": {"prefix": "/broken"}}],
                        "fault": {"abort": {"percentage": {"value": 100}, "httpStatus": 555}},
                        "route": [{"destination": {"host": "httpbin"}}],
                    },
                    {
                        "match": [{"uri": {"prefix": "/moved"}}],
                        "rewrite": {"uri": "/status"},
                        "headers": {"request": {"set": {"x-moved": "yes"}}},
                        "timeout": "5s",
                        "retries": {"attempts": 2, "perTryTimeout": "2s", "retryOn": "5xx"},
                        "corsPolicy": {"allowOrigins": [{"exact": "https://a.example"}], "allowMethods": ["GET"]},
                        "mirror": {"host": "httpbin"},
                        "route": [{"destination": {"host": "httpbin", "subset": "v1"}, "weight": 100}],
                    },
                    {"route": [{"destination": {"host": "httpbin"}}]},
                ],
            }),
            istio("networking", "DestinationRule", "httpbin", {
                "host": "httpbin",
                "trafficPolicy": {
                    "connectionPool": {"tcp": {"maxConnections": 100}, "http": {"http1MaxPendingRequests": 10}},
                    "outlierDetection": {"consecutive5xxErrors": 50, "interval": "5s"},
                    "loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}},
                },
                "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
            }),
        ),
        "202",
        "/moved/202",
    ),
    "fault": Objects((), "555", "/broken"),
    "Telemetry": Objects(
        (
            {
                "apiVersion": "telemetry.istio.io/v1",
                "kind": "Telemetry",
                "metadata": {"name": "all"},
                "spec": {"accessLogging": [{"providers": [{"name": "envoy"}]}],
                         "metrics": [{"providers": [{"name": "prometheus"}]}]},
            },
        ),
        "200",
    ),
    "ServiceEntry": Objects(
        (
            istio("networking", "ServiceEntry", "elsewhere", {
                "hosts": ["elsewhere.example"],
                "location": "MESH_EXTERNAL",
                "resolution": "DNS",
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            }),
            istio("networking", "Sidecar", "default", {
                "egress": [{"hosts": ["./*"]}],
                "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            }),
        ),
        "200",
    ),
}  # fmt: skip
"""In this order: each is sent beside those before it."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name, for the sockets in it, that proxies with users of their own may enter."""
    with tempfile.TemporaryDirectory(prefix="hbk-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def plane(folder: Path) -> AsyncIterator[Istiod]:
    async with kubernetes(folder) as cluster, istiod(cluster, folder) as found:
        yield found


async def test_httpbin_is_served_without_a_refusal(plane: Istiod, folder: Path) -> None:
    """Istio's sample under Istio's own defaults, then under each of the objects that change what is sent."""
    cluster = plane.kubernetes
    await cluster.kubectl("apply", "-f", str(FOLDER / "httpbin.yaml"))
    async with pods(plane, folder) as running:
        httpbin = await running.start(
            "httpbin-1", account="httpbin", labels={"app": "httpbin", "version": "v1"}, command=HTTPBIN,
            ports=[8080], service="httpbin", service_ports={"http": 8080},
        )  # fmt: skip
        caller = await running.start("caller", account="caller", labels={"app": "caller"})
        gateway = await running.start(
            "gateway", account="gateway", labels={"istio": "ingressgateway"}, gateway=True
        )
        everyone = (httpbin, caller, gateway)
        service = await cluster.get("service", "httpbin")
        url = f"http://{service['spec']['clusterIP']}:8000"

        async def answered(expected: str, path: str = "/headers", *arguments: str) -> None:
            async def is_it() -> bool:
                return (await caller.call(url + path, *arguments))[0] == expected

            await eventually(is_it, 30, f"{path} is answered {expected}; see {caller.folder}")

        await answered("200")
        _, body = await caller.call(f"{url}/headers")
        identity = json.loads(body)["headers"]["X-Forwarded-Client-Cert"]
        assert "URI=spiffe://cluster.local/ns/default/sa/caller" in identity, "mutual TLS under istiod's CA"
        assert (await caller.call(f"{url}/status/418"))[0] == "418"
        assert [pod.refused() for pod in everyone] == [[], [], []]

        for name, objects in OBJECTS.items():
            if objects.values:
                await cluster.apply(*objects.values)
            await answered(objects.status, objects.path, *objects.arguments)
            assert [pod.refused() for pod in everyone] == [[], [], []], name

        await cluster.kubectl("apply", "-f", str(FOLDER / "httpbin-gateway.yaml"))
        visitor = f"http://{gateway.network.address}:80"

        async def visited() -> bool:
            return (await output("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}",
                                 "-H", "Host: httpbin.example.com", f"{visitor}/status/418")) == "418"  # fmt: skip

        await eventually(visited, 30, f"httpbin answers through the gateway; see {gateway.folder}")
        assert [pod.refused() for pod in everyone] == [[], [], []]
        metrics = await plane.metrics()
        assert "pilot_xds_pushes" in metrics
        assert re.search(r"pilot_(total_xds_rejects|xds_\w+_reject)", metrics) is None, (
            "istiod has counted no refusal"
        )


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    found, _ = await process.communicate()
    return found.decode()

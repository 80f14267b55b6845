"""A real Envoy in a sidecar's place takes everything that we send it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from mesh_testing.control_plane import control_plane, eventually
from mesh_testing.envoy import envoy
from mesh_testing.objects import BANK, ROOT, configuration, read, with_pods

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry

pytestmark = pytest.mark.root

SAMPLES = ROOT.parent / "shared" / "data" / "istio-samples"


def sidecar(name: str, namespace: str, account: str, **labels: str) -> Proxy:
    return Proxy(ProxyKind.SIDECAR, namespace, name, "10.66.0.7", Labels.of(labels), account)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "state-of-the-world"])
async def test_the_bank(tmp_path: Path, network_namespace: str, delta: bool) -> None:
    registry = Registry().update(with_pods(read(BANK, "bank")))
    proxy = sidecar("web-0", "bank", "web", app="web")
    async with (
        control_plane(registry, tmp_path) as plane,
        envoy(proxy, plane.path, tmp_path, namespace=network_namespace, delta=delta) as running,
    ):
        status = await running.synced(plane.discovery)
        assert [(one.type, one.reason) for one in status.types if one.reason] == [], running.log.read_text()
        assert {one.type for one in status.types} == {"CDS", "EDS", "LDS", "RDS"}
        dump = await running.admin("/config_dump")
        assert "outbound|9000||ledger.bank.svc.cluster.local" in dump
        later = plane.discovery.snapshot.registry.update(
            [configuration("PeerAuthentication", "default", {"mtls": {"mode": "PERMISSIVE"}}, "bank")]
        )
        plane.discovery.publish(later)
        await eventually(lambda: _has(running, "8000-plain"))
        status = await running.synced(plane.discovery)
        assert [one.reason for one in status.types if one.reason] == []


async def _has(running, text: str) -> bool:  # type: ignore[no-untyped-def]
    return text in await running.admin("/config_dump")


@pytest.mark.parametrize("kind", [ProxyKind.SIDECAR, ProxyKind.ROUTER], ids=["sidecar", "gateway"])
async def test_every_sample_of_istio(tmp_path: Path, network_namespace: str, kind: ProxyKind) -> None:
    """Each file in turn on top of the applications: nothing is refused, and what it says arrives."""
    if not SAMPLES.is_dir():
        pytest.skip(f"Istio's samples are not at {SAMPLES}")
    files = sorted(SAMPLES.glob("*/*.yaml"))
    applications = [
        one
        for path in files
        for one in objects_of(path)
        if one["kind"] in ("Service", "Deployment")
        and path.name in ("bookinfo.yaml", "httpbin.yaml", "tcp-echo-services.yaml")
    ]
    base = with_pods(applications)
    rules = next(path for path in files if path.name == "destination-rule-all.yaml")
    registry = Registry().update([*base, *objects_of(rules)])
    labels = {"istio": "ingressgateway"} if kind is ProxyKind.ROUTER else {"app": "productpage"}
    proxy = Proxy(kind, "default", "p", "10.66.0.7", Labels.of(labels), "default")
    async with (
        control_plane(registry, tmp_path) as plane,
        envoy(proxy, plane.path, tmp_path, namespace=network_namespace) as running,
    ):
        await running.synced(plane.discovery)
        for path in files:
            extra = [
                one
                for one in objects_of(path)
                if one["kind"] not in ("Service", "Deployment", "ServiceAccount")
            ]
            marker = configuration(
                "VirtualService", "marker", {"hosts": ["httpbin"], "http": [marked(path.stem)]}
            )
            edge = {
                "selector": {"istio": "ingressgateway"},
                "servers": [{"port": {"number": 9999, "protocol": "HTTP"}, "hosts": ["*"]}],
            }
            marker["spec"]["gateways"] = ["mesh", "marker"]
            later = registry.update([*extra, marker, configuration("Gateway", "marker", edge)])
            plane.discovery.publish(later)
            await eventually(lambda name=path.stem: _has(running, f"marker-{name}"))
            status = await running.synced(plane.discovery)
            assert [one.reason for one in status.types if one.reason] == [], path


def marked(name: str) -> dict[str, object]:
    return {"name": f"marker-{name}", "directResponse": {"status": 204}}


def objects_of(path: Path) -> list[dict[str, Any]]:
    found = [one for one in yaml.safe_load_all(path.read_text()) if one and "kind" in one]
    for one in found:
        one["metadata"].setdefault("namespace", "default")
    return found

"""A real Envoy in a sidecar's place takes everything that we send it."""

from pathlib import Path

import pytest
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

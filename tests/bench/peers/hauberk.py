"""Hauberk's data plane as it is shipped: the release binary, our control plane over xDS, admin socket and logs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import objects
from tests.bench.gates import Place
from tests.bench.process import Measured, answers_ready, free_port, running

PROXY = Path("target/release/hauberk-proxy").resolve()
SANDBOX = Path("target/release/hauberk-sandbox").resolve()


def build() -> None:
    """Build the programs as they are released, so that what is measured is what the sources say."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--bins"], check=True)


@contextmanager
def hop(
    folder: Path,
    backend_port: int,
    *,
    protocol: str = "http",
    access_log: bool = True,
    hosts: int = 0,
    workers: int = 1,
) -> Iterator[Measured]:
    """A gateway.

    `protocol` is what the program behind it speaks: `http`, `grpc` or `tcp`; `hosts` as `objects.gateway`.
    """
    port = free_port()
    run = folder / "front"
    run.mkdir()
    told = objects.gateway(port, backend_port, protocol, hosts=hosts)
    bootstrap = write_bootstrap(run, "router", "front", "127.0.0.1", {"workers": workers})
    command = [str(PROXY), "--bootstrap", str(bootstrap)]
    with (
        control_plane(folder, told, {"front": run}, access_log),
        running(command, answers_ready(run / "admin.sock"), folder / "front.log") as pid,
    ):
        yield Measured((pid,), port)


@contextmanager
def two_hops(
    folder: Path, web: Place, ledger: Place, *, told: list[objects.Object], access_log: bool = True
) -> Iterator[Measured]:
    """Two sidecars in their gates, launched as the node launches them, for `told` (`objects.two_workloads`)."""
    runs = {name: folder / name for name in ("web", "ledger")}
    with (
        control_plane(folder, told, runs, access_log),
        sidecar(folder, runs["ledger"], "ledger", ledger) as far,
        sidecar(folder, runs["web"], "web", web) as near,
    ):
        yield Measured((near, far), 80, objects.LEDGER_SERVICE, web.in_pod)


@contextmanager
def far_hop(folder: Path, web: Place, ledger: Place, *, told: list[objects.Object]) -> Iterator[Measured]:
    """The inbound one of two hops, to be called from `web`'s gate with the certificate in `folder`."""
    runs = {"ledger": folder / "ledger"}
    with (
        control_plane(folder, told, runs, access_log=True, callers=("web",)),
        sidecar(folder, runs["ledger"], "ledger", ledger) as far,
    ):
        yield Measured((far,), objects.PROGRAM_PORT, objects.LEDGER, web.in_gate)


@contextmanager
def sidecar(folder: Path, run: Path, name: str, place: Place) -> Iterator[int]:
    gate = {"source_address": str(place.network.address), "upstream_mark": 2}
    bootstrap = write_bootstrap(run, "sidecar", name, str(place.network.address), gate)
    command = [
        str(SANDBOX), "proxy", "--netns", str(place.gate), "--directory", str(run), "--uid", str(place.uid),
        "--", str(PROXY), "--bootstrap", str(bootstrap),
    ]  # fmt: skip
    os.chown(run, -1, place.uid)
    run.chmod(0o1771)
    with running(command, answers_ready(run / "admin.sock"), folder / f"{name}.log") as pid:
        yield pid


@contextmanager
def control_plane(
    folder: Path,
    told: list[objects.Object],
    runs: dict[str, Path],
    access_log: bool,
    callers: tuple[str, ...] = (),
) -> Iterator[None]:
    """Serves each proxy at `xds.sock` in its own folder. The certificates of `callers` lie in `folder`."""
    for run in runs.values():
        run.mkdir(exist_ok=True)
    proxies = [
        {"socket": str(run / "xds.sock"), "namespace": objects.NAMESPACE, "account": name}
        for name, run in runs.items()
    ]
    plan = folder / "plan.json"
    objects_told = told if access_log else [*told, objects.NO_ACCESS_LOG]
    called = [{"folder": str(folder), "namespace": objects.NAMESPACE, "account": name} for name in callers]
    plan.write_text(json.dumps({"objects": objects_told, "proxies": proxies, "callers": called}))
    command = [sys.executable, "-m", "tests.bench.discovery", str(plan)]

    def ready() -> bool:
        return all((run / "xds.sock").exists() for run in runs.values())

    with running(command, ready, folder / "discovery.log"):
        yield


def write_bootstrap(run: Path, kind: str, name: str, address: str, gate: dict[str, Any]) -> Path:
    """The file that the node writes for a pod's proxy (docs/architecture.md)."""
    namespace = objects.NAMESPACE
    content = {
        "node": {
            "id": f"{kind}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local",
            "cluster": f"{name}.{namespace}",
            "metadata": {
                "NAMESPACE": namespace,
                "NAME": name,
                "SERVICE_ACCOUNT": name,
                "WORKLOAD_NAME": name,
                "INSTANCE_IPS": address,
                "LABELS": {"app": name},
            },
        },
        "xds": str(run / "xds.sock"),
        "admin": str(run / "admin.sock"),
        "records": str(run / "records.log"),
        "access_log": str(run / "access.log"),
        "workers": 1,
        "drain_seconds": 0,
        **gate,
    }
    file = run / "bootstrap.json"
    file.write_text(json.dumps(content))
    return file

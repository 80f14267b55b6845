"""A real Envoy in a proxy's place."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hauberk.mesh.envoy_bootstrap import EnvoyBootstrap
from hauberk.mesh.proxy import Proxy
from mesh_testing.running import Running, node, run

ENVOY = Path(sys.prefix) / "bin" / "envoy"


@asynccontextmanager
async def envoy(
    proxy: Proxy,
    xds: Path,
    folder: Path,
    *,
    namespace: str = "",
    name: str = "envoy",
    delta: bool = True,
    workers: int = 1,
) -> AsyncIterator[Running]:
    """Start one; `namespace` is a network namespace to run in, where it has the proxy's address."""
    admin = folder / f"{name}.sock"
    bootstrap = folder / f"{name}.json"
    source = proxy.address if namespace else ""
    config = EnvoyBootstrap(
        node=node(proxy), xds=str(xds), admin=str(admin), source_address=source, delta=delta
    )
    bootstrap.write_text(json.dumps(config.to_json()))
    command = [str(ENVOY), "-c", str(bootstrap), "--concurrency", str(workers), "--use-dynamic-base-id"]
    command += ["-l", "warning", "--drain-time-s", "0", "--file-flush-interval-msec", "50"]
    log = folder / f"{name}.log"
    async with run(command, proxy, admin, log, log, namespace) as running:
        yield running

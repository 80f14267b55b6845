"""Our own proxy."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hauberk.mesh.proxy import Proxy
from mesh_testing.running import Running, node, run

PROGRAM = Path(sys.prefix) / "bin" / "hauberk-proxy"


@asynccontextmanager
async def hauberk_proxy(
    proxy: Proxy,
    xds: Path,
    folder: Path,
    *,
    namespace: str = "",
    name: str = "hauberk",
    workers: int = 1,
    drain_seconds: int = 0,
) -> AsyncIterator[Running]:
    """Start one; `namespace` is a network namespace to run in, where it has the proxy's address."""
    admin = folder / f"{name}.sock"
    bootstrap = folder / f"{name}.json"
    access_log = folder / f"{name}-access.log"
    config: dict[str, Any] = {
        "node": node(proxy),
        "xds": str(xds),
        "admin": str(admin),
        "records": str(folder / f"{name}-records.log"),
        "access_log": str(access_log),
        "workers": workers,
        "drain_seconds": drain_seconds,
    }
    if namespace:
        config |= {"source_address": proxy.address, "upstream_mark": 2}
    bootstrap.write_text(json.dumps(config))
    command = [str(PROGRAM), "--bootstrap", str(bootstrap)]
    async with run(command, proxy, admin, folder / f"{name}.log", access_log, namespace) as running:
        yield running

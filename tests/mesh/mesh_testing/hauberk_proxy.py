"""Our own proxy as a client of our control plane, in an Envoy's place."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from hauberk.mesh.proxy import Proxy
from mesh_testing.envoy import Envoy, node

PROXY = Path(sys.prefix) / "bin" / "hauberk-proxy"


class HauberkProxy(Envoy):
    """A running proxy and its admin socket."""

    async def live(self) -> bool:
        connector = aiohttp.UnixConnector(path=str(self.admin_socket))
        try:
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://proxy/ready") as response,
            ):
                return response.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def hauberk_proxy(
    proxy: Proxy, xds: Path, folder: Path, *, namespace: str = "", name: str = "hauberk"
) -> AsyncIterator[HauberkProxy]:
    """Start one; `namespace` is a network namespace to run in, where it has the proxy's address."""
    log = folder / f"{name}.log"
    bootstrap = folder / f"{name}.json"
    files = {key: str(folder / f"{name}.{key}") for key in ("admin", "records", "access_log")}
    config = {"node": node(proxy), "xds": str(xds), **files, "drain_seconds": 0}
    command = [str(PROXY), "--bootstrap", str(bootstrap)]
    if namespace:
        config |= {"source_address": proxy.address, "upstream_mark": 2}
        command = ["ip", "netns", "exec", namespace, *command]
    bootstrap.write_text(json.dumps(config))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        yield HauberkProxy(proxy, Path(files["admin"]), log, Path(files["access_log"]))
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()

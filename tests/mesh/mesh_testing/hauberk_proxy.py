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
    proxy: Proxy, xds: Path, folder: Path, *, name: str = "hauberk"
) -> AsyncIterator[HauberkProxy]:
    """Start one."""
    log = folder / f"{name}.log"
    bootstrap = folder / f"{name}.json"
    files = {key: str(folder / f"{name}.{key}") for key in ("admin", "records", "access_log")}
    config = {"node": node(proxy), "xds": str(xds), **files, "drain_seconds": 0}
    bootstrap.write_text(json.dumps(config))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(PROXY), "--bootstrap", str(bootstrap), stdout=output, stderr=output
        )
    try:
        yield HauberkProxy(proxy, Path(files["admin"]), log)
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()

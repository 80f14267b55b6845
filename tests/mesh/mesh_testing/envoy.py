"""A real Envoy as a client of our control plane."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from hauberk.mesh.ads import Discovery
from hauberk.mesh.envoy_bootstrap import EnvoyBootstrap
from hauberk.mesh.proxy import Proxy
from hauberk.mesh.status import ProxyStatus
from mesh_testing.control_plane import eventually

ENVOY = Path(sys.prefix) / "bin" / "envoy"


def node(proxy: Proxy) -> dict[str, object]:
    return {
        "id": proxy.id,
        "cluster": f"{proxy.name}.{proxy.namespace}",
        "metadata": {
            "NAMESPACE": proxy.namespace,
            "NAME": proxy.name,
            "SERVICE_ACCOUNT": proxy.service_account,
            "LABELS": dict(proxy.labels.items),
        },
    }


class Envoy:
    """A running Envoy and its admin socket. `access_log` is where it writes that, its log unless told."""

    def __init__(self, proxy: Proxy, admin: Path, log: Path, access_log: Path | None = None) -> None:
        self.proxy = proxy
        self.admin_socket = admin
        self.log = log
        self._access_log = access_log or log

    def accesses(self) -> list[dict[str, Any]]:
        """What its access log says so far, a JSON object a line."""
        if not self._access_log.exists():
            return []
        lines = self._access_log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    async def admin(self, path: str) -> str:
        connector = aiohttp.UnixConnector(path=str(self.admin_socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://envoy{path}") as response,
        ):
            return await response.text()

    async def synced(self, discovery: Discovery) -> ProxyStatus:
        """Wait until it is live and has acknowledged or refused everything that it was sent."""

        async def settled() -> ProxyStatus | None:
            for status in discovery.statuses():
                if status.proxy == self.proxy.id and len(status.types) >= 2:
                    agreements = {one.agreement for one in status.types}
                    if agreements <= {"SYNCED", "NACK"} and await self.live():
                        return status
            return None

        return await eventually(settled, 30)

    async def live(self) -> bool:
        try:
            return "LIVE" in await self.admin("/ready")
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def envoy(
    proxy: Proxy, xds: Path, folder: Path, *, namespace: str = "", delta: bool = True, name: str = "envoy"
) -> AsyncIterator[Envoy]:
    """Start one; `namespace` is a network namespace to run in."""
    admin = folder / f"{name}.sock"
    bootstrap = folder / f"{name}.json"
    log = folder / f"{name}.log"
    config = EnvoyBootstrap(node=node(proxy), xds=str(xds), admin=str(admin), delta=delta)
    bootstrap.write_text(json.dumps(config.to_json()))
    command = [
        str(ENVOY),
        "-c",
        str(bootstrap),
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "-l",
        "warning",
    ]
    if namespace:
        command = ["ip", "netns", "exec", namespace, *command]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, "--drain-time-s", "1", stdout=output, stderr=output, env={**os.environ}
        )
    try:
        yield Envoy(proxy, admin, log)
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()

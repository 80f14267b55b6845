"""A proxy as a client of our control plane, ours or Envoy: started, asked, waited for, ended."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from hauberk.mesh.ads import Discovery
from hauberk.mesh.proxy import Proxy
from hauberk.mesh.status import ProxyStatus
from mesh_testing.control_plane import eventually


def node(proxy: Proxy) -> dict[str, object]:
    """What the proxy says of itself, in either's bootstrap."""
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


class Running:
    """A running proxy and its admin socket. `access_log` is where it writes that."""

    def __init__(
        self, proxy: Proxy, admin: Path, log: Path, access_log: Path, process: asyncio.subprocess.Process
    ) -> None:
        self.proxy = proxy
        self._admin = admin
        self.log = log
        self._access_log = access_log
        self.process = process

    def accesses(self) -> list[dict[str, Any]]:
        """What its access log says so far, a JSON object a line."""
        if not self._access_log.exists():
            return []
        lines = self._access_log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    async def admin(self, path: str) -> str:
        connector = aiohttp.UnixConnector(path=str(self._admin))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://proxy{path}") as response,
        ):
            return await response.text()

    async def synced(self, discovery: Discovery) -> ProxyStatus:
        """Wait until it is live and has acknowledged or refused everything that it was sent."""

        async def settled() -> ProxyStatus | None:
            for status in discovery.statuses():
                if status.proxy == self.proxy.id and len(status.types) >= 2:
                    agreements = {one.agreement for one in status.types}
                    if agreements <= {"SYNCED", "NACK"} and await self._live():
                        return status
            return None

        return await eventually(settled, 30)

    async def _live(self) -> bool:
        try:
            return "LIVE" in await self.admin("/ready")
        except aiohttp.ClientError:
            return False


class StartProxy(Protocol):
    """Starts the one or the other in a proxy's place; `namespace` is a network namespace to run in."""

    def __call__(
        self,
        proxy: Proxy,
        xds: Path,
        folder: Path,
        *,
        namespace: str = "",
        name: str = "proxy",
        workers: int = 1,
    ) -> AbstractAsyncContextManager[Running]: ...


@asynccontextmanager
async def run(
    command: Sequence[str], proxy: Proxy, admin: Path, log: Path, access_log: Path, namespace: str
) -> AsyncIterator[Running]:
    if namespace:
        command = ["ip", "netns", "exec", namespace, *command]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        yield Running(proxy, admin, log, access_log, process)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()

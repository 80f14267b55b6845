"""Real proxies on the loopback: Envoy, and our own."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from hauberk.binaries import find
from hauberk.mesh.envoy_bootstrap import EnvoyBootstrap

ENVOY = Path(sys.prefix) / "bin" / "envoy"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def envoy(name: str, xds: Path, folder: Path) -> AsyncIterator[Path]:
    """Runs until the block ends; gives the file of its log, with a line of access log for each request."""
    admin = folder / f"{name}.admin"
    bootstrap = EnvoyBootstrap(node=_node(name), xds=str(xds), admin=str(admin))
    file = folder / f"{name}.json"
    file.write_text(json.dumps(bootstrap.to_json()))
    arguments = ["-c", str(file), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]
    async with _running(folder / f"{name}.log", admin, str(ENVOY), *arguments) as log:
        yield log


@asynccontextmanager
async def hauberk_proxy(name: str, xds: Path, folder: Path) -> AsyncIterator[Path]:
    """Runs until the block ends; gives the file of its call records."""
    admin, records = folder / f"{name}.admin", folder / f"{name}.records"
    bootstrap = {
        "node": _node(name),
        "xds": str(xds),
        "admin": str(admin),
        "records": str(records),
        "access_log": str(folder / f"{name}.access"),
        "drain_seconds": 1,
    }
    file = folder / f"{name}.json"
    file.write_text(json.dumps(bootstrap))
    async with _running(folder / f"{name}.log", admin, str(find("hauberk-proxy")), "--bootstrap", str(file)):
        yield records


def _node(name: str) -> dict[str, Any]:
    return {
        "id": f"sidecar~127.0.0.1~{name}.default~default.svc.cluster.local",
        "cluster": name,
        "metadata": {"NAMESPACE": "default", "NAME": name},
    }


@asynccontextmanager
async def _running(log: Path, admin: Path, *command: str) -> AsyncIterator[Path]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        async with asyncio.timeout(60):
            while not await _ready(admin):
                assert process.returncode is None, f"it ended; see {log}"
                await asyncio.sleep(0.05)
        yield log
        assert process.returncode is None, f"it ended; see {log}"
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(admin: Path) -> bool:
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(admin))) as session,
            session.get("http://proxy/ready", timeout=aiohttp.ClientTimeout(total=2)) as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False

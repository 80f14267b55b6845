"""An Envoy as a pod's proxy: its command line starts, and it is drained before it is ended."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hauberk import binaries
from hauberk.node import envoy_driver
from hauberk.node.envoy_driver import EnvoyProxy
from hauberk.node.proxy import is_ready


def bootstrap(run: Path) -> dict[str, Any]:
    return {
        "node": {"id": "sidecar~10.66.0.7~p.ns~ns.svc.cluster.local", "cluster": "p.ns"},
        "xds": str(run / "xds.sock"),
        "admin": str(run / "admin.sock"),
        "source_address": "10.66.0.7",
        "upstream_mark": 2,
    }


@asynccontextmanager
async def admin(run: Path, connections: list[int], statistics: bytes = b"") -> AsyncIterator[list[str]]:
    """Stands for an Envoy's admin interface: says one number of connections after another, the last for ever.

    With `statistics` it says these instead.
    """
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path}")
        if request.path != "/stats":
            return web.Response(text="OK\n")
        if statistics:
            return web.Response(body=statistics)
        count = connections.pop(0) if len(connections) > 1 else connections[0]
        return web.json_response({"stats": [{"name": "server.total_connections", "value": count}]})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(run / "admin.sock")).start()
    try:
        yield asked
    finally:
        await runner.cleanup()


async def test_it_starts_and_drains(tmp_path: Path) -> None:
    driver = EnvoyProxy(binaries.find_envoy())
    driver.prepare(tmp_path, bootstrap(tmp_path))
    with (tmp_path / "proxy.log").open("wb") as log, socket.socket(socket.AF_UNIX) as control_plane:
        control_plane.bind(str(tmp_path / "xds.sock"))
        process = await asyncio.create_subprocess_exec(*driver.command(tmp_path), stdout=log, stderr=log)
        try:
            async with asyncio.timeout(10):
                while not (tmp_path / "admin.sock").exists():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert not await is_ready(tmp_path), "it has no listeners yet"
            began = time.monotonic()
            await driver.drain(tmp_path)
            assert time.monotonic() - began < envoy_driver.DRAIN_SECONDS, (tmp_path / "proxy.log").read_text()
        finally:
            process.kill()
            await process.wait()


async def test_it_may_end_when_its_last_connection_has(tmp_path: Path) -> None:
    async with admin(tmp_path, [2, 1, 0]) as asked:
        await EnvoyProxy(Path("envoy")).drain(tmp_path)
    assert asked == ["POST /drain_listeners", "GET /stats", "GET /stats", "GET /stats"]


async def test_it_is_not_waited_for_longer_than_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy_driver, "DRAIN_SECONDS", 0.3)
    async with admin(tmp_path, [1]) as asked:
        await EnvoyProxy(Path("envoy")).drain(tmp_path)
    assert len(asked) > 2


async def test_one_that_is_gone_needs_no_draining(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await EnvoyProxy(Path("envoy")).drain(tmp_path)
    assert "cannot be drained" in caplog.text


@pytest.mark.parametrize(
    "statistics",
    [
        b"x", b"{}", b"\xff", b'"\xff"', b'{"stats": ["x"]}', b"[" * 60_000, b"1" * 100_000,
        b'{"stats": [{"name": "server.total_connections", "value": "x"}]}',
        b'{"stats": [{"name": "server.total_connections", "value": null}]}',
    ],
)  # fmt: skip
async def test_one_that_answers_nonsense_is_ended_without_draining(
    tmp_path: Path, statistics: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with admin(tmp_path, [1], statistics) as asked:
        await EnvoyProxy(Path("envoy")).drain(tmp_path)
    assert len(asked) == 2
    assert "cannot be drained" in caplog.text

"""While somebody taps, the proxies concerned are asked to record every request; afterwards no more."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from aiohttp import web

from hauberk.chain.record_filter import parse_filter
from hauberk.node import tap as tapping
from hauberk.node.record_store import Query, RecordStore
from hauberk.node.settings import Settings
from hauberk.node.tap import Watched, tap

pytestmark = pytest.mark.timeout(20)


@asynccontextmanager
async def proxy(run: Path) -> AsyncIterator[list[str]]:
    """Stands for a proxy's admin interface: what taps are open."""
    open_taps: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        said = web.StreamResponse()
        await said.prepare(request)
        open_taps.append(request.query["id"])
        try:
            await asyncio.Event().wait()
        finally:
            open_taps.pop()
        return said

    run.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    app = web.Application()
    app.router.add_get("/tap", answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(run / "admin.sock")).start()
    try:
        yield open_taps
    finally:
        await runner.cleanup()


async def until(open_taps: list[str], count: int) -> None:
    async with asyncio.timeout(10):
        while len(open_taps) != count:  # noqa: ASYNC110 - the stand-in tells nobody
            await asyncio.sleep(0.01)


def request(number: int, status: int) -> str:
    return (
        json.dumps({"type": "request", "id": str(number), "status": status, "policy": {"verdict": "allow"}})
        + "\n"
    )


@asynccontextmanager
async def store(folder: Path) -> AsyncIterator[RecordStore]:
    settings = Settings("n", "i", folder / "state", folder / "run", Path(), "", IPv4Network("10.66.0.0/16"))
    async with RecordStore(settings) as opened:
        yield opened


async def test_what_matches_is_told_and_the_proxies_are_left_alone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tapping, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(tapping, "AGAIN_SECONDS", 0.02)
    pods = tmp_path / "run" / "pods"
    async with store(tmp_path) as records, proxy(pods / "a") as first:
        here = [Watched(pods / "a", "bank"), Watched(pods / "gone", "bank")]
        found = tap(records, lambda: here, Query(), (parse_filter("status>=500"),))
        async with contextlib.aclosing(found):
            told = asyncio.ensure_future(anext(found))
            await until(first, 1)
            (pods / "a" / "records.log").write_text(request(1, 200) + request(2, 503))
            records.collect()
            assert (await told).id == "2"
            async with proxy(pods / "b") as second:
                here.append(Watched(pods / "b", "shop"))
                await until(second, 1)
                here.pop()
                await until(second, 0)
            assert first == ["none"], "no line is asked for: they are read from the file"
        await until(first, 0)


async def test_a_proxy_that_comes_back_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tapping, "AGAIN_SECONDS", 0.02)
    pods = tmp_path / "run" / "pods"
    async with store(tmp_path) as records:
        found = tap(records, lambda: [Watched(pods / "a", "bank")], Query(destination="bank/web"), ())
        async with contextlib.aclosing(found):
            told = asyncio.ensure_future(anext(found))
            for _ in range(2):
                async with proxy(pods / "a") as open_taps:
                    await until(open_taps, 1)
            told.cancel()
            await asyncio.gather(told, return_exceptions=True)


async def test_pods_of_other_namespaces_are_left_alone(tmp_path: Path) -> None:
    pods = tmp_path / "run" / "pods"
    async with store(tmp_path) as records, proxy(pods / "a") as asked, proxy(pods / "b") as other:
        here = [Watched(pods / "b", "shop"), Watched(pods / "a", "bank")]
        found = tap(records, lambda: here, Query(source="bank/web"), ())
        async with contextlib.aclosing(found):
            told = asyncio.ensure_future(anext(found))
            await until(asked, 1)
            assert not other
            told.cancel()
            await asyncio.gather(told, return_exceptions=True)

"""One proxy's nonsense costs the node nothing but that pod's metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from hauberk.node import metrics
from hauberk.node.metrics import MetricsHistory

GOOD = b'istio_requests_total{reporter="destination",source_workload="good",response_code="200"} 7\n'
BUCKET = b'istio_request_duration_milliseconds_bucket{source_workload="x"'


@asynccontextmanager
async def proxy(run: Path, body: bytes, **headers: str) -> AsyncIterator[None]:
    """Stands for a proxy's admin interface that says this of its metrics."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    run.mkdir(parents=True)  # noqa: ASYNC240
    app = web.Application()
    app.router.add_get("/stats/prometheus", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(run / "admin.sock")).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'\xff istio_requests_total{a="\xff"} 1', "text/plain"),
        (b'istio_requests_total{a="b"} x', "text/plain"),
        (b'istio_requests_total{a="b"} inf', "text/plain"),
        (b'istio_requests_total{a="b"} nan', "text/plain"),
        (BUCKET + b"} 1", "text/plain"),
        (BUCKET + b',le="x"} 1', "text/plain"),
        (BUCKET + b',le="nan"} 1', "text/plain"),
        (b"x" * (metrics.LONGEST_ANSWER + 1), "text/plain"),
        (b"istio_requests_total{" + b"a" * 1_000_000 + b"} 1", "text/plain"),
        (b"\xff", "text/plain; charset=no-such"),
    ],
)
async def test_what_is_malformed_is_left_out(
    tmp_path: Path, body: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "PERIOD_SECONDS", 0.1)
    history = MetricsHistory(tmp_path / "pods")
    async with (
        proxy(tmp_path / "pods" / "bad", body, **{"Content-Type": kind}),
        proxy(tmp_path / "pods" / "good", GOOD),
    ):
        running = asyncio.create_task(history.run())
        try:
            async with asyncio.timeout(15):
                while not any(each["source"]["workload"] == "good" for each in history.edges(10)):
                    assert not running.done(), running.exception()
                    await asyncio.sleep(0.01)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_link_to_another_socket_is_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxy(tmp_path / "other", GOOD):
        (tmp_path / "pods" / "bad").mkdir(parents=True)
        (tmp_path / "pods" / "bad" / "admin.sock").symlink_to("../../other/admin.sock")
        history = MetricsHistory(tmp_path / "pods")
        running = asyncio.create_task(history.run())
        try:
            async with asyncio.timeout(10):
                while "bad left out" not in caplog.text:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert history.edges(10) == []

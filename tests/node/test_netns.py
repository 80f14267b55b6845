"""A thread that cannot be started is want of something on this machine, as a descriptor is."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hauberk.node import netns, probe


@pytest.fixture
async def no_threads(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    refused: list[str] = []

    def start(thread: threading.Thread) -> None:
        refused.append(thread.name)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    yield refused


@pytest.mark.usefixtures("no_threads")
async def test_a_call_says_that_there_is_no_thread_left() -> None:
    with pytest.raises(OSError) as caught:
        await netns.call(Path("/proc/self/ns/net"), lambda: None)
    assert caught.value.errno == errno.EAGAIN


@pytest.mark.parametrize("kind", ["tcpSocket", "httpGet", "grpc"])
async def test_a_probe_that_could_not_be_made_is_made_again(no_threads: list[str], kind: str) -> None:
    heard: list[bool] = []

    async def execute(_command: list[str]) -> int:
        return 0

    following = asyncio.create_task(
        probe.follow(
            {kind: {"port": 1}, "periodSeconds": 0.01, "failureThreshold": 1}, {"name": "c"},
            Path("/proc/self/ns/net"), "127.0.0.1", execute, lambda well, _reason: heard.append(well),
        )
    )  # fmt: skip
    try:
        async with asyncio.timeout(10):
            while len(no_threads) < 3:
                assert not following.done(), following.exception()
                await asyncio.sleep(0.01)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert heard == [], "which says nothing of the program"

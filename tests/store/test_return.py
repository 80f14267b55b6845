"""A control plane that was away for minutes comes back to many watchers, who do not all come at once."""

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from hauberk.model.kind import Kind
from hauberk.model.kinds import POD
from hauberk.store.client import ApiError, Event, ObjectList
from hauberk.store.informer import MOST_WAIT, Informer

WATCHERS = 60
AWAY = 240.0
T = TypeVar("T")


class InstantSelector(selectors.SelectSelector):
    """Never waits: what would have been waited for has passed."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.passed += timeout or 0.0
        return super().select(0)


class InstantLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._instant = InstantSelector()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.passed


class Server:
    """Away from second 10 until second 10 + `AWAY`; notes when it is asked for a watch."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self.asked: list[float] = []
        self.watching = 0

    @property
    def is_away(self) -> bool:
        return 10.0 <= self._time() < 10.0 + AWAY

    async def list(self, kind: Kind, namespace: str | None = None, **_: Any) -> ObjectList:
        return ObjectList([], "1")

    async def watch(self, kind: Kind, namespace: str | None = None, **_: Any) -> AsyncIterator[Event]:
        self.asked.append(self._time())
        if self.is_away:
            raise ApiError(503, "ServiceUnavailable", "away")
        self.watching += 1
        try:
            while not self.is_away:
                await asyncio.sleep(0.1)
                if self._time() > 10.0 + AWAY + 2 * MOST_WAIT:
                    await asyncio.Event().wait()
            raise ApiError(503, "ServiceUnavailable", "gone away")
        finally:
            self.watching -= 1
        yield Event("BOOKMARK", {})


def instantly(main: Callable[[InstantLoop], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, InstantLoop)
        return runner.run(main(loop))


def test_watchers_return_spread_over_seconds_and_all_of_them() -> None:
    async def main(loop: InstantLoop) -> list[float]:
        server = Server(loop.time)
        tasks = [asyncio.create_task(Informer(server, POD).run()) for _ in range(WATCHERS)]  # type: ignore[arg-type]
        await asyncio.sleep(10.0 + AWAY + MOST_WAIT)
        assert server.watching == WATCHERS, "within the longest wait all are back"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return server.asked

    asked = instantly(main)
    back = sorted(moment for moment in asked if moment >= 10.0 + AWAY)
    assert len(back) == WATCHERS, "nobody asks twice"
    busiest = max(sum(start <= moment < start + 1.0 for moment in back) for start in back)
    # Measured: 12 to 16 of 60 within the busiest second.
    assert busiest <= WATCHERS // 2, busiest
    away = [moment for moment in asked if 20.0 <= moment < 10.0 + AWAY]
    assert len(away) / (AWAY - 10.0) <= WATCHERS / (MOST_WAIT / 2), "each asks no more often than every 5 s"

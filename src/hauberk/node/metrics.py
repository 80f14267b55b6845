"""The proxies' metrics over the last minutes, for rates."""

import asyncio
import logging
import time
from collections import deque
from pathlib import Path
from typing import Any

import aiohttp

from hauberk.node.edges import Sample, edges, parse

log = logging.getLogger(__name__)
PERIOD_SECONDS = 2.0
KEPT = 150


class MetricsHistory:
    """Asks every proxy of the node every two seconds; what is kept spans five minutes."""

    def __init__(self, pods: Path) -> None:
        self._pods = pods
        self._moments: deque[tuple[float, dict[Sample, float]]] = deque(maxlen=KEPT)

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            samples: dict[Sample, float] = {}
            try:
                sockets = list(self._pods.glob("*/admin.sock"))
            except OSError as error:
                log.warning("metrics: %s; trying again", error)
                sockets = []
            for found in await asyncio.gather(*map(_scrape, sockets)):
                for sample, value in found.items():
                    # Several pods of one workload count into the same edge.
                    samples[sample] = samples.get(sample, 0.0) + value
            self._moments.append((began, samples))
            await asyncio.sleep(max(0.1, PERIOD_SECONDS - (time.monotonic() - began)))

    def edges(self, seconds: int) -> list[dict[str, Any]]:
        """Edges over the last `seconds`, or as long as is known."""
        if not self._moments:
            return []
        last, after = self._moments[-1]
        first, before = next(
            ((at, samples) for at, samples in self._moments if last - at <= seconds), self._moments[0]
        )
        return edges(before, after, max(last - first, PERIOD_SECONDS))


async def _scrape(admin: Path) -> dict[Sample, float]:
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(admin))) as session,
            session.get("http://proxy/stats/prometheus", timeout=aiohttp.ClientTimeout(total=1)) as answer,
        ):
            return parse(await answer.text())
    except (OSError, aiohttp.ClientError, TimeoutError) as error:
        log.debug("%s: %s", admin, error)
        return {}

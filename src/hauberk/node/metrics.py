"""The proxies' metrics over the last minutes, for rates."""

import asyncio
import logging
import time
from collections import deque
from pathlib import Path
from typing import Any

import aiohttp

from hauberk.node import proxy_admin
from hauberk.node.edges import Sample, edges, parse
from hauberk.node.proxy_folder import NotTheProxysError

log = logging.getLogger(__name__)
PERIOD_SECONDS = 2.0
KEPT = 150
LONGEST_ANSWER = 2 * 1024 * 1024


class MetricsHistory:
    """Asks every proxy of the node every two seconds; what is kept spans five minutes."""

    def __init__(self, pods: Path) -> None:
        self._pods = pods
        self._told: dict[Path, str] = {}
        self._moments: deque[tuple[float, dict[Sample, float]]] = deque(maxlen=KEPT)

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            samples: dict[Sample, float] = {}
            try:
                folders = [file.parent for file in self._pods.glob("*/admin.sock")]
            except OSError as error:
                log.warning("metrics: %s; trying again", error)
                folders = []
            self._told = {folder: problem for folder, problem in self._told.items() if folder in folders}
            for found in await asyncio.gather(*map(self._scrape, folders)):
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

    async def _scrape(self, run: Path) -> dict[Sample, float]:
        """What one proxy counts; nothing of one that does not answer, or not as it should."""
        try:
            async with (
                proxy_admin.session(run, aiohttp.ClientTimeout(total=1)) as admin,
                admin.get(f"{proxy_admin.URL}/stats/prometheus") as answer,
            ):
                said = await proxy_admin.body(answer, LONGEST_ANSWER)
            found = parse(said.decode(errors="replace"))
        except (NotTheProxysError, ValueError) as error:
            self._tell(run, str(error))
            return {}
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            log.debug("%s: %s", run, error)
            return {}
        self._told.pop(run, None)
        return found

    def _tell(self, run: Path, problem: str) -> None:
        """Once, for it is asked every two seconds."""
        if self._told.get(run) != problem:
            log.warning("metrics of pod %s left out: %s", run.name, problem)
        self._told[run] = problem

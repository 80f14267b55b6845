"""Calls as they come: while somebody watches, the proxies of the pods concerned keep a record of every request."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from hauberk.chain.record_filter import Filter
from hauberk.node import proxy_admin
from hauberk.node.record_store import Query, RecordStore, Stored

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.5
"""How often it is looked for new pods."""
AGAIN_SECONDS = 1.0
"""Until a proxy that has ended, or does not answer, is asked again."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A pod whose proxy can be asked for more."""

    run: Path
    namespace: str


async def tap(
    records: RecordStore, pods: Callable[[], Iterable[Watched]], query: Query, filters: tuple[Filter, ...]
) -> AsyncGenerator[Stored]:
    """Records that match, until the one who asks has had enough."""
    watching = asyncio.create_task(_watch(pods, query))
    try:
        async with records.follow() as queue:
            while True:
                record = await queue.get()
                if query.matches(record) and _hold(filters, record.body):
                    yield record
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _hold(filters: tuple[Filter, ...], body: str) -> bool:
    if not filters:
        return True
    fields = msgspec.json.decode(body)
    return all(each.matches(fields) for each in filters)


async def _watch(pods: Callable[[], Iterable[Watched]], query: Query) -> None:
    # By namespace, since a name may be that of a pod, a workload, a service or an account.
    wanted = {name.partition("/")[0] for name in (query.source, query.destination) if name}
    async with asyncio.TaskGroup() as group:
        asking: dict[Path, asyncio.Task[None]] = {}
        while True:
            here = {pod.run for pod in pods() if not wanted or pod.namespace in wanted}
            for run in asking.keys() - here:
                asking.pop(run).cancel()
            for run in here - asking.keys():
                asking[run] = group.create_task(_ask(run))
            await asyncio.sleep(LOOK_SECONDS)


async def _ask(run: Path) -> None:
    """Keeps a tap open that wants no line: what the proxy records is read from its file as always."""
    while True:
        try:
            async with (
                proxy_admin.session(run, aiohttp.ClientTimeout(total=None, sock_connect=5)) as admin,
                admin.get(f"{proxy_admin.URL}/tap", params={"id": "none"}) as answer,
            ):
                async for _ in answer.content.iter_any():
                    pass
        except (OSError, aiohttp.ClientError) as error:
            log.debug("tap of %s: %s", run, error)
        await asyncio.sleep(AGAIN_SECONDS)

"""The node's own pages (records, tap, edges, proxies), reached through the control plane under its authorization."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from hauberk.chain.record import Connection, Record, Request, parse_record
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.model import kinds
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient

MOST_WAITING = 1_000
"""Records of a tap that wait to be shown; then the nodes wait."""


async def node_names(client: HttpClient) -> list[str]:
    """Every node of the control plane.

    Raises:
        CommandError: there is none.
    """
    nodes = await client.list(kinds.NODE)
    if not nodes.items:
        raise CommandError(
            "no node: expected at least one, found none", "is hauberk-node running? `hauberk status`",
            ExitCode.UNREACHABLE,
        )  # fmt: skip
    return [node["metadata"]["name"] for node in nodes.items]


Parameters = Mapping[str, str | int | tuple[str, ...]]
"""Of a page: a tuple is a parameter given several times."""


def node_path(node: str, page: str, query: Parameters | None = None) -> str:
    """The path of a node's page through the control plane; empty parameters are left out."""
    given = {name: value for name, value in (query or {}).items() if value not in ("", 0, ())}
    asked = f"?{urlencode(given, doseq=True)}" if given else ""
    return f"/api/v1/nodes/{quote(node)}/proxy/hauberk/v1/{page}{asked}"


async def records(client: HttpClient, **query: str | int) -> list[Record]:
    """Call records of all nodes, newest first."""
    found: list[Record] = []
    for node in await node_names(client):
        page = await client.raw("GET", node_path(node, "records", query))
        found.extend(parse_record(each) for each in page)
    found.sort(key=lambda record: record.time, reverse=True)
    return found


async def connection_of(client: HttpClient, request: Request) -> Connection | None:
    """The connection that a request came over, if its record is still kept."""
    for record in await records(client, id=request.connection, type="connection", limit=1):
        if isinstance(record, Connection):
            return record
    return None


async def edges(client: HttpClient, seconds: int) -> list[dict[str, Any]]:
    """Who calls whom, over the last `seconds`, from all nodes."""
    found: list[dict[str, Any]] = []
    for node in await node_names(client):
        found.extend(await client.raw("GET", node_path(node, "edges", {"seconds": seconds})))
    return found


async def svid_chain(client: HttpClient, serial: str) -> bytes | None:
    """The PEM chain of an SVID by its serial, if a node issued it and still keeps it."""
    for node in await node_names(client):
        try:
            answer = await client.raw("GET", node_path(node, f"svids/{serial}"))
        except ApiError as error:
            if error.code == 404:
                continue
            raise
        return answer if isinstance(answer, bytes) else str(answer).encode()
    return None


async def tap(client: HttpClient, query: Parameters) -> AsyncIterator[Record]:
    """Records of all nodes as they come."""
    found: asyncio.Queue[Record] = asyncio.Queue(MOST_WAITING)

    async def follow(node: str) -> None:
        async for line in client.stream(node_path(node, "tap", query)):
            await found.put(parse_record(line))

    following = [asyncio.create_task(follow(node)) for node in await node_names(client)]
    try:
        while True:
            taking = asyncio.create_task(found.get())
            done, _ = await asyncio.wait({taking, *following}, return_when=asyncio.FIRST_COMPLETED)
            if taking in done:
                yield taking.result()
                continue
            taking.cancel()
            for ended in done:
                ended.result()
            return
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)

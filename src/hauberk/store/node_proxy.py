"""Logs, exec, attach, port-forward and the node's own API, carried to the node that runs the pod."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp import WSMsgType, web

from hauberk.model.kind import Kind, Object
from hauberk.store import status
from hauberk.store.client import ApiError
from hauberk.store.database import Key
from hauberk.store.objects import Objects
from hauberk.store.request_info import RequestInfo

CONNECT_SECONDS = 10
MESSAGE_BYTES = 16 * 1024 * 1024
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "host"}
)
CREDENTIALS = frozenset({"authorization", "cookie"})
"""Meant for this server, never passed on."""


class NodeProxy(Protocol):
    """Serves the requests that only a node can answer."""

    async def serve(self, request: web.Request, info: RequestInfo, kind: Kind) -> web.StreamResponse:
        """Raises `ApiError` 400, 404 or 503."""
        ...


@dataclass(frozen=True, slots=True)
class HttpNodeProxy:
    """To the node's HTTPS address from `Node.status`, under this server's client certificate."""

    objects: Objects
    nodes: Kind
    tls: ssl.SSLContext
    """Verifies the node's serving certificate and holds the client certificate."""

    async def serve(self, request: web.Request, info: RequestInfo, kind: Kind) -> web.StreamResponse:
        node, path = self._target(info, kind, request.query.get("container", ""))
        url = f"{node_address(node)}{path}"
        query = [(key, value) for key, value in request.query.items() if key != "container"]
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._relay_websocket(request, url, query)
        if request.headers.get("Upgrade"):
            raise status.bad_request(
                f"expected an upgrade to websocket, found {request.headers['Upgrade']!r}; use kubectl 1.31 or later"
            )
        return await self._relay(request, url, query)

    def _target(self, info: RequestInfo, kind: Kind, container: str) -> tuple[Object, str]:
        if kind.plural == "nodes":
            return self.objects.get(kind, "", info.name).object, f"/{info.rest}"
        pod = self.objects.get(kind, info.namespace, info.name).object
        spec = pod.get("spec") or {}
        name = spec.get("nodeName")
        if not name:
            raise status.bad_request(f"pod {info.name} does not have a host assigned")
        stored = self.objects.storage.get(Key("nodes", "", str(name)))
        if stored is None:
            raise status.not_found(self.nodes, str(name))
        if info.subresource == "portforward":
            return stored.object, f"/portForward/{info.namespace}/{info.name}"
        verb = {"log": "containerLogs"}.get(info.subresource, info.subresource)
        return stored.object, f"/{verb}/{info.namespace}/{info.name}/{_container(pod, container)}"

    async def _relay(
        self, request: web.Request, url: str, query: list[tuple[str, str]]
    ) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP | CREDENTIALS}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        body = await request.read() if request.can_read_body else None
        try:
            async with (
                self._session(timeout) as session,
                session.request(request.method, url, params=query, headers=headers, data=body) as answer,
            ):
                kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
                found = web.StreamResponse(status=answer.status, headers=kept)
                await found.prepare(request)
                async for chunk in answer.content.iter_any():
                    await found.write(chunk)
                await found.write_eof()
                return found
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(url, error) from error

    async def _relay_websocket(
        self, request: web.Request, url: str, query: list[tuple[str, str]]
    ) -> web.StreamResponse:
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [part.strip() for part in offered.split(",") if part.strip()]
        protocols = [p for p in protocols if not p.startswith("base64url.bearer.authorization.k8s.io.")]
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        try:
            async with (
                self._session(timeout) as session,
                session.ws_connect(
                    url, params=query, protocols=protocols, max_msg_size=MESSAGE_BYTES
                ) as inner,
            ):
                outer = web.WebSocketResponse(
                    protocols=[inner.protocol] if inner.protocol else [], max_msg_size=MESSAGE_BYTES
                )
                await outer.prepare(request)
                await _join(outer, inner)
                return outer
        except aiohttp.WSServerHandshakeError as error:
            raise ApiError(error.status, "BadRequest", f"the node refused: {error.message}") from error
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(url, error) from error

    def _session(self, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.tls), timeout=timeout, auto_decompress=False
        )


async def _join(outer: web.WebSocketResponse, inner: aiohttp.ClientWebSocketResponse) -> None:
    """Carry messages both ways until either side closes; backpressure is each side's own."""

    async def carry(
        source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
        sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    ) -> None:
        async for message in source:
            if message.type is WSMsgType.BINARY:
                await sink.send_bytes(message.data)
            elif message.type is WSMsgType.TEXT:
                await sink.send_str(message.data)
        await sink.close()

    tasks = [asyncio.ensure_future(carry(outer, inner)), asyncio.ensure_future(carry(inner, outer))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def node_address(node: Object) -> str:
    """`https://ADDRESS:PORT` of the node's own API. Raises `ApiError` 503 if the node does not say it."""
    state = node.get("status") or {}
    port = ((state.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    address = next(
        (a["address"] for a in state.get("addresses") or () if a.get("type") == "InternalIP"), None
    )
    if not port or not address:
        raise status.unavailable(
            f"node {node['metadata']['name']} does not say in its status where it listens; is its agent running?"
        )
    return f"https://{address}:{port}"


def _container(pod: Object, asked: str) -> str:
    spec = pod.get("spec") or {}
    names = [c["name"] for field in ("containers", "initContainers") for c in spec.get(field) or ()]
    name = pod["metadata"]["name"]
    if asked:
        if asked not in names:
            raise status.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(spec.get("containers") or ()) != 1:
        raise status.bad_request(f"a container name must be specified for pod {name}, choose one of: {names}")
    return str(spec["containers"][0]["name"])


def _unreachable(url: str, error: Exception) -> ApiError:
    return status.unavailable(f"the node cannot be reached at {url}: {error}")

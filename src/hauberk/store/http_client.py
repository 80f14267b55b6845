"""`Client` over HTTPS: for any Kubernetes API server, ours or a cluster's."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

import aiohttp
import msgspec

from hauberk.model.kind import Kind, Object
from hauberk.store import status
from hauberk.store.client import ApiError, Event, ObjectList, PatchType
from hauberk.store.kubeconfig import Connection, read_kubeconfig

PATCH_MEDIA = {
    "merge": "application/merge-patch+json",
    "strategic-merge": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
REQUEST_SECONDS = 30
SILENCE_SECONDS = 90
"""A watch asks for bookmarks; when not even these come, the connection is dead."""
WATCH_SECONDS = 600
EVENT_BYTES = 8 * 1024 * 1024


class HttpClient:
    """Use it as an async context manager, or `close` it.

    A server that cannot be reached is an `ApiError` 503 with reason `ServiceUnavailable`.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_kubeconfig(cls, path: Path) -> "HttpClient":
        """Raises `KubeconfigError`."""
        return cls(read_kubeconfig(path))

    async def __aenter__(self) -> "HttpClient":
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        return await self._object("GET", path(kind, namespace, name))

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ObjectList:
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": str(limit or ""),
            "continue": continue_token,
        }
        found = await self._request("GET", path(kind, namespace), query)
        for item in found["items"]:
            # Lists leave out what all their items are.
            item.setdefault("apiVersion", kind.api_version)
            item.setdefault("kind", kind.name)
        metadata = found["metadata"]
        return ObjectList(found["items"], metadata["resourceVersion"], metadata.get("continue", ""))

    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Event]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=SILENCE_SECONDS)
        try:
            async with self._open().get(
                self._url(path(kind, namespace)), params=_given(query), timeout=timeout
            ) as answer:
                if answer.status != 200:
                    raise status.from_status(answer.status, _decoded(await answer.read()))
                async for line in _lines(answer.content.iter_any()):
                    event = msgspec.json.decode(line)
                    if event["type"] == "ERROR":
                        raise status.from_status(500, event["object"])
                    yield Event(event["type"], event["object"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(self.connection.server, error) from error

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        namespace = obj.get("metadata", {}).get("namespace")
        return await self._object(
            "POST", path(kind, namespace), {"dryRun": "All" if dry_run else ""}, body=obj
        )

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        metadata = obj["metadata"]
        where = path(kind, metadata.get("namespace"), metadata["name"], subresource)
        return await self._object("PUT", where, body=obj)

    async def patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        patch: Any,
        *,
        patch_type: PatchType = "merge",
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        where = path(kind, namespace, name, subresource)
        query = {"dryRun": "All" if dry_run else ""}
        return await self._object("PATCH", where, query, body=patch, media=PATCH_MEDIA[patch_type])

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        uid: str = "",
        grace_period_seconds: int | None = None,
    ) -> None:
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        await self._request("DELETE", path(kind, namespace, name), body=options)

    async def post(
        self, kind: Kind, namespace: str | None, name: str, subresource: str, obj: Object
    ) -> Object:
        """Create at a subresource: `token`, `binding`, `eviction`."""
        return await self._object("POST", path(kind, namespace, name, subresource), body=obj)

    async def raw(
        self,
        method: str,
        where: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        accept: str = "",
    ) -> Any:
        """Any path of the API: `/version`, `/apis`, …; JSON is decoded, other text comes as it is."""
        return await self._request(method, where, query, body=body, accept=accept)

    async def stream(self, where: str) -> AsyncIterator[bytes]:
        """The lines, without empty ones, of an answer that goes on for as long as the server has something to say.

        Raises:
            ApiError: the server refused, cannot be reached or broke off.
        """
        async for line in _lines(self.chunks(where)):
            yield line

    async def chunks(self, where: str) -> AsyncIterator[bytes]:
        """The bytes of such an answer, as they come. Raises as `stream` does."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS)
        try:
            async with self._open().get(self._url(where), timeout=timeout) as answer:
                if answer.status != 200:
                    raise status.from_status(answer.status, _decoded(await answer.read()))
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(self.connection.server, error) from error

    @asynccontextmanager
    async def websocket(
        self, where: str, protocol: str, *, most_bytes: int = 16 * 1024 * 1024
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket that speaks `protocol`, closed afterwards.

        Raises:
            ApiError: the server refused, or cannot be reached.
        """
        timeout = aiohttp.ClientWSTimeout(ws_close=5.0)
        try:
            async with self._open().ws_connect(
                self._url(where), protocols=(protocol,), max_msg_size=most_bytes, timeout=timeout
            ) as opened:
                yield opened
        except aiohttp.WSServerHandshakeError as error:
            raise ApiError(error.status, "BadRequest", f"{where}: refused: {error.message}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(self.connection.server, error) from error

    async def _object(self, *arguments: Any, **named: Any) -> Object:
        found: Object = await self._request(*arguments, **named)
        return found

    async def _request(
        self,
        method: str,
        where: str,
        query: dict[str, str] | None = None,
        *,
        body: Any = None,
        media: str = "application/json",
        accept: str = "",
    ) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Accept": accept} if accept else {}
        if data is not None:
            headers["Content-Type"] = media
        try:
            async with self._open().request(
                method,
                self._url(where),
                params=_given(query or {}),
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            ) as answer:
                content = await answer.read()
                if answer.status >= 400:
                    raise status.from_status(answer.status, _decoded(content))
                return _decoded(content)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(self.connection.server, error) from error

    def _url(self, where: str) -> str:
        return self.connection.server + where

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Accept": "application/json", "User-Agent": "hauberk"}
            if self.connection.token:
                headers["Authorization"] = f"Bearer {self.connection.token}"
            secure = self.connection.server.startswith("https:")
            connector = aiohttp.TCPConnector(ssl=self.connection.ssl_context() if secure else False, limit=0)
            self._session = aiohttp.ClientSession(connector=connector, headers=headers)
        return self._session


def path(kind: Kind, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
    """The path of an object, or of a collection, in the REST API."""
    parts = ["/apis", kind.group, kind.version] if kind.group else ["/api", kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.plural)
    parts += [quote(part, safe="") for part in (name, subresource) if part]
    return "/".join(parts)


async def _lines(content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    pending = b""
    async for chunk in content:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
        if len(pending) > EVENT_BYTES:
            raise ApiError(500, "InternalError", f"expected a watch event of at most {EVENT_BYTES} bytes")


def _given(query: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in query.items() if value}


def _decoded(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content) if content else None
    except msgspec.DecodeError:
        return content.decode(errors="replace")


def _unreachable(server: str, error: Exception) -> ApiError:
    return status.unavailable(f"the API server {server} cannot be reached: {error or type(error).__name__}")

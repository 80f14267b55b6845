"""The verbs of the REST API on resources: from a call to an `Objects` verb, and back to an answer."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiohttp import web

from hauberk.model.kind import Kind, Object
from hauberk.store import discovery, status
from hauberk.store.answers import (
    METADATA_ALONE,
    event_encoder,
    json_answer,
    list_answer,
    object_answer,
    scale_answer,
)
from hauberk.store.call import Call, delete_options, selection_of, whole_number
from hauberk.store.client import ApiError
from hauberk.store.node_proxy import NodeProxy
from hauberk.store.objects import Admission, Objects, Page
from hauberk.store.options import DeleteOptions
from hauberk.store.request_info import RequestInfo
from hauberk.store.reviews import Reviews
from hauberk.store.scale import scale_of
from hauberk.store.service_account_tokens import TokenIssuer
from hauberk.store.storage import Stored
from hauberk.store.subresources import bind_pod, evict_pod, patched_scale, request_token, update_scale
from hauberk.store.user import User
from hauberk.store.watching import WatchRequest, encode_bookmark, stream

PATCH_KINDS: Mapping[str, Any] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic-merge",
}
MOST_WATCHES = 1_000
"""Open at a time for one user: as many as a busy controller needs ten times over, and a fraction of the descriptors."""
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}

AdmissionRule = Callable[[User, RequestInfo, Kind, Object, Object | None], None]
"""What one who may write may not write: called with the new object, which it may complete, and the old one.

Raises `ApiError`.
"""


class Resources:
    """Serves calls of resources."""

    def __init__(
        self, objects: Objects, reviews: Reviews, issuer: TokenIssuer, rules: tuple[AdmissionRule, ...]
    ) -> None:
        self.node_proxy: NodeProxy | None = None
        """Serves logs, exec and the like; without one they are answered 503."""
        self._objects = objects
        self._storage = objects.storage
        self._reviews = reviews
        self._issuer = issuer
        self._rules = rules
        self._watches: Counter[str] = Counter()

    async def answer(self, call: Call) -> web.StreamResponse:
        """Raises `ApiError`."""
        info = call.info
        kind = self._objects.registry.find(info.group, info.version, info.resource)
        if kind is None:
            raise status.no_such_path()
        if info.namespace and not kind.namespaced and info.resource != "namespaces":
            raise status.no_such_path()
        if not info.name and info.verb in {"update", "patch"}:
            raise status.method_not_allowed()
        if kind.namespaced and info.name and not info.namespace and info.verb not in {"list", "watch"}:
            raise status.no_such_path()
        if info.resource in discovery.REVIEWS:
            return await self._review(call, kind)
        if info.subresource:
            return await self._subresource(call, kind)
        return await self._resource(call, kind)

    async def _resource(self, call: Call, kind: Kind) -> web.StreamResponse:
        info = call.info
        namespace = info.namespace if kind.namespaced else ""
        match info.verb:
            case "get":
                return object_answer(call, kind, self._objects.get(kind, namespace, info.name))
            case "list":
                return list_answer(call, kind, self._page(call, kind))
            case "watch":
                return await self._watch(call, kind)
            case "create" if not info.name and (namespace or not kind.namespaced):
                made = await self._objects.create(
                    kind, namespace, await call.object(), call.options, self._admission(call)
                )
                return object_answer(call, kind, made, code=201)
            case "update":
                updated = await self._objects.update(
                    kind,
                    namespace,
                    info.name,
                    await call.object(),
                    call.options,
                    admission=self._admission(call),
                )
                return object_answer(call, kind, updated)
            case "patch":
                return await self._patch(call, kind, namespace, "")
            case "delete":
                return await self._delete(call, kind, namespace)
            case "deletecollection":
                return await self._delete_collection(call, kind)
        raise status.method_not_allowed()

    async def _subresource(self, call: Call, kind: Kind) -> web.StreamResponse:
        info = call.info
        if info.subresource not in discovery.subresources(kind):
            raise status.no_such_path()
        namespace = info.namespace if kind.namespaced else ""
        match info.subresource, info.verb:
            case "scale", _:
                return await self._scale(call, kind)
            case "binding" | "eviction" | "token", "create":
                return await self._posted(call, kind)
            case "log" | "exec" | "attach" | "portforward" | "proxy", _:
                if self.node_proxy is None:
                    raise status.unavailable("this server has no way to its nodes")
                return await self.node_proxy.serve(call.http, info, kind)
            case "status" | "approval" | "finalize", "get":
                return object_answer(call, kind, self._objects.get(kind, namespace, info.name))
            case "status" | "approval" | "finalize", "update":
                updated = await self._objects.update(
                    kind,
                    namespace,
                    info.name,
                    await call.object(),
                    call.options,
                    subresource=info.subresource,
                    admission=self._admission(call),
                )
                return object_answer(call, kind, updated)
            case "status" | "approval", "patch":
                return await self._patch(call, kind, namespace, info.subresource)
        raise status.method_not_allowed()

    def _admission(self, call: Call) -> Admission:
        def admit(kind: Kind, new: Object, old: Object | None) -> None:
            for rule in self._rules:
                rule(call.user, call.info, kind, new, old)

        return admit

    async def _review(self, call: Call, kind: Kind) -> web.Response:
        if call.info.verb != "create":
            raise status.method_not_allowed()
        return json_answer(
            self._reviews.answer(kind, call.info.namespace, await call.object(), call.user), code=201
        )

    async def _scale(self, call: Call, kind: Kind) -> web.Response:
        key = call.key
        match call.info.verb:
            case "get":
                stored = self._objects.get(kind, key.namespace, key.name)
                return scale_answer(call, scale_of(stored.object))
            case "update":
                body = await call.object()
                scale = await update_scale(
                    self._objects, kind, key, lambda _: body, call.options, self._admission(call)
                )
                return scale_answer(call, scale)
            case "patch":
                change = patched_scale(_patch_kind(call), await call.body())
                scale = await update_scale(
                    self._objects, kind, key, change, call.options, self._admission(call)
                )
                return scale_answer(call, scale)
        raise status.method_not_allowed()

    async def _posted(self, call: Call, kind: Kind) -> web.Response:
        body = await call.object()
        match call.info.subresource:
            case "binding":
                answer = await bind_pod(self._objects, kind, call.key, body, call.options)
            case "eviction":
                answer = await evict_pod(self._objects, kind, call.key, body, call.options)
            case _:
                account = self._objects.get(kind, call.info.namespace, call.info.name)
                answer = request_token(self._objects, self._issuer, account, body, call.user)
        return json_answer(answer, code=201)

    async def _patch(self, call: Call, kind: Kind, namespace: str, subresource: str) -> web.Response:
        patch_kind = _patch_kind(call)
        if patch_kind == "strategic-merge" and self._objects.registry.is_custom(kind):
            raise status.unsupported_media_type(status.PATCH_TYPES)
        patched = await self._objects.patch(
            kind,
            namespace,
            call.info.name,
            await call.body(),
            patch_kind,
            call.options,
            subresource=subresource,
            admission=self._admission(call),
        )
        return object_answer(call, kind, patched)

    async def _delete(self, call: Call, kind: Kind, namespace: str) -> web.Response:
        options = await delete_options(call)
        stored, gone = await self._objects.delete(kind, namespace, call.info.name, options)
        if not gone or (kind.group, kind.plural) == ("", "pods"):
            return object_answer(call, kind, stored)
        details = {"name": stored.key.name, "kind": kind.plural, "uid": stored.object["metadata"]["uid"]}
        if kind.group:
            details["group"] = kind.group
        return json_answer(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    async def _delete_collection(self, call: Call, kind: Kind) -> web.Response:
        options = await delete_options(call)
        page = self._objects.page(kind, _listed_namespace(call, kind), selection_of(call, kind))
        deleted = []
        for stored in page.items:
            if last := await self._delete_if_there(kind, stored, options):
                deleted.append(last)
        return list_answer(call, kind, Page(deleted, self._storage.revision))

    async def _delete_if_there(self, kind: Kind, stored: Stored, options: DeleteOptions) -> Stored | None:
        """None if somebody else was faster."""
        try:
            return (await self._objects.delete(kind, stored.key.namespace, stored.key.name, options))[0]
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    @contextlib.contextmanager
    def _one_of_many(self, user: User) -> Iterator[None]:
        """Hold a place among the watches of `user`. Raises `ApiError` 429 if there is none left."""
        if self._watches[user.name] >= MOST_WATCHES:
            raise status.too_many_requests(
                f'user "{user.name}" has {MOST_WATCHES} watches open; close some, or try again'
            )
        self._watches[user.name] += 1
        try:
            yield
        finally:
            self._watches[user.name] -= 1
            if not self._watches[user.name]:
                del self._watches[user.name]

    def _page(self, call: Call, kind: Kind) -> Page:
        query = call.query
        exact = query.get("resourceVersionMatch") == "Exact"
        return self._objects.page(
            kind,
            _listed_namespace(call, kind),
            selection_of(call, kind),
            limit=whole_number(query, "limit"),
            continue_token=query.get("continue", ""),
            revision=whole_number(query, "resourceVersion") if exact else 0,
        )

    async def _watch(self, call: Call, kind: Kind) -> web.StreamResponse:
        query = call.query
        selection = selection_of(call, kind)
        namespace = _listed_namespace(call, kind)
        version = query.get("resourceVersion", "")
        initial_events = query.get("sendInitialEvents") == "true"
        bookmarks = query.get("allowWatchBookmarks") in {"true", "1"}
        if initial_events and (query.get("resourceVersionMatch") != "NotOlderThan" or not bookmarks):
            raise status.bad_request(
                "sendInitialEvents requires resourceVersionMatch=NotOlderThan and allowWatchBookmarks=true"
            )
        asked = whole_number(query, "resourceVersion")
        # Without a version a watch begins with what there is, as an added object each.
        from_now = version in {"", "0"} or initial_events
        revision = self._storage.revision if from_now else asked
        encode = event_encoder(call, kind)
        request = WatchRequest(
            kind,
            selection,
            bookmarks,
            whole_number(query, "timeoutSeconds"),
            call.form.version if call.form.as_kind in METADATA_ALONE else "",
        )
        with self._one_of_many(call.user), self._objects.watch(kind, namespace, revision) as watcher:
            wanted = from_now and query.get("sendInitialEvents") != "false"
            initial = self._objects.page(kind, namespace, selection).items if wanted else []
            answer = web.StreamResponse(headers={"Content-Type": "application/json"})
            answer.enable_chunked_encoding()
            await answer.prepare(call.http)
            with contextlib.suppress(ConnectionResetError):
                for stored in initial:
                    await answer.write(encode("ADDED", stored))
                if initial_events:
                    await answer.write(encode_bookmark(request, revision, INITIAL_EVENTS_END))
                async for chunk in stream(watcher, request, encode, lambda: self._storage.revision):
                    await answer.write(chunk)
            return answer


def _listed_namespace(call: Call, kind: Kind) -> str | None:
    """None for all of them."""
    return call.info.namespace or None if kind.namespaced else None


def _patch_kind(call: Call) -> Any:
    found = PATCH_KINDS.get(call.media_type)
    if found is None:
        raise status.unsupported_media_type(status.PATCH_TYPES)
    return found

"""The Kubernetes REST API over HTTPS: from a request to an `Objects` verb, and back to an answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec
import yaml
from aiohttp import web

from hauberk.model.kind import Kind, Object
from hauberk.store import discovery, node_authorization, openapi, openapi_protobuf, reviews, status
from hauberk.store.authentication import Authentication, TokenVerifier
from hauberk.store.authorization import RoleAuthorizer
from hauberk.store.bodies import Form, accepted_form, parse_body, parse_object
from hauberk.store.client import ApiError
from hauberk.store.custom_resources import follow_definitions
from hauberk.store.database import Database, Key
from hauberk.store.encryption import Sealer
from hauberk.store.garbage import GarbageCollector
from hauberk.store.namespaces import NamespaceLifecycle
from hauberk.store.node_authorization import NodeAuthorizer
from hauberk.store.node_proxy import NodeProxy
from hauberk.store.objects import Admission, DeleteOptions, Objects, Options, Selection
from hauberk.store.registry import Registry, resource_name
from hauberk.store.request_info import RequestInfo, parse_request
from hauberk.store.reviews import Reviews
from hauberk.store.scale import SCALE_COLUMNS, scale_of
from hauberk.store.service_account_tokens import SIGNING_KEYS, TokenIssuer, load_token_issuer
from hauberk.store.service_addresses import ServiceAddresses
from hauberk.store.storage import Storage, Stored
from hauberk.store.subresources import bind_pod, evict_pod, patched_scale, request_token, update_scale
from hauberk.store.tables import partial_metadata, table, table_of
from hauberk.store.user import AUTHENTICATED, Authorizer, User
from hauberk.store.watching import WatchRequest, encode_bookmark, encode_event, stream

BODY_BYTES = 3 * 1024 * 1024
PATCH_KINDS: Mapping[str, Any] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic-merge",
}
VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+hauberk",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
ALWAYS_READ = frozenset({"/healthz", "/livez", "/readyz"})
"""Answered to everyone: whoever starts the server waits for them."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood: who asks for what, in which form."""

    http: web.Request
    info: RequestInfo
    user: User
    form: Form
    options: Options = field(default_factory=Options)

    @property
    def query(self) -> Mapping[str, str]:
        return self.http.query

    @property
    def key(self) -> Key:
        return Key(self.info.resource, self.info.namespace, self.info.name)


class ApiServer:
    """Serves `kinds` from a database. Make one with `ApiServer.open`; serve `app()` with aiohttp."""

    def __init__(
        self,
        objects: Objects,
        issuer: TokenIssuer,
        roles: RoleAuthorizer,
        authorizer: Authorizer,
        authenticator: Authentication,
    ) -> None:
        self.objects = objects
        self.storage = objects.storage
        self.registry = objects.registry
        self.issuer = issuer
        self.node_proxy: NodeProxy | None = None
        """Serves logs, exec and the like; without one they are answered 503."""
        self._roles = roles
        self._authorizer = authorizer
        self.authenticator = authenticator
        self._reviews = Reviews(authorizer, roles, issuer)
        self._documents: dict[tuple[str, bool], bytes] = {}
        self._documents_of = -1

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        database: Database,
        kinds: Iterable[Kind],
        *,
        sealer: Sealer,
        authorizer: Authorizer | None = None,
        verifiers: tuple[TokenVerifier, ...] = (),
        client_issuer: str = "",
        service_cidr: str = "10.96.0.0/16",
        reserved_addresses: Iterable[str] = (),
    ) -> AsyncIterator["ApiServer"]:
        """Load the store and keep it until the block ends.

        Callers are known by client certificate, by a service account's token, or by one of `verifiers`;
        `client_issuer` is the common name of the only authority whose certificates count, if there is one.
        Unless `authorizer` is given, RBAC decides, and for nodes the pods bound to them.
        Raises `DatabaseError`, `SealError`.
        """
        registry = Registry.of([*kinds, *reviews.KINDS])
        sensitive = {resource_name(kind) for kind in registry if kind.sensitive} | {SIGNING_KEYS}
        async with Storage.open(database, sealer, sensitive.__contains__) as storage:
            follow_definitions(storage, registry)
            addresses = ServiceAddresses(
                storage, IPv4Network(service_cidr), frozenset(map(IPv4Address, reserved_addresses))
            )
            issuer = await load_token_issuer(storage)
            roles = RoleAuthorizer(storage)
            objects = Objects(storage, registry, addresses)
            authenticator = Authentication((issuer, *verifiers), client_issuer)
            yield cls(objects, issuer, roles, authorizer or NodeAuthorizer(storage, roles), authenticator)

    async def run(self) -> None:
        """The controllers that belong to the API itself, until cancelled: garbage, namespaces."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(GarbageCollector(self.objects).run())
            tasks.create_task(NamespaceLifecycle(self.objects).run())

    def app(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(client_max_size=BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._serve)
        return application

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return _json(status.to_status(error), code=error.code)
        except web.HTTPRequestEntityTooLarge:
            return _json(status.to_status(status.too_large()), code=413)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        info = parse_request(request.method, request.path, request.query)
        user = self.authenticator.authenticate(
            _peer_certificate(request), request.headers.get("Authorization")
        )
        user = self._impersonated(request, user)
        self._authorize(user, info, request.query.get("fieldSelector", ""))
        if info.path.startswith("/openapi/"):
            return self._openapi(request)
        form = accepted_form(request.headers.get("Accept", ""))
        call = Call(request, info, user, form, _options(request.query))
        if not info.is_resource:
            return self._document(call)
        kind = self.registry.find(info.group, info.version, info.resource)
        if kind is None:
            raise status.no_such_path()
        answer = await self._resource(call, kind)
        for warning in call.options.warnings:
            if not answer.prepared:
                answer.headers.add("Warning", f'299 - "{warning.replace(chr(34), chr(92) + chr(34))}"')
        return answer

    def _impersonated(self, request: web.Request, user: User) -> User:
        """Who `user` asks to be taken for, if that is allowed: `Impersonate-User`, `Impersonate-Group`."""
        headers = request.headers
        name, groups = headers.get("Impersonate-User", ""), headers.getall("Impersonate-Group", [])
        others = [key for key in headers if key.lower().startswith("impersonate-")]
        if not others:
            return user
        if not name:
            raise status.bad_request("requested impersonation without Impersonate-User")
        if any(key.lower() not in {"impersonate-user", "impersonate-group"} for key in others):
            raise status.bad_request(
                f"expected only Impersonate-User and Impersonate-Group, found {sorted(set(others))}"
            )
        for resource, who in [("users", name), *(("groups", group) for group in groups)]:
            self._authorize(user, RequestInfo("impersonate", request.path, resource=resource, name=who), "")
        return User(name, frozenset({*groups, AUTHENTICATED}))

    def _authorize(self, user: User, info: RequestInfo, field_selector: str) -> None:
        if info.path in ALWAYS_READ:
            return
        decision = self._authorizer.authorize(user, info, field_selector)
        if not decision.allowed:
            raise _forbidden(user, info, decision.reason)

    # Documents

    def _document(self, call: Call) -> web.Response:
        if call.http.method not in {"GET", "HEAD"}:
            raise status.method_not_allowed()
        path = call.info.path.rstrip("/") or "/"
        match path.split("/")[1:]:
            case ["healthz" | "livez" | "readyz", *_]:
                return web.Response(text="ok")
            case ["version"]:
                return _json(VERSION)
            case [""]:
                return _json({"paths": self._paths()})
            case ["api"] | ["apis"] if call.form.as_kind == "APIGroupDiscoveryList":
                version = call.form.version
                found = discovery.aggregated(self.registry, core=path == "/api", version=version)
                content = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                return _json(found, content_type=content)
            case ["api"]:
                return _json(discovery.core_versions(call.http.host))
            case ["apis"]:
                return _json(discovery.group_list(self.registry))
            case ["api", version]:
                document = discovery.resource_list(self.registry, "", version)
            case ["apis", group]:
                document = discovery.group(self.registry, group)
            case ["apis", group, version]:
                document = discovery.resource_list(self.registry, group, version)
            case _:
                document = None
        if document is None:
            raise status.no_such_path()
        return _json(document)

    def _openapi(self, request: web.Request) -> web.Response:
        """Kept by the registry's generation: the documents are large and change only with it."""
        as_protobuf = "proto-openapi.spec.v2" in request.headers.get("Accept", "")
        wanted = (request.path.rstrip("/"), as_protobuf)
        if self._documents_of != self.registry.generation:
            self._documents.clear()
            self._documents_of = self.registry.generation
        if wanted not in self._documents:
            self._documents[wanted] = self._openapi_document(*wanted)
        # The type's own name has an '@', which the clients that ask for it cannot parse in an answer.
        content_type = "application/octet-stream" if as_protobuf else "application/json"
        return web.Response(body=self._documents[wanted], headers={"Content-Type": content_type})

    def _openapi_document(self, path: str, as_protobuf: bool) -> bytes:
        match path.split("/")[2:]:
            case ["v2"]:
                document: Object | None = openapi.document_v2(self.registry)
                if as_protobuf and document:
                    return openapi_protobuf.encode_document(document)
            case ["v3"]:
                document = openapi.index_v3(self.registry)
            case ["v3", "api", version]:
                document = openapi.document_v3(self.registry, "", version)
            case ["v3", "apis", group, version]:
                document = openapi.document_v3(self.registry, group, version)
            case _:
                document = None
        if document is None:
            raise status.no_such_path()
        return msgspec.json.encode(document)

    def _paths(self) -> list[str]:
        paths = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/readyz", "/version"]
        for group in self.registry.groups():
            paths += [f"/apis/{group}", *(f"/apis/{group}/{v}" for v in self.registry.versions(group))]
        return sorted(paths)

    # Resources

    async def _resource(self, call: Call, kind: Kind) -> web.StreamResponse:
        info = call.info
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
        namespace = info.namespace if kind.namespaced else ""
        match info.verb:
            case "get":
                return self._one(call, kind, self.objects.get(kind, namespace, info.name))
            case "list":
                return self._list(call, kind)
            case "watch":
                return await self._watch(call, kind)
            case "create" if not info.name:
                self._require_namespace(kind, namespace)
                body = parse_object(*await _body(call.http))
                created = await self.objects.create(
                    kind, namespace, body, call.options, self._admission(call)
                )
                return self._one(call, kind, created, code=201)
            case "update":
                body = parse_object(*await _body(call.http))
                updated = await self.objects.update(
                    kind, namespace, info.name, body, call.options, admission=self._admission(call)
                )
                return self._one(call, kind, updated)
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
                return self._one(call, kind, self.objects.get(kind, namespace, info.name))
            case "status" | "approval" | "finalize", "update":
                body = parse_object(*await _body(call.http))
                updated = await self.objects.update(
                    kind,
                    namespace,
                    info.name,
                    body,
                    call.options,
                    subresource=info.subresource,
                    admission=self._admission(call),
                )
                return self._one(call, kind, updated)
            case "status" | "approval", "patch":
                return await self._patch(call, kind, namespace, info.subresource)
        raise status.method_not_allowed()

    def _admission(self, call: Call) -> Admission:
        def admit(kind: Kind, new: Object, old: Object | None) -> None:
            self._roles.admit(call.user, kind, new, old)
            node_authorization.admit(call.user, call.info, new)

        return admit

    async def _review(self, call: Call, kind: Kind) -> web.Response:
        if call.info.verb != "create":
            raise status.method_not_allowed()
        body = parse_object(*await _body(call.http))
        return _json(self._reviews.answer(kind, body, call.user), code=201)

    async def _scale(self, call: Call, kind: Kind) -> web.Response:
        key = call.key
        match call.info.verb:
            case "get":
                scale = scale_of(self.objects.get(kind, key.namespace, key.name).object)
                if call.form.as_kind == "Table":
                    return _json(table_of(SCALE_COLUMNS, [scale], now=datetime.now(UTC)))
                return _json(scale)
            case "update":
                body = parse_object(*await _body(call.http))
                return _json(
                    await update_scale(
                        self.objects, kind, key, lambda _: body, call.options, self._admission(call)
                    )
                )
            case "patch":
                content_type, raw = await _body(call.http)
                patch_type = PATCH_KINDS.get(content_type.partition(";")[0].strip())
                if patch_type is None:
                    raise status.unsupported_media_type(status.PATCH_TYPES)
                change = patched_scale(patch_type, parse_body(content_type, raw))
                return _json(
                    await update_scale(self.objects, kind, key, change, call.options, self._admission(call))
                )
        raise status.method_not_allowed()

    async def _posted(self, call: Call, kind: Kind) -> web.Response:
        body = parse_object(*await _body(call.http))
        match call.info.subresource:
            case "binding":
                answer = await bind_pod(self.objects, kind, call.key, body, call.options)
            case "eviction":
                answer = await evict_pod(self.objects, kind, call.key, body)
            case _:
                account = self.objects.get(kind, call.info.namespace, call.info.name)
                answer = request_token(self.objects, self.issuer, account, body, call.user)
        return _json(answer, code=201)

    async def _patch(self, call: Call, kind: Kind, namespace: str, subresource: str) -> web.Response:
        content_type, body = await _body(call.http)
        patch_type = PATCH_KINDS.get(content_type.partition(";")[0].strip())
        if patch_type is None or (patch_type == "strategic-merge" and self.registry.is_custom(kind)):
            raise status.unsupported_media_type(status.PATCH_TYPES)
        patched = await self.objects.patch(
            kind,
            namespace,
            call.info.name,
            parse_body(content_type, body),
            patch_type,
            call.options,
            subresource=subresource,
            admission=self._admission(call),
        )
        return self._one(call, kind, patched)

    async def _delete(self, call: Call, kind: Kind, namespace: str) -> web.Response:
        options = await _delete_options(call)
        stored, gone = await self.objects.delete(kind, namespace, call.info.name, options)
        if not gone or (kind.group, kind.plural) == ("", "pods"):
            return self._one(call, kind, stored)
        details = {"name": stored.key.name, "kind": kind.plural, "uid": stored.object["metadata"]["uid"]}
        if kind.group:
            details["group"] = kind.group
        return _json(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    async def _delete_collection(self, call: Call, kind: Kind) -> web.Response:
        options = await _delete_options(call)
        page = self.objects.page(kind, call.info.namespace or None, _selection(call, kind))
        deleted = []
        for stored in page.items:
            with contextlib.suppress(_GoneError):
                deleted.append((await self._delete_one(kind, stored, options)).in_version(kind.api_version))
        return _json(_list_object(kind, deleted, self.storage.revision))

    async def _delete_one(self, kind: Kind, stored: Stored, options: DeleteOptions) -> Stored:
        try:
            return (await self.objects.delete(kind, stored.key.namespace, stored.key.name, options))[0]
        except ApiError as error:
            if error.code == 404:
                raise _GoneError from error
            raise

    def _list(self, call: Call, kind: Kind) -> web.Response:
        query = call.query
        page = self.objects.page(
            kind,
            self._listed_namespace(call, kind),
            _selection(call, kind),
            limit=_integer(query, "limit"),
            continue_token=query.get("continue", ""),
            revision=_integer(query, "resourceVersion")
            if query.get("resourceVersionMatch") == "Exact"
            else 0,
        )
        metadata: Object = {"resourceVersion": str(page.revision)}
        if page.continue_token:
            metadata["continue"] = page.continue_token
            metadata["remainingItemCount"] = page.remaining
        if call.form.as_kind == "Table":
            found = table(
                kind,
                [stored.in_version(kind.api_version) for stored in page.items],
                now=datetime.now(UTC),
                version=call.form.version,
                include=query.get("includeObject", "Metadata"),
            )
            return _json({**found, "metadata": metadata})
        if call.form.as_kind == "PartialObjectMetadataList":
            items = [partial_metadata(stored.object, call.form.version) for stored in page.items]
            api_version = f"meta.k8s.io/{call.form.version}"
            return _json(
                {
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": api_version,
                    "metadata": metadata,
                    "items": items,
                }
            )
        if call.form.yaml:
            items = [stored.in_version(kind.api_version) for stored in page.items]
            return _answer({**_list_object(kind, items, page.revision), "metadata": metadata}, call.form)
        head = msgspec.json.encode(
            {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": metadata}
        )
        encoded = b",".join(stored.encoded(kind.api_version) for stored in page.items)
        return web.Response(body=head[:-1] + b',"items":[' + encoded + b"]}", content_type="application/json")

    async def _watch(self, call: Call, kind: Kind) -> web.StreamResponse:
        query = call.query
        selection = _selection(call, kind)
        namespace = self._listed_namespace(call, kind)
        version = query.get("resourceVersion", "")
        initial_events = query.get("sendInitialEvents") == "true"
        bookmarks = query.get("allowWatchBookmarks") in {"true", "1"}
        if initial_events and (query.get("resourceVersionMatch") != "NotOlderThan" or not bookmarks):
            raise status.bad_request(
                "sendInitialEvents requires resourceVersionMatch=NotOlderThan and allowWatchBookmarks=true"
            )
        asked = _integer(query, "resourceVersion")
        # Without a version a watch begins with what there is, as an added object each.
        from_now = version in {"", "0"} or initial_events
        revision = self.storage.revision if from_now else asked
        encode = self._event_encoder(call, kind)
        request = WatchRequest(kind, selection, bookmarks, _integer(query, "timeoutSeconds"))
        with self.objects.watch(kind, namespace, revision) as watcher:
            answer = web.StreamResponse(headers={"Content-Type": "application/json"})
            answer.enable_chunked_encoding()
            await answer.prepare(call.http)
            if from_now and query.get("sendInitialEvents") != "false":
                initial = self.objects.page(kind, namespace, selection).items
                await answer.write(b"".join(encode("ADDED", stored) for stored in initial))
                if initial_events:
                    await answer.write(encode_bookmark(kind, revision, INITIAL_EVENTS_END))
            with contextlib.suppress(ConnectionResetError):
                async for chunk in stream(watcher, request, encode, lambda: self.storage.revision):
                    await answer.write(chunk)
            return answer

    def _event_encoder(self, call: Call, kind: Kind) -> Callable[[Any, Stored], bytes]:
        form = call.form
        if form.as_kind not in {"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}:
            return lambda type_, stored: encode_event(kind, type_, stored)
        include = call.query.get("includeObject", "Metadata")

        def encode(type_: str, stored: Stored) -> bytes:
            obj = stored.in_version(kind.api_version)
            if form.as_kind == "Table":
                shown = table(kind, [obj], now=datetime.now(UTC), version=form.version, include=include)
                shown["metadata"] = {"resourceVersion": str(stored.revision)}
            else:
                shown = partial_metadata(obj, form.version)
            return msgspec.json.encode({"type": type_, "object": shown}) + b"\n"

        return encode

    def _listed_namespace(self, call: Call, kind: Kind) -> str | None:
        return call.info.namespace or None if kind.namespaced else None

    def _require_namespace(self, kind: Kind, namespace: str) -> None:
        if kind.namespaced and not namespace:
            raise status.method_not_allowed()

    def _one(self, call: Call, kind: Kind, stored: Stored, *, code: int = 200) -> web.Response:
        obj = stored.in_version(kind.api_version)
        if call.form.as_kind == "Table":
            include = call.query.get("includeObject", "Metadata")
            shown = table(kind, [obj], now=datetime.now(UTC), version=call.form.version, include=include)
            shown["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return _json(shown, code=code)
        if call.form.as_kind == "PartialObjectMetadata":
            return _json(partial_metadata(obj, call.form.version), code=code)
        return _answer(obj, call.form, code=code)


class _GoneError(Exception):
    """Deleted by someone else meanwhile."""


def _peer_certificate(request: web.Request) -> Mapping[str, object] | None:
    transport = request.transport
    ssl_object = transport.get_extra_info("ssl_object") if transport else None
    certificate: Mapping[str, object] | None = ssl_object.getpeercert() if ssl_object else None
    return certificate


def _forbidden(user: User, info: RequestInfo, reason: str) -> ApiError:
    because = f": {reason}" if reason else ""
    if not info.is_resource:
        message = f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"{because}'
        return ApiError(403, "Forbidden", message)
    where = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
    qualified = f"{info.resource}.{info.group}" if info.group else info.resource
    subject = f'{qualified} "{info.name}"' if info.name else qualified
    message = (
        f'{subject} is forbidden: User "{user.name}" cannot {info.verb} resource "{info.full_resource}" '
        f'in API group "{info.group}" {where}{because}'
    )
    details = {"name": info.name, "group": info.group, "kind": info.resource}
    return ApiError(403, "Forbidden", message, {key: value for key, value in details.items() if value})


def _options(query: Mapping[str, str]) -> Options:
    return Options(dry_run=_dry_run(query.get("dryRun", "")), field_validation=_field_validation(query))


def _dry_run(value: str) -> bool:
    if value not in {"", "All"}:
        raise status.bad_request(f"dryRun: Unsupported value: {value!r}: supported values: 'All'")
    return value == "All"


def _field_validation(query: Mapping[str, str]) -> Any:
    value = query.get("fieldValidation") or "Warn"
    if value not in {"Strict", "Warn", "Ignore"}:
        raise status.bad_request(
            f"fieldValidation: Unsupported value: {value!r}: supported values: 'Ignore', 'Strict', 'Warn'"
        )
    return value


async def _delete_options(call: Call) -> DeleteOptions:
    content_type, raw = await _body(call.http)
    body = parse_object(content_type, raw) if raw.strip() else {}
    preconditions = body.get("preconditions") or {}
    query = call.query
    grace = body.get("gracePeriodSeconds")
    if grace is None and "gracePeriodSeconds" in query:
        grace = _integer(query, "gracePeriodSeconds")
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or ""
    orphan = body.get("orphanDependents")
    if not propagation and orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    if propagation not in {"", "Background", "Foreground", "Orphan"}:
        raise status.bad_request(
            f"propagationPolicy: Unsupported value: {propagation!r}: "
            "supported values: 'Background', 'Foreground', 'Orphan'"
        )
    return DeleteOptions(
        dry_run=call.options.dry_run or "All" in (body.get("dryRun") or ()),
        propagation=propagation or "Background",
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
        grace_period_seconds=grace,
    )


def _selection(call: Call, kind: Kind) -> Selection:
    """What is asked for; never more than the one name that authorization has looked at, if it has."""
    selection = Selection.parse(
        kind, call.query.get("labelSelector", ""), call.query.get("fieldSelector", "")
    )
    return selection.named(call.info.name) if call.info.name else selection


def _integer(query: Mapping[str, str], name: str) -> int:
    value = query.get(name) or "0"
    if not value.isdecimal():
        raise status.bad_request(f"{name}: Invalid value: {value!r}: expected a whole number")
    return int(value)


async def _body(request: web.Request) -> tuple[str, bytes]:
    return request.headers.get("Content-Type", ""), await request.read()


def _list_object(kind: Kind, items: list[Object], revision: int) -> Object:
    return {
        "kind": f"{kind.name}List",
        "apiVersion": kind.api_version,
        "metadata": {"resourceVersion": str(revision)},
        "items": items,
    }


def _answer(obj: Object, form: Form, *, code: int = 200) -> web.Response:
    if form.yaml:
        text = yaml.safe_dump(obj, sort_keys=False)
        return web.Response(text=text, status=code, content_type="application/yaml")
    return _json(obj, code=code)


def _json(obj: Any, *, code: int = 200, content_type: str = "application/json") -> web.Response:
    return web.Response(body=msgspec.json.encode(obj), status=code, headers={"Content-Type": content_type})

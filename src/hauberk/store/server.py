"""The Kubernetes REST API over HTTPS: who asks, whether they may, and who answers."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from aiohttp import web

from hauberk import fault, ipv6
from hauberk.model.kind import Kind, Object
from hauberk.store import node_authorization, reviews, status
from hauberk.store.answers import json_answer
from hauberk.store.authentication import Authentication, TokenVerifier
from hauberk.store.authorization import RoleAuthorizer
from hauberk.store.bodies import Form, accepted_form
from hauberk.store.call import Call, write_options
from hauberk.store.client import ApiError
from hauberk.store.custom_resources import follow_definitions
from hauberk.store.database import Database
from hauberk.store.documents import Documents
from hauberk.store.encryption import Sealer
from hauberk.store.garbage import GarbageCollector
from hauberk.store.impersonation import impersonated
from hauberk.store.namespaces import NamespaceLifecycle
from hauberk.store.node_authorization import NodeAuthorizer
from hauberk.store.node_proxy import NodeProxy
from hauberk.store.objects import Objects
from hauberk.store.registry import Registry, resource_name
from hauberk.store.request_info import RequestInfo, parse_request
from hauberk.store.resources import AdmissionRule, Resources
from hauberk.store.reviews import Reviews
from hauberk.store.service_account_tokens import SIGNING_KEYS, TokenIssuer, load_token_issuer
from hauberk.store.service_addresses import ServiceAddresses
from hauberk.store.storage import Storage
from hauberk.store.user import Authorizer, User

BODY_BYTES = 3 * 1024 * 1024
ALWAYS_READ = frozenset({"/healthz", "/livez", "/readyz"})
"""Answered to everyone: whoever starts the server waits for them."""

log = logging.getLogger(__name__)


class ApiServer:
    """Serves `kinds` from a database. Make one with `ApiServer.open`; serve `app()` with aiohttp."""

    def __init__(
        self,
        objects: Objects,
        issuer: TokenIssuer,
        resources: Resources,
        authorizer: Authorizer,
        authenticator: Authentication,
    ) -> None:
        self.objects = objects
        self.storage = objects.storage
        self.issuer = issuer
        self._resources = resources
        self._authorizer = authorizer
        self.authenticator = authenticator
        self._documents = Documents(objects.registry)

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
        rules: tuple[AdmissionRule, ...] = (),
        client_issuer: str = "",
        service_cidr: str = "10.96.0.0/16",
        reserved_addresses: Iterable[str] = (),
    ) -> AsyncIterator["ApiServer"]:
        """Load the store and keep it until the block ends.

        Callers are known by client certificate, by a service account's token, or by one of `verifiers`;
        `client_issuer` is the common name of the only authority whose certificates count, if there is one.
        Unless `authorizer` is given, RBAC decides, and for nodes the pods bound to them. What callers write is
        held to `rules`, and then to those against escalation.
        Raises `DatabaseError`, `SealError`.
        """
        registry = Registry.of([*kinds, *reviews.KINDS])
        sensitive = {resource_name(kind) for kind in registry if kind.sensitive} | {SIGNING_KEYS}
        async with Storage.open(database, sealer, sensitive.__contains__) as storage:
            follow_definitions(storage, registry)
            addresses = ServiceAddresses(
                storage,
                IPv4Network(service_cidr),
                frozenset(map(IPv4Address, reserved_addresses)),
                ipv6.SERVICE_NETWORK if ipv6.available() else None,
            )
            issuer = await load_token_issuer(storage)
            roles = RoleAuthorizer(storage)
            decides = authorizer or NodeAuthorizer(storage, roles)
            objects = Objects(storage, registry, addresses)
            every_rule = (*rules, _roles_rule(roles), _node_rule)
            resources = Resources(objects, Reviews(decides, roles, issuer), issuer, every_rule)
            authenticator = Authentication((issuer, *verifiers), client_issuer)
            yield cls(objects, issuer, resources, decides, authenticator)

    @property
    def node_proxy(self) -> NodeProxy | None:
        """Serves logs, exec and the like; without one they are answered 503."""
        return self._resources.node_proxy

    @node_proxy.setter
    def node_proxy(self, proxy: NodeProxy) -> None:
        self._resources.node_proxy = proxy

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
            return json_answer(status.to_status(error), code=error.code)
        except web.HTTPRequestEntityTooLarge:
            return json_answer(status.to_status(status.too_large()), code=413)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told as a fault of this program
            return json_answer(status.to_status(_fault(request, error)), code=500)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        info = parse_request(request.method, request.path, request.query)
        user = self.authenticator.authenticate(
            _peer_certificate(request), request.headers.get("Authorization")
        )
        user = impersonated(request.headers, request.path, user, self._authorize)
        self._authorize(user, info, request.query.get("fieldSelector", ""))
        if info.path.startswith("/openapi/"):
            return self._documents.openapi(request)
        form = accepted_form(request.headers.get("Accept", ""))
        if not info.is_resource:
            return self._documents.answer(request, form)
        return await self._resource(request, info, user, form)

    async def _resource(
        self, request: web.Request, info: RequestInfo, user: User, form: Form
    ) -> web.StreamResponse:
        call = Call(request, info, user, form, write_options(request.query))
        answer = await self._resources.answer(call)
        for warning in call.options.warnings:
            if not answer.prepared:
                answer.headers.add("Warning", f'299 - "{_quoted(warning)}"')
        return answer

    def _authorize(self, user: User, info: RequestInfo, field_selector: str = "") -> None:
        if info.path in ALWAYS_READ:
            return
        decision = self._authorizer.authorize(user, info, field_selector)
        if not decision.allowed:
            raise _forbidden(user, info, decision.reason)


def _roles_rule(roles: RoleAuthorizer) -> AdmissionRule:
    """Nobody gives what they do not have."""

    def admit(user: User, _info: RequestInfo, kind: Kind, new: Object, old: Object | None) -> None:
        roles.admit(user, kind, new, old)

    return admit


def _node_rule(user: User, info: RequestInfo, _kind: Kind, new: Object, _old: Object | None) -> None:
    """A node writes only what is its own."""
    node_authorization.admit(user, info, new)


def _fault(request: web.Request, error: Exception) -> ApiError:
    """The answer to a request that met a fault of this program; the log says more under the same id.

    Neither says what the request held: the log has types and places of the program alone.
    """
    identifier = secrets.token_hex(8)
    log.error("fault %s: %s at %s: %s", identifier, request.method, request.path, fault.described(error))
    return status.internal(f"fault {identifier}; please report it with what the log of hauberkd says of it")


def _quoted(warning: str) -> str:
    """As a quoted string of RFC 9110, section 5.6.4; control characters are no part of one."""
    printable = "".join(character if character.isprintable() else "?" for character in warning[:1000])
    return printable.replace("\\", "\\\\").replace('"', '\\"')


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

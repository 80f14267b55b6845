"""Puts the control plane together, in the order in which its parts need one another, and takes it apart again."""

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from hauberk import ipv6
from hauberk.daemon import admission, ports
from hauberk.daemon.api import Api
from hauberk.daemon.credentials import (
    ClientTls,
    Credential,
    ServingTls,
    client_credential,
    serving_credential,
    write_kubeconfig,
)
from hauberk.daemon.federation import FOLDER, Federation
from hauberk.daemon.files import private_folder, replace_file
from hauberk.daemon.gateway_api_status import GatewayApiStatus
from hauberk.daemon.grpc_port import GrpcPort
from hauberk.daemon.key_sets import KeySets
from hauberk.daemon.mesh_feed import MeshFeed, mesh_kinds
from hauberk.daemon.node_certificates import NodeCertificates
from hauberk.daemon.options import Listen, Options
from hauberk.daemon.pages import Pages
from hauberk.daemon.peer import peer_of
from hauberk.daemon.tasks import background
from hauberk.identity.authority import AuthorityError, CertificateAuthority
from hauberk.identity.ca_service import Refused, add_ca_services
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.mesh.ads import Discovery, UnauthenticatedError
from hauberk.mesh.proxy import Proxy
from hauberk.mesh.registry import Mesh, Registry
from hauberk.model import kinds
from hauberk.model.kind import Kind
from hauberk.process import start_time
from hauberk.store.client import Client
from hauberk.store.database import Key
from hauberk.store.informer import Informer
from hauberk.store.node_proxy import HttpNodeProxy
from hauberk.workloads.controllers import KINDS
from hauberk.workloads.run import kind_named, run_controllers

LONGEST_SLEEP = timedelta(seconds=10)
"""Renewals look at the clock at least this often: clocks are set, machines sleep."""
_RETRY_SECONDS = 60.0

log = logging.getLogger("hauberkd")


def utc_now() -> datetime:
    return datetime.now(UTC)


async def serve(options: Options, api: Api, authority: CertificateAuthority, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        OSError: a port cannot be listened on, or a file cannot be written.
    """
    control = _ControlPlane(options, api, authority)
    async with control.running():
        await stop.wait()
        log.info("stopping")


class _ControlPlane:
    def __init__(self, options: Options, api: Api, authority: CertificateAuthority) -> None:
        self._options = options
        self._api = api
        self._authority = authority
        self._domain = TrustDomain(options.trust_domain)
        self._client: Client = api.client
        self._informers = {(kind.group, kind.name): Informer(self._client, kind) for kind in _watched_kinds()}
        self._feed = MeshFeed(
            Registry(Mesh(trust_domain=options.trust_domain, ipv6=ipv6.available())),
            lambda flush: asyncio.get_running_loop().call_soon(flush),
        )
        self._discovery = Discovery(self._feed.registry, self._authenticate)
        self._feed.publish_to(self._discovery)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        options, authority = self._options, self._authority
        async with AsyncExitStack() as stack:
            serving = serving_credential(authority, options.api_listen.host)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.state)))
            tls = ServingTls(serving, authority.roots_pem, scratch)
            to_nodes = ClientTls(self._node_client(), authority.roots_pem, scratch)
            self._api.server.node_proxy = HttpNodeProxy(
                self._api.server.objects, kinds.NODE, to_nodes.context
            )
            grpc_port = GrpcPort(
                ports.remembered(options.grpc_listen, options.state, "grpc"), serving, authority.roots_pem
            )
            tasks = await stack.enter_async_context(background())
            for informer in self._informers.values():
                tasks.start(informer.run(), f"informer {informer.kind.name}")
            self._feed.follow(self._informers[kind.group, kind.name] for kind in mesh_kinds())
            for informer in self._informers.values():
                await informer.synced.wait()
            self._feed.flush()
            add_ca_services(grpc_port.server, authority, self._permit)
            grpc_at = await grpc_port.start([self._discovery.handler()])
            stack.push_async_callback(grpc_port.stop)
            wanted = ports.remembered(options.api_listen, options.state, "api")
            api_at = await stack.enter_async_context(self._api_port(wanted, tls))
            server = f"https://{api_at}"
            ports.remember(options.state, {"api": api_at.port, "grpc": grpc_at.port})
            self._write_credentials(server)
            tasks.start(self._renew(serving, tls, to_nodes, grpc_port, server), "renewal")
            tasks.start(self._sign_for_nodes(), "node certificates")
            tasks.start(Federation(options.state / FOLDER, authority).run(), "federation")
            gateways = GatewayApiStatus(self._client, self._informers, self._discovery, utc_now)
            tasks.start(gateways.run(), "gateway status")
            tasks.start(KeySets(self._discovery, self._feed.use_key_sets).run(), "key sets")
            tasks.start(
                run_controllers(self._client, self._root_certificates, informers=self._informers.values()),
                "controllers",
            )
            ready = write_ready_file(options.run, server, grpc_at)
            stack.callback(ready.unlink, missing_ok=True)
            log.info("instance %s: API at %s, gRPC at %s", options.instance, server, grpc_at)
            yield

    @asynccontextmanager
    async def _api_port(self, listen: Listen, tls: ServingTls) -> AsyncIterator[Listen]:
        application: web.Application = self._api.app()
        pages = Pages(self._discovery, self._api.authenticator, self._api.authorizer)
        application.middlewares.append(pages.middleware())
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await runner.setup()
        try:
            site = web.TCPSite(runner, listen.host, listen.port, ssl_context=tls.context)
            await site.start()
            yield Listen(listen.host, int(runner.addresses[0][1]))
        finally:
            await runner.cleanup()

    def _write_credentials(self, server: str) -> None:
        """The administrator's and the node's kubeconfig, with fresh certificates."""
        options, authority = self._options, self._authority
        admin = client_credential(authority, "hauberk-admin", ("system:masters",))
        write_kubeconfig(options.state / "admin.kubeconfig", server, authority, admin, "hauberk-admin")
        if options.node:
            user = f"system:node:{options.node}"
            credential = client_credential(authority, user, ("system:nodes",))
            path = options.state / "node" / f"{options.node}.kubeconfig"
            write_kubeconfig(path, server, authority, credential, user)

    async def _renew(
        self, credential: Credential, tls: ServingTls, to_nodes: ClientTls, grpc_port: GrpcPort, server: str
    ) -> None:
        """Rotate the CA and renew certificates as they come due, for ever."""
        roots = self._authority.roots_pem
        while True:
            try:
                due = self._authority.rotate()
                if credential.is_due(utc_now()) or self._authority.roots_pem != roots:
                    credential = serving_credential(self._authority, self._options.api_listen.host)
                    roots = self._authority.roots_pem
                    tls.trust(roots)
                    tls.use(credential)
                    to_nodes.trust(roots)
                    to_nodes.use(self._node_client())
                    grpc_port.renew(credential, roots)
                    self._write_credentials(server)
                    log.info("renewed hauberkd's certificates without a restart")
            except (OSError, AuthorityError) as error:
                log.error("renewal: %s; trying again in %.0f s", error, _RETRY_SECONDS)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            next_due = min(due, credential.renew_at, utc_now() + LONGEST_SLEEP)
            await asyncio.sleep(max(1.0, (next_due - utc_now()).total_seconds()))

    def _root_certificates(self) -> str:
        return self._authority.roots_pem.decode()

    def _node_client(self) -> Credential:
        """hauberkd's own certificate towards nodes' APIs."""
        return client_credential(self._authority, "hauberkd", ("system:masters",))

    async def _sign_for_nodes(self) -> None:
        requests = self._informers["certificates.k8s.io", "CertificateSigningRequest"]
        nodes = self._informers["", "Node"].cache
        await NodeCertificates(self._client, requests, nodes, self._authority, utc_now).run()

    def _authenticate(self, context: Any, node: Any) -> Proxy:
        """Whose stream this is: the pod that `node.id` names, if the peer's SVID is its account's."""
        proxy = self._feed.proxy(node.id)
        stored = self._api.server.storage.get(Key("pods", proxy.namespace, proxy.name))
        pod = stored.object if stored is not None else None
        peer = peer_of(context)
        refusal = admission.may_speak_for(peer.spiffe_id, pod, proxy.namespace, proxy.name, self._domain)
        if refusal is not None:
            raise UnauthenticatedError(refusal.reason)
        return proxy

    async def _permit(self, node: str, spiffe_id: SpiffeId, pod_uid: str) -> None:
        """Raises `Refused` unless the pod of that UID is bound to `node` and runs under that identity."""
        pods = self._api.server.storage.objects("pods")
        pod = next((each.object for each in pods if each.object["metadata"]["uid"] == pod_uid), None)
        refusal = admission.may_have_svid(node, str(spiffe_id), pod, pod_uid, self._domain)
        if refusal is not None:
            log.warning("node %s: no identity %s for pod %s: %s", node, spiffe_id, pod_uid, refusal.reason)
            raise Refused(refusal.reason)
        log.info("node %s: identity %s for pod %s", node, spiffe_id, pod_uid)


def _watched_kinds() -> Iterable[Kind]:
    found: dict[tuple[str, str], Kind] = {(kind.group, kind.name): kind for kind in mesh_kinds()}
    for group, name in (*KINDS, ("certificates.k8s.io", "CertificateSigningRequest")):
        found.setdefault((group, name), kind_named(group, name))
    return found.values()


def write_ready_file(run: Path, server: str, grpc_at: Listen) -> Path:
    """Say where we listen, once all do."""
    path = run / "hauberkd.json"
    pid = os.getpid()
    content = {"pid": pid, "started": start_time(pid), "api": server, "grpc": str(grpc_at)}
    replace_file(path, json.dumps(content).encode(), mode=0o644)
    return path


def prepare_folders(options: Options) -> None:
    """Raises OSError."""
    private_folder(options.state)
    options.run.mkdir(mode=0o755, parents=True, exist_ok=True)

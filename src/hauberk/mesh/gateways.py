"""Gateway → the listeners and route configurations of a gateway's proxy (Istio, "Gateway")."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2

from hauberk.mesh import filters
from hauberk.mesh.addresses import everywhere
from hauberk.mesh.authorization import Authorization
from hauberk.mesh.clusters import BLACK_HOLE
from hauberk.mesh.destination_rules import DestinationRule
from hauberk.mesh.external_processors import ExternalProcessors
from hauberk.mesh.gateway_api import pods_namespace
from hauberk.mesh.gateway_tls import (
    PLAIN_MODES,
    Credentials,
    ServerSecrets,
    find_secrets,
    named_secrets,
    secret_resources,
    server_socket,
)
from hauberk.mesh.hosts import narrower_host, resolve_host
from hauberk.mesh.listeners import detect, metadata
from hauberk.mesh.proxy import Proxy
from hauberk.mesh.rate_limits import RateLimits
from hauberk.mesh.registry import Configuration, Key, Labels, Mesh, Registry, Service
from hauberk.mesh.request_authentication import Issuer, http_filters
from hauberk.mesh.server_names import ServerNames
from hauberk.mesh.tcp_routes import TcpRoute
from hauberk.mesh.telemetry import Observation
from hauberk.mesh.virtual_services import Client, Translation, http_routes, tcp_routes, uses_cors
from hauberk.model.credential import Credential

_log = logging.getLogger(__name__)

_HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})


@dataclass(frozen=True, slots=True)
class Server:
    """One server of one Gateway."""

    gateway: Configuration
    index: int
    port: int
    """Where the proxy listens."""
    number: int
    """As the Gateway says it."""
    protocol: str
    hosts: tuple[tuple[str, str], ...]
    """Namespace (`*` for any) and host pattern."""
    tls: Mapping[str, Any] = field(default_factory=dict)
    secrets: ServerSecrets | None = None
    reserved: tuple[str, ...] = ()
    """Host names that are another listener's of the Gateway API, though a wildcard of this one covers them."""

    @property
    def route_name(self) -> str:
        """HTTP servers of a port share a route configuration; one with TLS has its own."""
        if self.terminates_http and self.protocol == "HTTPS":
            return f"https.{self.port}.{self.index}.{self.gateway.name}.{self.gateway.namespace}"
        return f"http.{self.port}"

    @property
    def terminates_http(self) -> bool:
        return self.protocol in _HTTP or (self.protocol == "HTTPS" and self.mode != "PASSTHROUGH")

    @property
    def mode(self) -> str:
        return str(self.tls.get("mode") or "SIMPLE")

    @property
    def statistics(self) -> str:
        return f"{self.protocol.lower()}.{self.port}"

    @property
    def owner(self) -> str:
        """Its Gateway, as messages name it."""
        return f"{self.gateway.namespace}/{self.gateway.name}"

    @property
    def shows_secret(self) -> bool:
        """Whether it ends TLS with the certificate of a Secret."""
        return self.protocol in ("HTTPS", "TLS") and self.mode not in PLAIN_MODES

    @property
    def server_names(self) -> list[str]:
        return sorted({host for _, host in self.hosts})

    def common_hosts(self, virtual: Configuration, host: str) -> list[str]:
        """What of a VirtualService's host this server serves: by each of its own hosts the narrower of both names."""
        found = (
            narrower_host(pattern, host.lower())
            for namespace, pattern in self.hosts
            if namespace in ("*", virtual.namespace)
        )
        return list(dict.fromkeys(one for one in found if one is not None))


@dataclass(frozen=True, slots=True)
class GatewayInputs:
    """What a gateway's own resources derive from."""

    proxy: Proxy
    gateways: Sequence[Configuration]
    virtual_services: Sequence[Configuration]
    """Those that the gateway's namespace may see, the oldest first."""
    hosts: Mapping[str, Service]
    rules: Mapping[str, DestinationRule]
    """Of the hosts that the virtual services lead to and that have one."""
    services: Sequence[Service]
    """Those that select the gateway's pod."""
    authorization: Authorization
    observation: Observation
    mesh: Mesh
    issuers: tuple[Issuer, ...] = ()
    """Whose tokens it accepts."""
    credentials: Credentials = field(default_factory=dict)
    """The Secrets that the gateway's servers name."""
    rate_limits: RateLimits = field(default_factory=RateLimits)
    processors: ExternalProcessors = field(default_factory=ExternalProcessors)


def selected(gateways: Iterable[Configuration], proxy: Proxy) -> Iterator[Configuration]:
    """The Gateways that a proxy serves."""
    for gateway in gateways:
        namespace = pods_namespace(gateway)
        if namespace in (None, proxy.namespace) and Labels.of(gateway.spec.get("selector")).matches(
            proxy.labels
        ):
            yield gateway


def credentials_of(gateways: Iterable[Configuration], proxy: Proxy, registry: Registry) -> Credentials:
    """The Secrets that may be shown to a gateway's proxy: those that its own servers name, and no others."""
    found: dict[Key, Credential] = {}
    for gateway in selected(gateways, proxy):
        for server in gateway.spec.get("servers") or ():
            for key in named_secrets(server.get("tls") or {}, proxy.namespace):
                credential = registry.credentials.get(key)
                if isinstance(credential, Credential):
                    found[key] = credential
    return found


def gateway_resources(inputs: GatewayInputs) -> Iterator[Any]:
    """Secrets that the listeners show, then listeners and route configurations."""
    servers = list(_servers(inputs))
    secrets: dict[str, Any] = {}
    for server in servers:
        if server.secrets is not None:
            secrets.update((one.name, one) for one in secret_resources(server.secrets, inputs.credentials))
    yield from secrets.values()
    for port in sorted({server.port for server in servers}):
        here = [server for server in servers if server.port == port]
        listener = _listener(port, here, inputs)
        if listener is not None:
            yield listener
        named: dict[str, list[Server]] = {}
        for server in here:
            if server.terminates_http:
                named.setdefault(server.route_name, []).append(server)
        for name, sharing in named.items():
            yield _routes(name, sharing, inputs)


def bound_to(virtual: Configuration, gateway: Configuration) -> str | None:
    """The name by which a VirtualService lists a gateway, None if it does not."""
    for name in virtual.spec.get("gateways") or ():
        namespace, slash, plain = name.rpartition("/")
        if plain == gateway.name and (namespace if slash else virtual.namespace) == gateway.namespace:
            return str(name)
    return None


def _servers(inputs: GatewayInputs) -> Iterator[Server]:
    """All servers but those whose certificate is not there; one that makes no sense disturbs no other."""
    for gateway in selected(inputs.gateways, inputs.proxy):
        for index, told in enumerate(gateway.spec.get("servers") or ()):
            try:
                server = _server(gateway, index, told, inputs)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                where = f"{gateway.namespace}/{gateway.name}: spec.servers[{index}]"
                _log.error("mesh: Gateway %s is not served: %r", where, error)
                continue
            if not server.shows_secret or server.secrets is not None:
                yield server


def _server(gateway: Configuration, index: int, told: Mapping[str, Any], inputs: GatewayInputs) -> Server:
    port, security = told["port"], told.get("tls") or {}
    server = Server(
        gateway=gateway,
        index=index,
        port=_listening_port(port["number"], inputs.services),
        number=port["number"],
        protocol=str(port.get("protocol") or "HTTP").upper(),
        hosts=tuple(_server_host(host, gateway.namespace) for host in told.get("hosts") or ("*",)),
        tls=security,
        reserved=tuple(told.get("reserved") or ()),
    )
    if not server.shows_secret:
        return server
    return replace(server, secrets=find_secrets(security, inputs.proxy.namespace, inputs.credentials))


def check_servers(gateway: Configuration) -> None:
    """Read every server.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: something has another shape than a Gateway's.
    """
    dict(gateway.spec.get("selector") or {})
    for told in gateway.spec.get("servers") or ():
        number = told["port"]["number"]
        if not isinstance(number, int):
            raise TypeError(f"servers.port.number: expected a number, found {number!r}")
        named_secrets(told.get("tls") or {}, gateway.namespace)
        for host in told.get("hosts") or ():
            _server_host(host, gateway.namespace)


def _listening_port(number: int, services: Sequence[Service]) -> int:
    """A number that is a port of the gateway's Service means the port that it leads to."""
    for service in services:
        port = service.port(number)
        if port is not None and isinstance(port.target, int):
            return port.target
    return number


def _server_host(told: str, own: str) -> tuple[str, str]:
    namespace, slash, host = told.rpartition("/")
    if not slash:
        return "*", host.lower()
    return (own if namespace == "." else namespace), host.lower()


def _listener(port: int, servers: Sequence[Server], inputs: GatewayInputs) -> listener_pb2.Listener | None:
    listener = listener_pb2.Listener(
        name=f"0.0.0.0_{port}",
        traffic_direction="OUTBOUND",
        metadata={"filter_metadata": {"hauberk.io": metadata(inputs.authorization.revision, "")}},
    )
    everywhere(listener, port, ipv6=inputs.mesh.ipv6)
    servers = list(_without_strangers(port, servers))
    plain = [server for server in servers if server.protocol in _HTTP]
    if plain:
        listener.default_filter_chain.name = plain[0].route_name
        listener.default_filter_chain.filters.append(_manager(plain[0], plain, inputs))
    names = ServerNames(port)
    for server in servers:
        if server.terminates_http and server.protocol == "HTTPS":
            _https_chains(listener, server, inputs, names)
        elif not server.terminates_http:
            _tcp_chains(listener, server, inputs, names)
    for server in servers:
        if not server.terminates_http:
            _closed_chain(listener, server, inputs, names)
    if any(chain.filter_chain_match.transport_protocol for chain in listener.filter_chains):
        listener.listener_filters.append(filters.tls_inspector())
        if any(server.protocol == "TCP" for server in servers):
            # Behind plain TCP the server may speak first; in every other case there is time for a slow caller.
            detect(listener)
    has_default = listener.HasField("default_filter_chain")
    return listener if listener.filter_chains or has_default else None


def _without_strangers(port: int, servers: Sequence[Server]) -> Iterator[Server]:
    """What comes without TLS is HTTP or TCP as the oldest server has it; a younger one takes no port from it."""
    first = next((one for one in servers if one.protocol in _HTTP or one.protocol == "TCP"), None)
    for server in servers:
        if (
            first is not None
            and (server.protocol in _HTTP or server.protocol == "TCP")
            and (server.protocol == "TCP") != (first.protocol == "TCP")
        ):
            _log.warning(
                "mesh: port %d is %s by Gateway %s: %s by Gateway %s is not served",
                port,
                first.protocol,
                first.owner,
                server.protocol,
                server.owner,
            )
            continue
        yield server


def _https_chains(
    listener: listener_pb2.Listener, server: Server, inputs: GatewayInputs, names: ServerNames
) -> None:
    network_filters = [_manager(server, [server], inputs)]
    socket = server_socket(server.tls, server.secrets, inputs.mesh, ["h2", "http/1.1"])
    for chain in _chains(
        listener, server.route_name, names.give(server.server_names, f"Gateway {server.owner}")
    ):
        chain.filters.extend(network_filters)
        chain.transport_socket.CopyFrom(socket)


def _tcp_chains(
    listener: listener_pb2.Listener, server: Server, inputs: GatewayInputs, names: ServerNames
) -> None:
    """TCP, TLS terminated or passed through: by the TLS and TCP routes bound to the gateway."""
    terminates = server.protocol == "TLS" and server.mode not in ("PASSTHROUGH", "AUTO_PASSTHROUGH")
    for virtual, gateway_name in _bound(server, inputs):
        routes = tcp_routes(virtual, _translation(server, gateway_name, inputs))
        for index, route in enumerate(routes):
            network_filters = _tcp_filters(server, route, inputs)
            if server.protocol == "TCP":
                if not listener.HasField("default_filter_chain"):
                    listener.default_filter_chain.name = server.statistics
                    listener.default_filter_chain.filters.extend(network_filters)
                continue
            owner = f"VirtualService {virtual.namespace}/{virtual.name}"
            given = names.give(_names_of(route, virtual, server, inputs.mesh), owner)
            name = f"{server.statistics}.{virtual.namespace}.{virtual.name}.{index}"
            for chain in _chains(listener, name, given):
                chain.filters.extend(network_filters)
                if terminates:
                    chain.transport_socket.CopyFrom(
                        server_socket(server.tls, server.secrets, inputs.mesh, [])
                    )


def _closed_chain(
    listener: listener_pb2.Listener, server: Server, inputs: GatewayInputs, names: ServerNames
) -> None:
    """Names that no route of their own listener asked for are nobody's, though a wildcard may cover them."""
    free = [name for name in server.reserved if not names.is_given(name)]
    for chain in _chains(listener, f"{server.statistics}.{server.owner}.closed", names.give(free, "nobody")):
        chain.filters.extend(_tcp_filters(server, TcpRoute(((BLACK_HOLE, 1),)), inputs))


def _chains(
    listener: listener_pb2.Listener, name: str, given: Sequence[str]
) -> Iterator[listener_components_pb2.FilterChain]:
    """A chain for the server names, and one more for any name: Envoy takes no `*` among others."""
    for told in ([one for one in given if one != "*"], ["*"] if "*" in given else []):
        if told:
            chain = listener.filter_chains.add(name=name)
            chain.filter_chain_match.transport_protocol = "tls"
            chain.filter_chain_match.server_names.extend(one for one in told if one != "*")
            yield chain
            name = f"{name}.any"


def _names_of(route: TcpRoute, virtual: Configuration, server: Server, mesh: Mesh) -> list[str]:
    """The server names of a route that are its VirtualService's and that the server admits from there."""
    hosts = [resolve_host(one, virtual.namespace, mesh).lower() for one in virtual.spec.get("hosts") or ()]
    found: dict[str, None] = {}
    for told in route.server_names or hosts:
        shared = (narrower_host(host, told.lower()) for host in hosts)
        names = [name for one in shared if one is not None for name in server.common_hosts(virtual, one)]
        if not names and route.server_names:
            _log.warning(
                "mesh: VirtualService %s/%s: the server name %s is none of its hosts at Gateway %s",
                virtual.namespace,
                virtual.name,
                told,
                server.owner,
            )
        found.update(dict.fromkeys(names))
    return list(found)


def _tcp_filters(
    server: Server, route: TcpRoute, inputs: GatewayInputs
) -> list[listener_components_pb2.Filter]:
    proxy = filters.routed_tcp_proxy(server.statistics, route, inputs.observation)
    return [*inputs.authorization.network_filters(), proxy]


def _manager(
    server: Server, sharing: Sequence[Server], inputs: GatewayInputs
) -> listener_components_pb2.Filter:
    cors = any(uses_cors(virtual) for one in sharing for virtual, _ in _bound(one, inputs))
    return filters.http_connection_manager(
        server.route_name,
        route_config_name=server.route_name,
        http_filters=[
            *http_filters(inputs.issuers),
            *inputs.authorization.http_filters(),
            *inputs.rate_limits.http_filters(),
            *inputs.processors.http_filters(),
            filters.fault(),
            *([filters.cors()] if cors else []),
        ],
        observation=inputs.observation,
        edge=True,
    )


def _routes(name: str, servers: Sequence[Server], inputs: GatewayInputs) -> route_pb2.RouteConfiguration:
    """Virtual hosts by name; VirtualServices of the same host follow one another, the oldest first."""
    routes: dict[str, list[Any]] = {}
    redirected: set[str] = set()
    for server in servers:
        for virtual, gateway_name in _bound(server, inputs):
            context = _translation(server, gateway_name, inputs)
            for told in virtual.spec.get("hosts") or ():
                for host in server.common_hosts(virtual, resolve_host(told, virtual.namespace, inputs.mesh)):
                    routes.setdefault(host, []).extend(http_routes(virtual, context))
                    if server.tls.get("httpsRedirect"):
                        redirected.add(host)
        for host in server.reserved:
            routes.setdefault(host, [])
        if server.tls.get("httpsRedirect"):
            for _, host in server.hosts:
                routes.setdefault(host, [])
                redirected.add(host)
    made = route_pb2.RouteConfiguration(
        name=name, validate_clusters={"value": False}, ignore_port_in_host_matching=True
    )
    for host, found in sorted(routes.items()):
        made.virtual_hosts.add(
            name=f"{host}:{servers[0].port}",
            domains=[host],
            routes=_broad_last(found),
            include_request_attempt_count=True,
            require_tls="ALL" if host in redirected else "NONE",
        )
    return made


def _broad_last(routes: Iterable[Any]) -> list[route_components_pb2.Route]:
    """The first route that takes everything goes last, so that the narrow ones of later objects count too."""
    narrow: list[Any] = []
    broad: list[Any] = []
    for route in routes:
        match = route.match
        everything = match.prefix == "/" and not match.headers and not match.query_parameters
        (broad if everything else narrow).append(route)
    return [*narrow, *broad[:1]]


def _bound(server: Server, inputs: GatewayInputs) -> Iterator[tuple[Configuration, str]]:
    for virtual in inputs.virtual_services:
        name = bound_to(virtual, server.gateway)
        if name is None:
            continue
        hosts = (
            resolve_host(host, virtual.namespace, inputs.mesh) for host in virtual.spec.get("hosts") or ()
        )
        if any(server.common_hosts(virtual, host) for host in hosts):
            yield virtual, name


def _translation(server: Server, gateway_name: str, inputs: GatewayInputs) -> Translation:
    return Translation(
        mesh=inputs.mesh,
        service=None,
        port=server.number,
        gateway=gateway_name,
        client=Client(inputs.proxy.namespace, inputs.proxy.labels),
        services=inputs.hosts,
        addresses=[inputs.proxy.address],
        rules=inputs.rules,
    )

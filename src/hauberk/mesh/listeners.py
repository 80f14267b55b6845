"""Outbound listeners: one for each service port, at the service's own address; and the one that catches all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from google.protobuf import duration_pb2, struct_pb2

from hauberk.mesh import filters
from hauberk.mesh.addresses import everywhere, socket_address
from hauberk.mesh.clusters import BLACK_HOLE, alpn
from hauberk.mesh.protocol import Protocol
from hauberk.mesh.registry import ServicePort, ServiceView
from hauberk.mesh.routes import route_name
from hauberk.mesh.tcp_routes import TcpRoute
from hauberk.mesh.telemetry import Observation

OUTBOUND_PORT = 15001
NO_POLICY = "0" * 16
"""The revision of an empty set of policies."""

DETECTION_SECONDS = 0.1


def outbound_listeners(
    view: ServiceView,
    port: ServicePort,
    tcp_routes: Sequence[TcpRoute],
    *,
    cors: bool,
    observation: Observation,
    revision: str = NO_POLICY,
) -> Iterator[listener_pb2.Listener]:
    """The listeners of a service port: one at its address, or one at each pod of a headless service."""
    for address, number in _addresses(view, port):
        name = f"{address}_{number}"
        listener = listener_pb2.Listener(
            name=name,
            address=socket_address(address, number),
            bind_to_port={"value": False},
            traffic_direction="OUTBOUND",
            metadata={"filter_metadata": {"hauberk.io": metadata(revision, view.service.host)}},
        )
        _chains(listener, view, port, tcp_routes, observation, cors=cors)
        yield listener


def virtual_outbound(observation: Observation, *, ipv6: bool = False) -> listener_pb2.Listener:
    """Takes every connection that the pod opens, and refuses what no other listener is addressed at."""
    listener = listener_pb2.Listener(
        name="virtualOutbound",
        transparent={"value": True},
        use_original_dst={"value": True},
        traffic_direction="OUTBOUND",
        metadata={"filter_metadata": {"hauberk.io": metadata(NO_POLICY, "")}},
    )
    everywhere(listener, OUTBOUND_PORT, ipv6=ipv6)
    listener.default_filter_chain.name = BLACK_HOLE
    listener.default_filter_chain.filters.append(filters.tcp_proxy(BLACK_HOLE, BLACK_HOLE, observation))
    return listener


def metadata(revision: str, service: str) -> struct_pb2.Struct:
    """What call records need to know of a listener."""
    return struct_pb2.Struct(
        fields={
            "policy_revision": struct_pb2.Value(string_value=revision),
            "service": struct_pb2.Value(string_value=service),
        }
    )


def detect(listener: listener_pb2.Listener) -> None:
    """Look at what the client sends first, but never wait for it longer than a moment."""
    listener.listener_filters_timeout.CopyFrom(duration_pb2.Duration(nanos=int(DETECTION_SECONDS * 1e9)))
    listener.continue_on_listener_filters_timeout = True


def _addresses(view: ServiceView, port: ServicePort) -> Iterator[tuple[str, int]]:
    own = view.addresses
    if not view.service.headless:
        for address in own:
            yield address, port.number
        return
    pods = frozenset(own)
    numbers = ((one.address, one.port(port.name)) for one in view.endpoints if one.address in pods)
    for address, number in dict.fromkeys(numbers):
        if number is not None:
            yield address, number


def _chains(
    listener: listener_pb2.Listener,
    view: ServiceView,
    port: ServicePort,
    tcp_routes: Sequence[TcpRoute],
    observation: Observation,
    *,
    cors: bool,
) -> None:
    name = route_name(view.service.host, port.number)
    http_filters = [filters.fault(), *([filters.cors()] if cors else [])]

    def http() -> listener_components_pb2.Filter:
        return filters.http_connection_manager(
            name, route_config_name=name, http_filters=http_filters, observation=observation
        )

    if port.protocol.is_http:
        listener.default_filter_chain.name = name
        listener.default_filter_chain.filters.append(http())
        return
    detected = port.protocol is Protocol.DETECT
    if detected:
        listener.listener_filters.append(filters.http_inspector())
        for protocols, http2 in (("http/1.0", "http/1.1"), False), (("h2c",), True):
            offered = filters.application_protocols(alpn(Protocol.HTTP, http2=http2))
            listener.filter_chains.add(
                name=f"{name}-{'http2' if http2 else 'http1'}",
                filter_chain_match={"application_protocols": protocols},
                filters=[offered, http()],
            )
    by_sni = [route for route in tcp_routes if route.server_names]
    for index, route in enumerate(by_sni):
        listener.filter_chains.add(
            name=f"{name}-sni-{index}",
            filter_chain_match={"server_names": route.server_names, "transport_protocol": "tls"},
            filters=[filters.routed_tcp_proxy(name, route, observation)],
        )
    if by_sni:
        listener.listener_filters.insert(0, filters.tls_inspector())
    if detected or by_sni:
        detect(listener)
    plain = next(route for route in tcp_routes if not route.server_names)
    listener.default_filter_chain.name = f"{name}-tcp" if detected else name
    if detected:
        listener.default_filter_chain.filters.append(
            filters.application_protocols(alpn(Protocol.TCP, http2=False))
        )
    listener.default_filter_chain.filters.append(filters.routed_tcp_proxy(name, plain, observation))

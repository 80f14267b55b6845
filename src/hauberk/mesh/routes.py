"""Route configurations: one for each HTTP port of a service, named `HOST:PORT`."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from google.protobuf import duration_pb2

from hauberk.mesh.clusters import outbound_name
from hauberk.mesh.registry import Mesh, Service, ServicePort
from hauberk.mesh.tls import packed

_DRAWS = 5
RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled"
"""What Istio retries unless told otherwise: only what was surely not processed."""


def route_name(host: str, port: int) -> str:
    """`HOST:PORT`."""
    return f"{host}:{port}"


def service_routes(
    service: Service, port: ServicePort, routes: Sequence[route_components_pb2.Route]
) -> route_pb2.RouteConfiguration:
    """The route configuration of a service port. Whatever name the client called it by, it meant this service."""
    return route_pb2.RouteConfiguration(
        name=route_name(service.host, port.number),
        virtual_hosts=[
            route_components_pb2.VirtualHost(
                name=route_name(service.host, port.number),
                domains=["*"],
                routes=routes,
                include_request_attempt_count=True,
            )
        ],
        validate_clusters={"value": False},
        max_direct_response_body_size_bytes={"value": 1_048_576},
        ignore_port_in_host_matching=True,
    )


def default_route(service: Service, port: ServicePort) -> route_components_pb2.Route:
    """To the service itself, when no VirtualService says more."""
    return route_components_pb2.Route(
        name="default",
        match=route_components_pb2.RouteMatch(prefix="/"),
        route=route_components_pb2.RouteAction(
            cluster=outbound_name(service.host, port.number),
            timeout=duration_pb2.Duration(),
            retry_policy=default_retry_policy(),
        ),
    )


def default_retry_policy() -> route_components_pb2.RetryPolicy:
    policy = route_components_pb2.RetryPolicy(num_retries={"value": 2}, retry_on=RETRY_ON)
    avoid_previous_hosts(policy)
    return policy


def avoid_previous_hosts(policy: route_components_pb2.RetryPolicy) -> None:
    """Another attempt goes to another host, if one is found in a few draws."""
    policy.retry_host_predicate.add(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
    )
    policy.host_selection_retry_max_attempts = _DRAWS


def service_domains(service: Service, mesh: Mesh) -> list[str]:
    """The names by which a service can be called."""
    return [service.host, f"{service.name}.{service.namespace}.svc", f"{service.name}.{service.namespace}"]

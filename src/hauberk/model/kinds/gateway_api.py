"""Kinds of the Gateway API. `v1` is stored; the older versions are served with the same content."""

from collections.abc import Sequence

from hauberk.model.admission import gateway_api as rules
from hauberk.model.defaults import gateway_api as defaults
from hauberk.model.gateway_api.gateway import Gateway, GatewayClass
from hauberk.model.gateway_api.reference import ReferenceGrant
from hauberk.model.gateway_api.route import GRPCRoute, HTTPRoute, TCPRoute, TLSRoute
from hauberk.model.kind import Column, Kind
from hauberk.model.kinds import columns
from hauberk.model.kinds.definition import Admit, Default, T, admit_all, column, computed, define, no_default

GROUP = "gateway.networking.k8s.io"
_HOSTNAMES = column("Hostnames", "spec.hostnames")


def _served(
    type_: type[T],
    plural: str,
    older: tuple[str, ...],
    printed: Sequence[Column] = (),
    *,
    admit: Admit[T] = admit_all,
    default: Default = no_default,
    short_names: tuple[str, ...] = (),
    namespaced: bool = True,
    subresources: tuple[str, ...] = ("status",),
) -> tuple[Kind, ...]:
    return tuple(
        define(
            type_,
            GROUP,
            version,
            plural,
            namespaced=namespaced,
            short_names=short_names,
            categories=("gateway-api",),
            subresources=subresources,
            columns=printed,
            admit=admit,
            default=default,
            storage_version="" if version == "v1" else "v1",
        )
        for version in ("v1", *older)
    )


_GATEWAY_CLASSES = _served(
    GatewayClass,
    "gatewayclasses",
    ("v1beta1",),
    [
        column("Controller", "spec.controllerName"),
        computed("Accepted", columns.condition_reader("Accepted")),
        column("Description", "spec.description", wide=True),
    ],
    short_names=("gc",),
    namespaced=False,
)
_GATEWAYS = _served(
    Gateway,
    "gateways",
    ("v1beta1",),
    [
        column("Class", "spec.gatewayClassName"),
        computed(
            "Address",
            lambda obj: ",".join(
                item.get("value", "") for item in (obj.get("status") or {}).get("addresses") or []
            ),
        ),
        computed("Programmed", columns.condition_reader("Programmed")),
    ],
    short_names=("gtw",),
    admit=rules.admit_gateway,
    default=defaults.default_gateway,
)
_HTTP_ROUTES = _served(
    HTTPRoute,
    "httproutes",
    ("v1beta1",),
    [_HOSTNAMES],
    admit=rules.admit_http_route,
    default=defaults.default_http_route,
)
_GRPC_ROUTES = _served(
    GRPCRoute, "grpcroutes", (), [_HOSTNAMES], admit=rules.admit_grpc_route, default=defaults.default_route
)
_TLS_ROUTES = _served(
    TLSRoute,
    "tlsroutes",
    ("v1alpha3", "v1alpha2"),
    [_HOSTNAMES],
    admit=rules.admit_l4_route,
    default=defaults.default_route,
)
_TCP_ROUTES = _served(
    TCPRoute, "tcproutes", ("v1alpha2",), admit=rules.admit_l4_route, default=defaults.default_route
)
_REFERENCE_GRANTS = _served(
    ReferenceGrant,
    "referencegrants",
    ("v1beta1",),
    short_names=("refgrant",),
    subresources=(),
    admit=rules.admit_reference_grant,
)

GATEWAY_CLASS = _GATEWAY_CLASSES[0]
GATEWAY = _GATEWAYS[0]
HTTP_ROUTE = _HTTP_ROUTES[0]
GRPC_ROUTE = _GRPC_ROUTES[0]
TLS_ROUTE = _TLS_ROUTES[0]
TCP_ROUTE = _TCP_ROUTES[0]
REFERENCE_GRANT = _REFERENCE_GRANTS[0]

KINDS = (
    *_GATEWAY_CLASSES,
    *_GATEWAYS,
    *_HTTP_ROUTES,
    *_GRPC_ROUTES,
    *_TLS_ROUTES,
    *_TCP_ROUTES,
    *_REFERENCE_GRANTS,
)

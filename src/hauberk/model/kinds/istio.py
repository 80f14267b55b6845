"""Kinds of Istio. `v1` is stored; the older versions are served with the same content."""

from collections.abc import Sequence

import msgspec

from hauberk.model.istio.destination import DestinationRule
from hauberk.model.istio.gateway import Gateway
from hauberk.model.istio.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication
from hauberk.model.istio.service_entry import ServiceEntry, WorkloadEntry
from hauberk.model.istio.sidecar import Sidecar
from hauberk.model.istio.virtual_service import VirtualService
from hauberk.model.kind import Column, Kind
from hauberk.model.kinds.definition import column, define

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"
_VERSIONS = {NETWORKING: ("v1", "v1beta1", "v1alpha3"), SECURITY: ("v1", "v1beta1")}


def _networking(
    type_: type[msgspec.Struct], plural: str, short_name: str, columns: Sequence[Column] = ()
) -> tuple[Kind, ...]:
    return _served(type_, NETWORKING, plural, short_name, columns)


def _security(
    type_: type[msgspec.Struct], plural: str, short_name: str, columns: Sequence[Column] = ()
) -> tuple[Kind, ...]:
    return _served(type_, SECURITY, plural, short_name, columns)


def _served(
    type_: type[msgspec.Struct],
    group: str,
    plural: str,
    short_name: str,
    columns: Sequence[Column],
) -> tuple[Kind, ...]:
    return tuple(
        define(
            type_,
            group,
            version,
            plural,
            short_names=(short_name,) if short_name else (),
            categories=("istio-io", f"{group.split('.', maxsplit=1)[0]}-istio-io"),
            subresources=("status",),
            columns=columns,
            storage_version="" if version == "v1" else "v1",
        )
        for version in _VERSIONS[group]
    )


_GATEWAYS = _networking(Gateway, "gateways", "gw")
_VIRTUAL_SERVICES = _networking(
    VirtualService,
    "virtualservices",
    "vs",
    [column("Gateways", "spec.gateways"), column("Hosts", "spec.hosts")],
)
_DESTINATION_RULES = _networking(DestinationRule, "destinationrules", "dr", [column("Host", "spec.host")])
_SERVICE_ENTRIES = _networking(
    ServiceEntry,
    "serviceentries",
    "se",
    [
        column("Hosts", "spec.hosts"),
        column("Location", "spec.location"),
        column("Resolution", "spec.resolution"),
    ],
)
_WORKLOAD_ENTRIES = _networking(WorkloadEntry, "workloadentries", "we", [column("Address", "spec.address")])
_SIDECARS = _networking(Sidecar, "sidecars", "")
_AUTHORIZATION_POLICIES = _security(
    AuthorizationPolicy, "authorizationpolicies", "ap", [column("Action", "spec.action")]
)
_PEER_AUTHENTICATIONS = _security(
    PeerAuthentication, "peerauthentications", "pa", [column("Mode", "spec.mtls.mode")]
)
_REQUEST_AUTHENTICATIONS = _security(RequestAuthentication, "requestauthentications", "ra")

ISTIO_GATEWAY = _GATEWAYS[0]
VIRTUAL_SERVICE = _VIRTUAL_SERVICES[0]
DESTINATION_RULE = _DESTINATION_RULES[0]
SERVICE_ENTRY = _SERVICE_ENTRIES[0]
WORKLOAD_ENTRY = _WORKLOAD_ENTRIES[0]
SIDECAR = _SIDECARS[0]
AUTHORIZATION_POLICY = _AUTHORIZATION_POLICIES[0]
PEER_AUTHENTICATION = _PEER_AUTHENTICATIONS[0]
REQUEST_AUTHENTICATION = _REQUEST_AUTHENTICATIONS[0]

KINDS = (
    *_GATEWAYS,
    *_VIRTUAL_SERVICES,
    *_DESTINATION_RULES,
    *_SERVICE_ENTRIES,
    *_WORKLOAD_ENTRIES,
    *_SIDECARS,
    *_AUTHORIZATION_POLICIES,
    *_PEER_AUTHENTICATIONS,
    *_REQUEST_AUTHENTICATIONS,
)

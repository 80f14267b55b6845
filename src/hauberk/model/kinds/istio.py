"""Kinds of Istio. `v1` is stored; the older versions are served with the same content."""

from collections.abc import Sequence

from hauberk.model.admission import istio_networking as networking
from hauberk.model.admission import istio_security as security
from hauberk.model.admission.istio_telemetry import admit_telemetry
from hauberk.model.istio.destination import DestinationRule
from hauberk.model.istio.gateway import Gateway
from hauberk.model.istio.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication
from hauberk.model.istio.service_entry import ServiceEntry, WorkloadEntry
from hauberk.model.istio.sidecar import Sidecar
from hauberk.model.istio.telemetry import Telemetry
from hauberk.model.istio.virtual_service import VirtualService
from hauberk.model.kind import Column, Kind
from hauberk.model.kinds.definition import Admit, T, column, define

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"
TELEMETRY_GROUP = "telemetry.istio.io"
_VERSIONS = {
    NETWORKING: ("v1", "v1beta1", "v1alpha3"),
    SECURITY: ("v1", "v1beta1"),
    TELEMETRY_GROUP: ("v1", "v1alpha1"),
}


def _served(
    type_: type[T],
    group: str,
    plural: str,
    short_name: str,
    *,
    admit: Admit[T],
    columns: Sequence[Column] = (),
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
            admit=admit,
            storage_version="" if version == "v1" else "v1",
        )
        for version in _VERSIONS[group]
    )


_GATEWAYS = _served(Gateway, NETWORKING, "gateways", "gw", admit=networking.admit_gateway)
_VIRTUAL_SERVICES = _served(
    VirtualService,
    NETWORKING,
    "virtualservices",
    "vs",
    admit=networking.admit_virtual_service,
    columns=[column("Gateways", "spec.gateways"), column("Hosts", "spec.hosts")],
)
_DESTINATION_RULES = _served(
    DestinationRule,
    NETWORKING,
    "destinationrules",
    "dr",
    admit=networking.admit_destination_rule,
    columns=[column("Host", "spec.host")],
)
_SERVICE_ENTRIES = _served(
    ServiceEntry,
    NETWORKING,
    "serviceentries",
    "se",
    admit=networking.admit_service_entry,
    columns=[
        column("Hosts", "spec.hosts"),
        column("Location", "spec.location"),
        column("Resolution", "spec.resolution"),
    ],
)
_WORKLOAD_ENTRIES = _served(
    WorkloadEntry,
    NETWORKING,
    "workloadentries",
    "we",
    admit=networking.admit_workload_entry,
    columns=[column("Address", "spec.address")],
)
_SIDECARS = _served(Sidecar, NETWORKING, "sidecars", "", admit=networking.admit_sidecar)
_AUTHORIZATION_POLICIES = _served(
    AuthorizationPolicy,
    SECURITY,
    "authorizationpolicies",
    "ap",
    admit=security.admit_authorization_policy,
    columns=[column("Action", "spec.action")],
)
_PEER_AUTHENTICATIONS = _served(
    PeerAuthentication,
    SECURITY,
    "peerauthentications",
    "pa",
    admit=security.admit_peer_authentication,
    columns=[column("Mode", "spec.mtls.mode")],
)
_REQUEST_AUTHENTICATIONS = _served(
    RequestAuthentication,
    SECURITY,
    "requestauthentications",
    "ra",
    admit=security.admit_request_authentication,
)
_TELEMETRIES = _served(Telemetry, TELEMETRY_GROUP, "telemetries", "", admit=admit_telemetry)

ISTIO_GATEWAY = _GATEWAYS[0]
VIRTUAL_SERVICE = _VIRTUAL_SERVICES[0]
DESTINATION_RULE = _DESTINATION_RULES[0]
SERVICE_ENTRY = _SERVICE_ENTRIES[0]
WORKLOAD_ENTRY = _WORKLOAD_ENTRIES[0]
SIDECAR = _SIDECARS[0]
AUTHORIZATION_POLICY = _AUTHORIZATION_POLICIES[0]
PEER_AUTHENTICATION = _PEER_AUTHENTICATIONS[0]
REQUEST_AUTHENTICATION = _REQUEST_AUTHENTICATIONS[0]
TELEMETRY = _TELEMETRIES[0]

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
    *_TELEMETRIES,
)

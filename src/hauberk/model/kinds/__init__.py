"""All kinds that the API serves, and how to find them."""

from hauberk.model.kind import Kind
from hauberk.model.kinds import core, gateway_api, hauberk, infrastructure, istio, workloads
from hauberk.model.kinds.core import (
    CONFIG_MAP,
    EVENT,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
)
from hauberk.model.kinds.gateway_api import (
    GATEWAY,
    GATEWAY_CLASS,
    GRPC_ROUTE,
    HTTP_ROUTE,
    REFERENCE_GRANT,
    TCP_ROUTE,
    TLS_ROUTE,
)
from hauberk.model.kinds.hauberk import EXTERNAL_PROCESSOR, MESH_CONFIG, RATE_LIMIT
from hauberk.model.kinds.infrastructure import (
    CERTIFICATE_SIGNING_REQUEST,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CUSTOM_RESOURCE_DEFINITION,
    ENDPOINT_SLICE,
    LEASE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    ROLE,
    ROLE_BINDING,
    STORAGE_CLASS,
)
from hauberk.model.kinds.istio import (
    AUTHORIZATION_POLICY,
    DESTINATION_RULE,
    ISTIO_GATEWAY,
    PEER_AUTHENTICATION,
    REQUEST_AUTHENTICATION,
    SERVICE_ENTRY,
    SIDECAR,
    TELEMETRY,
    VIRTUAL_SERVICE,
    WORKLOAD_ENTRY,
)
from hauberk.model.kinds.workloads import CONTROLLER_REVISION, DEPLOYMENT, JOB, REPLICA_SET, STATEFUL_SET

ALL: tuple[Kind, ...] = (
    *core.KINDS,
    *workloads.KINDS,
    *infrastructure.KINDS,
    *istio.KINDS,
    *gateway_api.KINDS,
    *hauberk.KINDS,
)
"""Every built-in kind in every version; the version that is stored comes first among those of a kind."""

_BY_GVK = {(kind.api_version, kind.name): kind for kind in ALL}


def by_gvk(api_version: str, name: str) -> Kind | None:
    """The kind as an object names itself: `by_gvk("apps/v1", "Deployment")`."""
    return _BY_GVK.get((api_version, name))


def find(name: str, group: str | None = None) -> Kind | None:
    """The first kind of that name, of `group` if given: `Gateway` is one of Istio's and of the Gateway API."""
    return next((kind for kind in ALL if kind.name == name and group in {None, kind.group}), None)


def find_resource(group: str, plural: str, version: str = "") -> Kind | None:
    """The kind as a URL names it; the stored version if none is given."""
    return next(
        (
            kind
            for kind in ALL
            if (kind.group, kind.plural) == (group, plural) and version in {"", kind.version}
        ),
        None,
    )


def by_name(word: str) -> list[Kind]:
    """Kinds that `kubectl get WORD` may mean: plural, singular or short name, with `.GROUP` if need be."""
    word, _, group = word.lower().partition(".")
    return [
        kind
        for kind in ALL
        if not kind.storage_version
        and word in {kind.plural, kind.singular, *kind.short_names}
        and (not group or group in {kind.group, f"{kind.version}.{kind.group}"})
    ]


__all__ = [
    "ALL",
    "AUTHORIZATION_POLICY",
    "CERTIFICATE_SIGNING_REQUEST",
    "CLUSTER_ROLE",
    "CLUSTER_ROLE_BINDING",
    "CONFIG_MAP",
    "CONTROLLER_REVISION",
    "CUSTOM_RESOURCE_DEFINITION",
    "DEPLOYMENT",
    "DESTINATION_RULE",
    "ENDPOINT_SLICE",
    "EVENT",
    "EXTERNAL_PROCESSOR",
    "GATEWAY",
    "GATEWAY_CLASS",
    "GRPC_ROUTE",
    "HTTP_ROUTE",
    "ISTIO_GATEWAY",
    "JOB",
    "LEASE",
    "MESH_CONFIG",
    "NAMESPACE",
    "NETWORK_POLICY",
    "NODE",
    "PEER_AUTHENTICATION",
    "PERSISTENT_VOLUME",
    "PERSISTENT_VOLUME_CLAIM",
    "POD",
    "POD_DISRUPTION_BUDGET",
    "RATE_LIMIT",
    "REFERENCE_GRANT",
    "REPLICA_SET",
    "REQUEST_AUTHENTICATION",
    "ROLE",
    "ROLE_BINDING",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "SERVICE_ENTRY",
    "SIDECAR",
    "STATEFUL_SET",
    "STORAGE_CLASS",
    "TCP_ROUTE",
    "TELEMETRY",
    "TLS_ROUTE",
    "VIRTUAL_SERVICE",
    "WORKLOAD_ENTRY",
    "by_gvk",
    "by_name",
    "find",
    "find_resource",
]

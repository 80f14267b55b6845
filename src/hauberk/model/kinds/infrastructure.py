"""Kinds by which the API and its controllers work: endpoints, roles, leases, certificates, definitions, storage."""

from hauberk.model.admission import core as rules
from hauberk.model.admission.networking import admit_network_policy
from hauberk.model.admission.syntax import path_segment
from hauberk.model.defaults import core
from hauberk.model.kinds import columns
from hauberk.model.kinds.definition import column, computed, define
from hauberk.model.kubernetes.apiextensions import CustomResourceDefinition
from hauberk.model.kubernetes.certificates import CertificateSigningRequest
from hauberk.model.kubernetes.coordination import Lease
from hauberk.model.kubernetes.discovery import EndpointSlice
from hauberk.model.kubernetes.networking import NetworkPolicy
from hauberk.model.kubernetes.policy import PodDisruptionBudget
from hauberk.model.kubernetes.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from hauberk.model.kubernetes.storage import StorageClass

_RBAC = "rbac.authorization.k8s.io"
_CREATED = column("Created At", "metadata.creationTimestamp")
_SUBJECTS = tuple(
    computed(f"{kind}s", columns.binding_subjects(kind), wide=True)
    for kind in ("User", "Group", "ServiceAccount")
)

ENDPOINT_SLICE = define(
    EndpointSlice,
    "discovery.k8s.io",
    "v1",
    "endpointslices",
    columns=[
        column("AddressType", "addressType"),
        computed("Ports", columns.slice_ports),
        computed("Endpoints", columns.slice_addresses),
    ],
    admit=rules.admit_endpoint_slice,
    default=core.default_endpoint_slice,
)

ROLE = define(Role, _RBAC, "v1", "roles", columns=[_CREATED], name_rule=path_segment, admit=rules.admit_role)
CLUSTER_ROLE = define(
    ClusterRole,
    _RBAC,
    "v1",
    "clusterroles",
    namespaced=False,
    columns=[_CREATED],
    name_rule=path_segment,
    admit=rules.admit_role,
)

ROLE_BINDING = define(
    RoleBinding,
    _RBAC,
    "v1",
    "rolebindings",
    columns=[computed("Role", columns.role_reference), *_SUBJECTS],
    name_rule=path_segment,
    admit=rules.admit_binding,
    default=core.default_binding,
)

CLUSTER_ROLE_BINDING = define(
    ClusterRoleBinding,
    _RBAC,
    "v1",
    "clusterrolebindings",
    namespaced=False,
    columns=[computed("Role", columns.role_reference), *_SUBJECTS],
    name_rule=path_segment,
    admit=rules.admit_binding,
    default=core.default_binding,
)

LEASE = define(
    Lease, "coordination.k8s.io", "v1", "leases", columns=[column("Holder", "spec.holderIdentity")]
)

CERTIFICATE_SIGNING_REQUEST = define(
    CertificateSigningRequest,
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    namespaced=False,
    short_names=("csr",),
    subresources=("status", "approval"),
    columns=[
        column("SignerName", "spec.signerName"),
        column("Requestor", "spec.username"),
        column("RequestedDuration", "spec.expirationSeconds", type="integer"),
        computed("Condition", columns.request_condition),
    ],
    selectable_fields=("spec.signerName",),
    admit=rules.admit_signing_request,
)

CUSTOM_RESOURCE_DEFINITION = define(
    CustomResourceDefinition,
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=("status",),
    columns=[_CREATED],
    admit=rules.admit_definition,
    default=core.default_definition,
)

STORAGE_CLASS = define(
    StorageClass,
    "storage.k8s.io",
    "v1",
    "storageclasses",
    namespaced=False,
    short_names=("sc",),
    columns=[
        column("Provisioner", "provisioner"),
        column("ReclaimPolicy", "reclaimPolicy"),
        column("VolumeBindingMode", "volumeBindingMode"),
        column("AllowVolumeExpansion", "allowVolumeExpansion", type="boolean"),
    ],
    default=core.default_storage_class,
)

POD_DISRUPTION_BUDGET = define(
    PodDisruptionBudget,
    "policy",
    "v1",
    "poddisruptionbudgets",
    short_names=("pdb",),
    subresources=("status",),
    columns=[
        column("Min Available", "spec.minAvailable"),
        column("Max Unavailable", "spec.maxUnavailable"),
        column("Allowed Disruptions", "status.disruptionsAllowed", type="integer"),
    ],
)

NETWORK_POLICY = define(
    NetworkPolicy,
    "networking.k8s.io",
    "v1",
    "networkpolicies",
    short_names=("netpol",),
    columns=[column("Pod-Selector", "spec.podSelector.matchLabels")],
    admit=admit_network_policy,
    default=core.default_network_policy,
)

KINDS = (
    ENDPOINT_SLICE,
    ROLE,
    CLUSTER_ROLE,
    ROLE_BINDING,
    CLUSTER_ROLE_BINDING,
    LEASE,
    CERTIFICATE_SIGNING_REQUEST,
    CUSTOM_RESOURCE_DEFINITION,
    STORAGE_CLASS,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
)

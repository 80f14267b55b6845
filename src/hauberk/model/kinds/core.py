"""Kinds of the core group."""

from hauberk.model.admission import core as rules
from hauberk.model.admission.pod import admit_pod
from hauberk.model.admission.syntax import dns_label, dns_label_1035
from hauberk.model.defaults import core
from hauberk.model.defaults.pod import default_pod
from hauberk.model.kinds import columns
from hauberk.model.kinds.definition import column, computed, define
from hauberk.model.kubernetes.configuration import ConfigMap, Secret, ServiceAccount
from hauberk.model.kubernetes.event import Event
from hauberk.model.kubernetes.namespace import Namespace
from hauberk.model.kubernetes.node import Node
from hauberk.model.kubernetes.persistent_volume import PersistentVolume
from hauberk.model.kubernetes.pod import Pod
from hauberk.model.kubernetes.service import Service
from hauberk.model.kubernetes.volume_claim import PersistentVolumeClaim

NAMESPACE = define(
    Namespace,
    "",
    "v1",
    "namespaces",
    namespaced=False,
    short_names=("ns",),
    subresources=("status", "finalize"),
    columns=[column("Status", "status.phase")],
    selectable_fields=("status.phase",),
    name_rule=dns_label,
    default=core.default_namespace,
)

NODE = define(
    Node,
    "",
    "v1",
    "nodes",
    namespaced=False,
    short_names=("no",),
    subresources=("status", "proxy"),
    columns=[
        computed("Status", columns.node_status),
        computed("Roles", columns.node_roles),
        column("Version", "status.nodeInfo.kubeletVersion"),
        computed("Internal-IP", columns.node_address("InternalIP"), wide=True),
        computed("External-IP", columns.node_address("ExternalIP"), wide=True),
        column("OS-Image", "status.nodeInfo.osImage", wide=True),
        column("Kernel-Version", "status.nodeInfo.kernelVersion", wide=True),
        column("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", wide=True),
    ],
    selectable_fields=("spec.unschedulable",),
)

POD = define(
    Pod,
    "",
    "v1",
    "pods",
    short_names=("po",),
    categories=("all",),
    subresources=(
        "status",
        "log",
        "exec",
        "binding",
        "eviction",
        "attach",
        "portforward",
        "ephemeralcontainers",
    ),
    columns=[
        computed("Ready", columns.pod_ready, description="Containers that are ready, of all."),
        computed("Status", columns.pod_status),
        computed("Restarts", columns.pod_restarts, type="integer"),
        computed("IP", lambda pod: (pod.get("status") or {}).get("podIP") or columns.NONE, wide=True),
        computed("Node", lambda pod: (pod.get("spec") or {}).get("nodeName") or columns.NONE, wide=True),
        computed(
            "Nominated Node",
            lambda pod: (pod.get("status") or {}).get("nominatedNodeName") or columns.NONE,
            wide=True,
        ),
    ],
    selectable_fields=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    admit=admit_pod,
    default=default_pod,
)

SERVICE = define(
    Service,
    "",
    "v1",
    "services",
    short_names=("svc",),
    categories=("all",),
    subresources=("status",),
    columns=[
        column("Type", "spec.type"),
        computed("Cluster-IP", lambda service: service.get("spec", {}).get("clusterIP") or columns.NONE),
        computed("External-IP", columns.service_external_address),
        computed("Port(s)", columns.service_ports),
        computed("Selector", columns.service_selector, wide=True),
    ],
    selectable_fields=("spec.clusterIP", "spec.type"),
    name_rule=dns_label_1035,
    admit=rules.admit_service,
    default=core.default_service,
)

CONFIG_MAP = define(
    ConfigMap,
    "",
    "v1",
    "configmaps",
    short_names=("cm",),
    columns=[computed("Data", columns.data_count, type="integer")],
    admit=rules.admit_config_map,
)

SECRET = define(
    Secret,
    "",
    "v1",
    "secrets",
    columns=[column("Type", "type"), computed("Data", columns.data_count, type="integer")],
    selectable_fields=("type",),
    sensitive=True,
    admit=rules.admit_secret,
    default=core.default_secret,
)

SERVICE_ACCOUNT = define(
    ServiceAccount,
    "",
    "v1",
    "serviceaccounts",
    short_names=("sa",),
    subresources=("token",),
    columns=[computed("Secrets", lambda account: len(account.get("secrets") or []), type="integer")],
)

PERSISTENT_VOLUME_CLAIM = define(
    PersistentVolumeClaim,
    "",
    "v1",
    "persistentvolumeclaims",
    short_names=("pvc",),
    subresources=("status",),
    columns=[
        column("Status", "status.phase"),
        column("Volume", "spec.volumeName"),
        column("Capacity", "status.capacity.storage"),
        computed("Access Modes", columns.claim_access_modes),
        column("StorageClass", "spec.storageClassName"),
        column("VolumeMode", "spec.volumeMode", wide=True),
    ],
    admit=rules.admit_claim,
    default=core.default_claim,
)

PERSISTENT_VOLUME = define(
    PersistentVolume,
    "",
    "v1",
    "persistentvolumes",
    namespaced=False,
    short_names=("pv",),
    subresources=("status",),
    columns=[
        column("Capacity", "spec.capacity.storage"),
        computed("Access Modes", columns.claim_access_modes),
        column("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
        column("Status", "status.phase"),
        computed("Claim", columns.volume_claim),
        column("StorageClass", "spec.storageClassName"),
        column("Reason", "status.reason"),
        column("VolumeMode", "spec.volumeMode", wide=True),
    ],
    default=core.default_volume,
)

EVENT = define(
    Event,
    "",
    "v1",
    "events",
    short_names=("ev",),
    columns=[
        computed("Last Seen", columns.event_last_seen, type="date"),
        column("Type", "type"),
        column("Reason", "reason"),
        computed("Object", columns.event_object),
        computed("Source", columns.event_source, wide=True),
        column("Message", "message"),
        computed("First Seen", columns.event_first_seen, type="date", wide=True),
        column("Count", "count", type="integer", wide=True),
        column("Name", "metadata.name", wide=True),
    ],
    only_these_columns=True,
    selectable_fields=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
)

KINDS = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    EVENT,
)

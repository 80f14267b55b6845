"""PersistentVolume: storage that a claim can be bound to."""

from typing import Annotated, Literal

from msgspec import field

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.kubernetes.reference import ObjectReference, SecretReference
from hauberk.model.kubernetes.scheduling import NodeSelector
from hauberk.model.kubernetes.volume import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    FCVolumeSource,
    FlockerVolumeSource,
    GCEPersistentDiskVolumeSource,
    HostPathVolumeSource,
    NFSVolumeSource,
    PhotonPersistentDiskVolumeSource,
    PortworxVolumeSource,
    QuobyteVolumeSource,
    VsphereVirtualDiskVolumeSource,
)
from hauberk.model.struct import KubernetesStruct, Quantity, Time, doc


class AzureFilePersistentVolumeSource(KubernetesStruct, frozen=True):
    secret_name: str
    share_name: str
    read_only: bool | None = None
    secret_namespace: str | None = None


class CephFSPersistentVolumeSource(KubernetesStruct, frozen=True):
    monitors: tuple[str, ...]
    path: str | None = None
    read_only: bool | None = None
    secret_file: str | None = None
    secret_ref: SecretReference | None = None
    user: str | None = None


class CinderPersistentVolumeSource(KubernetesStruct, frozen=True):
    volume_id: str
    fs_type: str | None = None
    read_only: bool | None = None
    secret_ref: SecretReference | None = None


class CSIPersistentVolumeSource(KubernetesStruct, frozen=True):
    driver: str
    volume_handle: str
    controller_expand_secret_ref: SecretReference | None = None
    controller_publish_secret_ref: SecretReference | None = None
    fs_type: str | None = None
    node_expand_secret_ref: SecretReference | None = None
    node_publish_secret_ref: SecretReference | None = None
    node_stage_secret_ref: SecretReference | None = None
    read_only: bool | None = None
    volume_attributes: dict[str, str] = field(default_factory=dict)


class FlexPersistentVolumeSource(KubernetesStruct, frozen=True):
    driver: str
    fs_type: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    read_only: bool | None = None
    secret_ref: SecretReference | None = None


class GlusterfsPersistentVolumeSource(KubernetesStruct, frozen=True):
    endpoints: str
    path: str
    endpoints_namespace: str | None = None
    read_only: bool | None = None


class ISCSIPersistentVolumeSource(KubernetesStruct, frozen=True):
    iqn: str
    lun: int
    target_portal: str
    chap_auth_discovery: bool | None = None
    chap_auth_session: bool | None = None
    fs_type: str | None = None
    initiator_name: str | None = None
    iscsi_interface: str | None = None
    portals: tuple[str, ...] = ()
    read_only: bool | None = None
    secret_ref: SecretReference | None = None


class LocalVolumeSource(KubernetesStruct, frozen=True):
    """A directory of one node."""

    path: str
    fs_type: str | None = None


class VolumeNodeAffinity(KubernetesStruct, frozen=True):
    required: NodeSelector | None = None


class RBDPersistentVolumeSource(KubernetesStruct, frozen=True):
    image: str
    monitors: tuple[str, ...]
    fs_type: str | None = None
    keyring: str | None = None
    pool: str | None = None
    read_only: bool | None = None
    secret_ref: SecretReference | None = None
    user: str | None = None


class ScaleIOPersistentVolumeSource(KubernetesStruct, frozen=True):
    gateway: str
    secret_ref: SecretReference
    system: str
    fs_type: str | None = None
    protection_domain: str | None = None
    read_only: bool | None = None
    ssl_enabled: bool | None = None
    storage_mode: str | None = None
    storage_pool: str | None = None
    volume_name: str | None = None


class StorageOSPersistentVolumeSource(KubernetesStruct, frozen=True):
    fs_type: str | None = None
    read_only: bool | None = None
    secret_ref: ObjectReference | None = None
    volume_name: str | None = None
    volume_namespace: str | None = None


class PersistentVolumeSpec(KubernetesStruct, frozen=True):
    """Where a volume's storage is, and who may bind it."""

    access_modes: tuple[
        Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"], ...
    ] = ()
    aws_elastic_block_store: AWSElasticBlockStoreVolumeSource | None = None
    azure_disk: AzureDiskVolumeSource | None = None
    azure_file: AzureFilePersistentVolumeSource | None = None
    capacity: dict[str, Quantity] = field(default_factory=dict)
    cephfs: CephFSPersistentVolumeSource | None = None
    cinder: CinderPersistentVolumeSource | None = None
    claim_ref: ObjectReference | None = None
    csi: CSIPersistentVolumeSource | None = None
    fc: FCVolumeSource | None = None
    flex_volume: FlexPersistentVolumeSource | None = None
    flocker: FlockerVolumeSource | None = None
    gce_persistent_disk: GCEPersistentDiskVolumeSource | None = None
    glusterfs: GlusterfsPersistentVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    iscsi: ISCSIPersistentVolumeSource | None = None
    local: LocalVolumeSource | None = None
    mount_options: tuple[str, ...] = ()
    nfs: NFSVolumeSource | None = None
    node_affinity: VolumeNodeAffinity | None = None
    persistent_volume_reclaim_policy: Literal["Retain", "Delete", "Recycle"] | None = None
    photon_persistent_disk: PhotonPersistentDiskVolumeSource | None = None
    portworx_volume: PortworxVolumeSource | None = None
    quobyte: QuobyteVolumeSource | None = None
    rbd: RBDPersistentVolumeSource | None = None
    scale_io: ScaleIOPersistentVolumeSource | None = field(name="scaleIO", default=None)
    storage_class_name: str | None = None
    storageos: StorageOSPersistentVolumeSource | None = None
    volume_attributes_class_name: str | None = None
    volume_mode: Literal["Filesystem", "Block"] | None = None
    vsphere_volume: VsphereVirtualDiskVolumeSource | None = None


class PersistentVolumeStatus(KubernetesStruct, frozen=True):
    """Whether a volume is free, bound or released."""

    last_phase_transition_time: Time | None = None
    message: str | None = None
    phase: Literal["Pending", "Available", "Bound", "Released", "Failed"] | None = None
    reason: str | None = None


class PersistentVolume(KubernetesStruct, frozen=True):
    """Storage that a claim can be bound to."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[PersistentVolumeSpec | None, doc("What is wanted.")] = None
    status: Annotated[
        PersistentVolumeStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None

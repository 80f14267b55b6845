"""Volumes of a pod, by source."""

from typing import Annotated, Literal

from msgspec import Meta, field

from hauberk.model.kubernetes.meta import LabelSelector
from hauberk.model.kubernetes.reference import LocalObjectReference
from hauberk.model.kubernetes.selector import ObjectFieldSelector, ResourceFieldSelector
from hauberk.model.kubernetes.volume_claim import PersistentVolumeClaimTemplate
from hauberk.model.struct import FileMode, KubernetesStruct, Quantity


class AWSElasticBlockStoreVolumeSource(KubernetesStruct, frozen=True):
    volume_id: str
    fs_type: str | None = None
    partition: int | None = None
    read_only: bool | None = None


class AzureDiskVolumeSource(KubernetesStruct, frozen=True):
    disk_name: str
    disk_uri: str
    caching_mode: str | None = None
    fs_type: str | None = None
    kind: str | None = None
    read_only: bool | None = None


class AzureFileVolumeSource(KubernetesStruct, frozen=True):
    secret_name: str
    share_name: str
    read_only: bool | None = None


class CephFSVolumeSource(KubernetesStruct, frozen=True):
    monitors: tuple[str, ...]
    path: str | None = None
    read_only: bool | None = None
    secret_file: str | None = None
    secret_ref: LocalObjectReference | None = None
    user: str | None = None


class CinderVolumeSource(KubernetesStruct, frozen=True):
    volume_id: str
    fs_type: str | None = None
    read_only: bool | None = None
    secret_ref: LocalObjectReference | None = None


class KeyToPath(KubernetesStruct, frozen=True):
    """A key and the file that it becomes."""

    key: str
    path: str
    mode: FileMode | None = None
    user: int | None = None


class ConfigMapVolumeSource(KubernetesStruct, frozen=True):
    """Files from a ConfigMap."""

    default_mode: FileMode | None = None
    default_user: int | None = None
    items: tuple[KeyToPath, ...] = ()
    name: str | None = None
    optional: bool | None = None


class CSIVolumeSource(KubernetesStruct, frozen=True):
    """A volume of a CSI driver."""

    driver: str
    fs_type: str | None = None
    node_publish_secret_ref: LocalObjectReference | None = None
    read_only: bool | None = None
    volume_attributes: dict[str, str] = field(default_factory=dict)


class DownwardAPIVolumeFile(KubernetesStruct, frozen=True):
    """A file from one field of the pod."""

    path: str
    field_ref: ObjectFieldSelector | None = None
    mode: FileMode | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    user: int | None = None


class DownwardAPIVolumeSource(KubernetesStruct, frozen=True):
    """Files from the pod's own fields."""

    default_mode: FileMode | None = None
    default_user: int | None = None
    items: tuple[DownwardAPIVolumeFile, ...] = ()


class EmptyDirVolumeSource(KubernetesStruct, frozen=True):
    """An empty directory that lives as long as the pod."""

    medium: str | None = None
    mode: FileMode | None = None
    size_limit: Quantity | None = None


class EphemeralVolumeSource(KubernetesStruct, frozen=True):
    """A claim made for this pod alone."""

    volume_claim_template: PersistentVolumeClaimTemplate | None = None


class FCVolumeSource(KubernetesStruct, frozen=True):
    fs_type: str | None = None
    lun: int | None = None
    read_only: bool | None = None
    target_wwns: tuple[str, ...] = field(name="targetWWNs", default=())
    wwids: tuple[str, ...] = ()


class FlexVolumeSource(KubernetesStruct, frozen=True):
    driver: str
    fs_type: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    read_only: bool | None = None
    secret_ref: LocalObjectReference | None = None


class FlockerVolumeSource(KubernetesStruct, frozen=True):
    dataset_name: str | None = None
    dataset_uuid: str | None = None


class GCEPersistentDiskVolumeSource(KubernetesStruct, frozen=True):
    pd_name: str
    fs_type: str | None = None
    partition: int | None = None
    read_only: bool | None = None


class GitRepoVolumeSource(KubernetesStruct, frozen=True):
    repository: str
    directory: str | None = None
    revision: str | None = None


class GlusterfsVolumeSource(KubernetesStruct, frozen=True):
    endpoints: str
    path: str
    read_only: bool | None = None


class HostPathVolumeSource(KubernetesStruct, frozen=True):
    """A path of the node."""

    path: str
    type: (
        Literal[
            "",
            "DirectoryOrCreate",
            "Directory",
            "FileOrCreate",
            "File",
            "Socket",
            "CharDevice",
            "BlockDevice",
        ]
        | None
    ) = None


class ImageVolumeSource(KubernetesStruct, frozen=True):
    """Files of an image."""

    pull_policy: str | None = None
    reference: str | None = None


class ISCSIVolumeSource(KubernetesStruct, frozen=True):
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
    secret_ref: LocalObjectReference | None = None


class NFSVolumeSource(KubernetesStruct, frozen=True):
    """A directory of an NFS server."""

    path: str
    server: str
    read_only: bool | None = None


class PersistentVolumeClaimVolumeSource(KubernetesStruct, frozen=True):
    """The volume bound to a claim."""

    claim_name: str
    read_only: bool | None = None


class PhotonPersistentDiskVolumeSource(KubernetesStruct, frozen=True):
    pd_id: str
    fs_type: str | None = None


class PortworxVolumeSource(KubernetesStruct, frozen=True):
    volume_id: str
    fs_type: str | None = None
    read_only: bool | None = None


class ClusterTrustBundleProjection(KubernetesStruct, frozen=True):
    path: str
    label_selector: LabelSelector | None = None
    name: str | None = None
    optional: bool | None = None
    signer_name: str | None = None
    user: int | None = None


class ConfigMapProjection(KubernetesStruct, frozen=True):
    """Files from a ConfigMap in a projected volume."""

    items: tuple[KeyToPath, ...] = ()
    name: str | None = None
    optional: bool | None = None


class DownwardAPIProjection(KubernetesStruct, frozen=True):
    """Files from the pod's own fields in a projected volume."""

    items: tuple[DownwardAPIVolumeFile, ...] = ()


class PodCertificateProjection(KubernetesStruct, frozen=True):
    key_type: str
    signer_name: str
    certificate_chain_path: str | None = None
    credential_bundle_path: str | None = None
    key_path: str | None = None
    max_expiration_seconds: int | None = None
    user: int | None = None
    user_annotations: dict[str, str] = field(default_factory=dict)


class SecretProjection(KubernetesStruct, frozen=True):
    """Files from a Secret in a projected volume."""

    items: tuple[KeyToPath, ...] = ()
    name: str | None = None
    optional: bool | None = None


class ServiceAccountTokenProjection(KubernetesStruct, frozen=True):
    """A token of the pod's service account."""

    path: str
    audience: str | None = None
    expiration_seconds: Annotated[int, Meta(ge=600, le=2**32)] | None = None
    user: int | None = None


class VolumeProjection(KubernetesStruct, frozen=True):
    """One source of a projected volume."""

    cluster_trust_bundle: ClusterTrustBundleProjection | None = None
    config_map: ConfigMapProjection | None = None
    downward_api: DownwardAPIProjection | None = field(name="downwardAPI", default=None)
    pod_certificate: PodCertificateProjection | None = None
    secret: SecretProjection | None = None
    service_account_token: ServiceAccountTokenProjection | None = None


class ProjectedVolumeSource(KubernetesStruct, frozen=True):
    """Several sources in one directory."""

    default_mode: FileMode | None = None
    default_user: int | None = None
    sources: tuple[VolumeProjection, ...] = ()


class QuobyteVolumeSource(KubernetesStruct, frozen=True):
    registry: str
    volume: str
    group: str | None = None
    read_only: bool | None = None
    tenant: str | None = None
    user: str | None = None


class RBDVolumeSource(KubernetesStruct, frozen=True):
    image: str
    monitors: tuple[str, ...]
    fs_type: str | None = None
    keyring: str | None = None
    pool: str | None = None
    read_only: bool | None = None
    secret_ref: LocalObjectReference | None = None
    user: str | None = None


class ScaleIOVolumeSource(KubernetesStruct, frozen=True):
    gateway: str
    secret_ref: LocalObjectReference
    system: str
    fs_type: str | None = None
    protection_domain: str | None = None
    read_only: bool | None = None
    ssl_enabled: bool | None = None
    storage_mode: str | None = None
    storage_pool: str | None = None
    volume_name: str | None = None


class SecretVolumeSource(KubernetesStruct, frozen=True):
    """Files from a Secret."""

    default_mode: FileMode | None = None
    default_user: int | None = None
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None
    secret_name: str | None = None


class StorageOSVolumeSource(KubernetesStruct, frozen=True):
    fs_type: str | None = None
    read_only: bool | None = None
    secret_ref: LocalObjectReference | None = None
    volume_name: str | None = None
    volume_namespace: str | None = None


class VsphereVirtualDiskVolumeSource(KubernetesStruct, frozen=True):
    volume_path: str
    fs_type: str | None = None
    storage_policy_id: str | None = None
    storage_policy_name: str | None = None


class Volume(KubernetesStruct, frozen=True):
    """A directory or device that containers can mount; exactly one source."""

    name: str
    aws_elastic_block_store: AWSElasticBlockStoreVolumeSource | None = None
    azure_disk: AzureDiskVolumeSource | None = None
    azure_file: AzureFileVolumeSource | None = None
    cephfs: CephFSVolumeSource | None = None
    cinder: CinderVolumeSource | None = None
    config_map: ConfigMapVolumeSource | None = None
    csi: CSIVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = field(name="downwardAPI", default=None)
    empty_dir: EmptyDirVolumeSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    fc: FCVolumeSource | None = None
    flex_volume: FlexVolumeSource | None = None
    flocker: FlockerVolumeSource | None = None
    gce_persistent_disk: GCEPersistentDiskVolumeSource | None = None
    git_repo: GitRepoVolumeSource | None = None
    glusterfs: GlusterfsVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    image: ImageVolumeSource | None = None
    iscsi: ISCSIVolumeSource | None = None
    nfs: NFSVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    photon_persistent_disk: PhotonPersistentDiskVolumeSource | None = None
    portworx_volume: PortworxVolumeSource | None = None
    projected: ProjectedVolumeSource | None = None
    quobyte: QuobyteVolumeSource | None = None
    rbd: RBDVolumeSource | None = None
    scale_io: ScaleIOVolumeSource | None = field(name="scaleIO", default=None)
    secret: SecretVolumeSource | None = None
    storageos: StorageOSVolumeSource | None = None
    vsphere_volume: VsphereVirtualDiskVolumeSource | None = None

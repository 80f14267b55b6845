"""ConfigMap, Secret and ServiceAccount."""

from typing import Annotated

from msgspec import field

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.kubernetes.reference import LocalObjectReference, ObjectReference
from hauberk.model.struct import ATOMIC, Bytes, KubernetesStruct, doc, merged_by


class ConfigMap(KubernetesStruct, frozen=True):
    """Settings, as keys and values, that pods read as files or variables."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    binary_data: Annotated[dict[str, Bytes], doc("Base64 by key.")] = field(default_factory=dict)
    data: Annotated[dict[str, str], doc("Text by key.")] = field(default_factory=dict)
    immutable: Annotated[bool | None, doc("Whether changes are refused.")] = None


class Secret(KubernetesStruct, frozen=True):
    """Values that are kept encrypted and given only to the pods that name them."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    data: Annotated[dict[str, str], doc("Base64 by key.")] = field(default_factory=dict)
    immutable: Annotated[bool | None, doc("Whether changes are refused.")] = None
    string_data: Annotated[dict[str, str], doc("Text by key; becomes data when written.")] = field(
        default_factory=dict
    )
    type: Annotated[str | None, doc("What is in it: Opaque, kubernetes.io/tls, …")] = None


class ServiceAccount(KubernetesStruct, frozen=True):
    """The identity that pods run as."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    automount_service_account_token: Annotated[bool | None, doc("Whether pods get a token mounted.")] = None
    image_pull_secrets: Annotated[tuple[LocalObjectReference, ...], ATOMIC] = ()
    secrets: Annotated[tuple[ObjectReference, ...], merged_by("name")] = ()

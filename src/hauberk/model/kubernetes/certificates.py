"""CertificateSigningRequest."""

from typing import Annotated

from msgspec import Meta, field

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import KubernetesStruct, Time, doc, merged_by


class CertificateSigningRequestSpec(KubernetesStruct, frozen=True):
    """The request and who made it."""

    request: str
    signer_name: str
    expiration_seconds: Annotated[int, Meta(ge=600, le=2**31 - 1)] | None = None
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    uid: str | None = None
    usages: tuple[str, ...] = ()
    username: str | None = None


class CertificateSigningRequestCondition(KubernetesStruct, frozen=True):
    """Approval, denial or failure."""

    status: Annotated[str, doc("What is observed; the API and its controllers write it.")]
    type: str
    last_transition_time: Time | None = None
    last_update_time: Time | None = None
    message: str | None = None
    reason: str | None = None


class CertificateSigningRequestStatus(KubernetesStruct, frozen=True):
    """Whether it was approved, and the certificate."""

    certificate: str | None = None
    conditions: Annotated[tuple[CertificateSigningRequestCondition, ...], merged_by("type")] = ()


class CertificateSigningRequest(KubernetesStruct, frozen=True):
    """Asks a signer for a certificate."""

    spec: Annotated[CertificateSigningRequestSpec, doc("What is wanted.")]
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    status: Annotated[
        CertificateSigningRequestStatus | None, doc("What is observed; the API and its controllers write it.")
    ] = None

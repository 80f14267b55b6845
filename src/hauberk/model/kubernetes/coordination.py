"""Lease: who holds something, and until when."""

from typing import Annotated

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import Count, KubernetesStruct, PositiveCount, Time, doc


class LeaseSpec(KubernetesStruct, frozen=True):
    """Holder and times of a lease."""

    acquire_time: Time | None = None
    holder_identity: str | None = None
    lease_duration_seconds: PositiveCount | None = None
    lease_transitions: Count | None = None
    preferred_holder: str | None = None
    renew_time: Time | None = None
    strategy: str | None = None


class Lease(KubernetesStruct, frozen=True):
    """Who holds something, and until when."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[LeaseSpec | None, doc("What is wanted.")] = None

"""Event (core): something that happened to an object."""

from typing import Annotated

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.kubernetes.reference import ObjectReference
from hauberk.model.struct import KubernetesStruct, Time, doc


class EventSeries(KubernetesStruct, frozen=True):
    """How often an event repeated."""

    count: int | None = None
    last_observed_time: Time | None = None


class EventSource(KubernetesStruct, frozen=True):
    """Which component reported an event."""

    component: str | None = None
    host: str | None = None


class Event(KubernetesStruct, frozen=True):
    """Something that happened to an object, told for people."""

    involved_object: ObjectReference
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    action: str | None = None
    count: int | None = None
    event_time: Time | None = None
    first_timestamp: Time | None = None
    last_timestamp: Time | None = None
    message: str | None = None
    reason: str | None = None
    related: ObjectReference | None = None
    reporting_component: str | None = None
    reporting_instance: str | None = None
    series: EventSeries | None = None
    source: EventSource | None = None
    type: str | None = None

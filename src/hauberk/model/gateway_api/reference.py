"""Pointers of the Gateway API, its status and the grants to point across namespaces."""

from typing import Annotated, Literal

from msgspec import Meta, field

from hauberk.model.kubernetes.meta import Condition, ObjectMeta
from hauberk.model.struct import MeshStruct, Port, doc, merged_by

Name = Annotated[str, Meta(min_length=1, max_length=253)]
KindName = Annotated[str, Meta(min_length=1, max_length=63)]
Namespace = Annotated[str, Meta(min_length=1, max_length=63)]
Group = Annotated[str, Meta(max_length=253)]
Hostname = Annotated[str, Meta(min_length=1, max_length=253)]
HeaderName = Annotated[str, Meta(min_length=1, max_length=256)]
HeaderValue = Annotated[str, Meta(min_length=1, max_length=4096)]
Weight = Annotated[int, Meta(ge=0, le=1000000)]
DefaultScope = Literal["All", "None"]


class ParentReference(MeshStruct, frozen=True):
    """The gateway or, for calls between pods, the service that a route is attached to."""

    name: Name
    group: Group | None = None
    kind: KindName | None = None
    namespace: Namespace | None = None
    section_name: Annotated[Name | None, doc("One listener of the gateway.")] = None
    port: Port | None = None


class BackendReference(MeshStruct, frozen=True):
    """A service that gets calls."""

    name: Name
    group: Group | None = None
    kind: KindName | None = None
    namespace: Annotated[Namespace | None, doc("Another namespace needs a ReferenceGrant there.")] = None
    port: Port | None = None


class WeightedBackendReference(MeshStruct, frozen=True):
    """A service and its share of the calls."""

    name: Name
    group: Group | None = None
    kind: KindName | None = None
    namespace: Annotated[Namespace | None, doc("Another namespace needs a ReferenceGrant there.")] = None
    port: Port | None = None
    weight: Annotated[Weight | None, doc("1 if left out.")] = None


class LocalReference(MeshStruct, frozen=True):
    """An object of the same namespace."""

    group: Group
    kind: KindName
    name: Name


class ObjectReference(MeshStruct, frozen=True):
    """An object, perhaps of another namespace."""

    group: Group
    kind: KindName
    name: Name
    namespace: Namespace | None = None


class SecretReference(MeshStruct, frozen=True):
    """A Secret, perhaps of another namespace."""

    name: Name
    group: Group | None = None
    kind: KindName | None = None
    namespace: Namespace | None = None


class RouteParentStatus(MeshStruct, frozen=True):
    """What became of a route at one of its parents."""

    parent_ref: ParentReference
    controller_name: str
    conditions: Annotated[tuple[Condition, ...], merged_by("type")] = ()


class RouteStatus(MeshStruct, frozen=True):
    """What became of a route at each of its parents."""

    parents: tuple[RouteParentStatus, ...]


class ReferenceGrantFrom(MeshStruct, frozen=True):
    """Who may point."""

    group: Group
    kind: KindName
    namespace: Namespace


class ReferenceGrantTo(MeshStruct, frozen=True):
    """What may be pointed at."""

    group: Group
    kind: KindName
    name: Annotated[Name | None, doc("All of the kind if left out.")] = None


class ReferenceGrantSpec(MeshStruct, frozen=True):
    """Who may point at what in this namespace."""

    from_: Annotated[tuple[ReferenceGrantFrom, ...], Meta(min_length=1, max_length=16)] = field(name="from")
    to: Annotated[tuple[ReferenceGrantTo, ...], Meta(min_length=1, max_length=16)]


class ReferenceGrant(MeshStruct, frozen=True):
    """Lets objects of another namespace point at objects of this one."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ReferenceGrantSpec | None = None

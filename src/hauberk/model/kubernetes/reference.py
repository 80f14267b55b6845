"""Pointers from one object to another."""

from hauberk.model.struct import KubernetesStruct


class LocalObjectReference(KubernetesStruct, frozen=True):
    """An object of the same namespace, by name."""

    name: str | None = None


class TypedLocalObjectReference(KubernetesStruct, frozen=True):
    """An object of the same namespace, by kind and name."""

    kind: str
    name: str
    api_group: str | None = None


class TypedObjectReference(KubernetesStruct, frozen=True):
    """An object, by kind, namespace and name."""

    kind: str
    name: str
    api_group: str | None = None
    namespace: str | None = None


class ObjectReference(KubernetesStruct, frozen=True):
    """Any object, by kind and name."""

    api_version: str | None = None
    field_path: str | None = None
    kind: str | None = None
    name: str | None = None
    namespace: str | None = None
    resource_version: str | None = None
    uid: str | None = None


class SecretReference(KubernetesStruct, frozen=True):
    """A Secret, by namespace and name."""

    name: str | None = None
    namespace: str | None = None

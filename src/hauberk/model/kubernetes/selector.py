"""Where the value of an environment variable or a projected file comes from."""

from hauberk.model.struct import KubernetesStruct, Quantity


class ConfigMapKeySelector(KubernetesStruct, frozen=True):
    """One key of a ConfigMap in the same namespace."""

    key: str
    name: str | None = None
    optional: bool | None = None


class ObjectFieldSelector(KubernetesStruct, frozen=True):
    """A field of the pod itself."""

    field_path: str
    api_version: str | None = None


class FileKeySelector(KubernetesStruct, frozen=True):
    """A variable in a file of a volume."""

    key: str
    path: str
    volume_name: str
    optional: bool | None = None


class ResourceFieldSelector(KubernetesStruct, frozen=True):
    """A resource limit or request of a container."""

    resource: str
    container_name: str | None = None
    divisor: Quantity | None = None


class SecretKeySelector(KubernetesStruct, frozen=True):
    """One key of a Secret in the same namespace."""

    key: str
    name: str | None = None
    optional: bool | None = None

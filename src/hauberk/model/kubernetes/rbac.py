"""Roles and their bindings."""

from typing import Annotated, Literal

from hauberk.model.kubernetes.meta import LabelSelector, ObjectMeta
from hauberk.model.struct import KubernetesStruct, doc


class PolicyRule(KubernetesStruct, frozen=True):
    """Verbs allowed on resources."""

    verbs: Annotated[tuple[str, ...], doc("get, list, watch, create, update, patch, delete, …, or *.")]
    api_groups: Annotated[tuple[str, ...], doc("API groups; the core group is the empty string.")] = ()
    non_resource_urls: Annotated[tuple[str, ...], doc("Paths such as /healthz.")] = ()
    resource_names: Annotated[tuple[str, ...], doc("Only objects of these names.")] = ()
    resources: Annotated[tuple[str, ...], doc("Resources in the plural, `pods/log` for subresources.")] = ()


class Role(KubernetesStruct, frozen=True):
    """What its subjects may do in one namespace."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    rules: tuple[PolicyRule, ...] = ()


class AggregationRule(KubernetesStruct, frozen=True):
    """Cluster roles that make up this one."""

    cluster_role_selectors: tuple[LabelSelector, ...] = ()


class ClusterRole(KubernetesStruct, frozen=True):
    """What its subjects may do, in all namespaces or, bound by a RoleBinding, in one."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    aggregation_rule: AggregationRule | None = None
    rules: tuple[PolicyRule, ...] = ()


class RoleRef(KubernetesStruct, frozen=True):
    """The role that a binding gives."""

    kind: Literal["Role", "ClusterRole"]
    name: str
    api_group: str | None = None


class Subject(KubernetesStruct, frozen=True):
    """A user, a group or a service account."""

    kind: Literal["User", "Group", "ServiceAccount"]
    name: str
    api_group: str | None = None
    namespace: str | None = None


class RoleBinding(KubernetesStruct, frozen=True):
    """Gives a role to subjects in one namespace."""

    role_ref: RoleRef
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    subjects: tuple[Subject, ...] = ()


class ClusterRoleBinding(KubernetesStruct, frozen=True):
    """Gives a cluster role to subjects everywhere."""

    role_ref: RoleRef
    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    subjects: tuple[Subject, ...] = ()

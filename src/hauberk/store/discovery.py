"""The documents from which clients learn what is served: groups, versions and resources. Pure."""

from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.store.registry import Registry

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
REVIEWS = frozenset(
    {
        "selfsubjectaccessreviews",
        "subjectaccessreviews",
        "localsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "tokenreviews",
        "selfsubjectreviews",
    }
)
"""Asked by creating them, and never stored."""

SUBRESOURCES: dict[str, tuple[list[str], tuple[str, str, str] | None]] = {
    "status": (["get", "patch", "update"], None),
    "scale": (["get", "patch", "update"], ("autoscaling", "v1", "Scale")),
    "log": (["get"], None),
    "exec": (["create", "get"], ("", "v1", "PodExecOptions")),
    "attach": (["create", "get"], ("", "v1", "PodAttachOptions")),
    "portforward": (["create", "get"], ("", "v1", "PodPortForwardOptions")),
    "token": (["create"], ("authentication.k8s.io", "v1", "TokenRequest")),
    "eviction": (["create"], ("policy", "v1", "Eviction")),
    "binding": (["create"], ("", "v1", "Binding")),
    "approval": (["get", "patch", "update"], None),
    "finalize": (["update"], None),
    "proxy": (["create", "delete", "get", "patch", "update"], ("", "v1", "NodeProxyOptions")),
}
"""Each with its verbs and, if it is not the parent's kind, its own."""


def core_versions(address: str) -> Object:
    """`/api`"""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> Object:
    """`/apis`"""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(registry, group) for group in registry.groups()],
    }


def group(registry: Registry, name: str) -> Object | None:
    """`/apis/GROUP`"""
    if name not in registry.groups():
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(registry, name)}


def resource_list(registry: Registry, group_name: str, version: str) -> Object | None:
    """`/api/v1`, `/apis/GROUP/VERSION`"""
    kinds = registry.kinds(group_name, version)
    if not kinds:
        return None
    resources: list[Object] = []
    for kind in kinds:
        resources.append(_resource(kind))
        resources += [_subresource(kind, name) for name in subresources(kind)]
    group_version = f"{group_name}/{version}" if group_name else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    }


def aggregated(registry: Registry, *, core: bool, version: str) -> Object:
    """`/api` and `/apis` in one answer each: `apidiscovery.k8s.io` in `version` `v2` or `v2beta1`."""
    names = [""] if core else registry.groups()
    items = []
    for name in names:
        versions = [
            {
                "version": api_version,
                "resources": [_aggregated_resource(kind) for kind in registry.kinds(name, api_version)],
                "freshness": "Current",
            }
            for api_version in registry.versions(name)
        ]
        if versions:
            items.append({"metadata": {"name": name, "creationTimestamp": None}, "versions": versions})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def subresources(kind: Kind) -> list[str]:
    """Those of `kind` that are served, and what the node serves for pods and nodes."""
    served = set(kind.subresources)
    if (kind.group, kind.plural) == ("", "pods"):
        served |= {"log", "exec", "attach", "portforward", "binding", "eviction"}
    if (kind.group, kind.plural) == ("", "nodes"):
        served |= {"proxy"}
    return sorted(served & SUBRESOURCES.keys())


def _group(registry: Registry, name: str) -> Object:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version} for version in registry.versions(name)
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _verbs(kind: Kind) -> list[str]:
    return ["create"] if kind.plural in REVIEWS else VERBS


def _resource(kind: Kind) -> Object:
    found: Object = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": _verbs(kind),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    return found


def _subresource(kind: Kind, name: str) -> Object:
    verbs, own = SUBRESOURCES[name]
    found: Object = {
        "name": f"{kind.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": own[2] if own else kind.name,
        "verbs": verbs,
    }
    if own:
        found["group"], found["version"] = own[0], own[1]
    return found


def _aggregated_resource(kind: Kind) -> Object:
    found: Object = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.name},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": _verbs(kind),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    parts: list[dict[str, Any]] = []
    for name in subresources(kind):
        verbs, own = SUBRESOURCES[name]
        group_name, version, kind_name = own or (kind.group, kind.version, kind.name)
        parts.append(
            {
                "subresource": name,
                "responseKind": {"group": group_name, "version": version, "kind": kind_name},
                "verbs": verbs,
            }
        )
    if parts:
        found["subresources"] = parts
    return found

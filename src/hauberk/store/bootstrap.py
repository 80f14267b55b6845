"""What a new cluster has before anyone has made anything: namespaces, roles and their bindings."""

from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError
from hauberk.store.database import Key
from hauberk.store.objects import Objects
from hauberk.store.options import Options
from hauberk.store.registry import Registry, resource_name

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
RBAC = "rbac.authorization.k8s.io/v1"
READ = ["get", "list", "watch"]
WRITE = ["create", "delete", "deletecollection", "patch", "update"]

WORKLOADS: list[tuple[str, list[str]]] = [
    (
        "",
        [
            "configmaps",
            "endpoints",
            "persistentvolumeclaims",
            "pods",
            "replicationcontrollers",
            "serviceaccounts",
            "services",
        ],
    ),
    (
        "apps",
        [
            "controllerrevisions",
            "daemonsets",
            "deployments",
            "deployments/scale",
            "replicasets",
            "statefulsets",
        ],
    ),
    ("batch", ["cronjobs", "jobs"]),
    ("discovery.k8s.io", ["endpointslices"]),
    ("policy", ["poddisruptionbudgets"]),
    ("networking.k8s.io", ["ingresses", "networkpolicies"]),
    ("networking.istio.io", ["*"]),
    ("security.istio.io", ["*"]),
    ("gateway.networking.k8s.io", ["*"]),
    ("hauberk.io", ["*"]),
]
"""What those who work in a namespace see and change."""


async def bootstrap(objects: Objects) -> None:
    """Make what is missing of it; what is there stays as it is. Raises `ApiError`."""
    for obj in [*_namespaces(), *_roles(), *_bindings()]:
        kind = _kind(objects.registry, obj)
        if objects.storage.get(Key(resource_name(kind), "", obj["metadata"]["name"])) is not None:
            continue
        try:
            await objects.create(kind, "", obj, Options(field_validation="Strict"))
        except ApiError as error:
            if error.code != 409:
                raise


def _namespaces() -> list[Object]:
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in NAMESPACES]


def _roles() -> list[Object]:
    view = [_rule(group, _readable(resources), READ) for group, resources in WORKLOADS]
    view.append(_rule("", ["events", "namespaces", "pods/log", "pods/status"], READ))
    edit = [_rule(group, resources, WRITE) for group, resources in WORKLOADS]
    edit += [
        _rule("", ["secrets"], READ + WRITE),
        _rule(
            "",
            ["pods/attach", "pods/exec", "pods/portforward", "pods/eviction", "serviceaccounts/token"],
            [*READ, "create"],
        ),
    ]
    admin = [_rule("rbac.authorization.k8s.io", ["roles", "rolebindings"], READ + WRITE)]
    public = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ]
    return [
        _role("cluster-admin", [_rule("*", ["*"], ["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]),
        _aggregating("admin"),
        _aggregating("edit"),
        _aggregating("view"),
        _role("system:aggregate-to-admin", admin, "admin"),
        _role("system:aggregate-to-edit", edit, "edit"),
        _role("system:aggregate-to-view", view, "view"),
        _role("system:discovery", [{"nonResourceURLs": public, "verbs": ["get"]}]),
        _role(
            "system:public-info-viewer",
            [
                {
                    "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"],
                    "verbs": ["get"],
                }
            ],
        ),
        _role(
            "system:basic-user",
            [
                _rule(
                    "authorization.k8s.io",
                    ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                    ["create"],
                ),
                _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
            ],
        ),
        _role(
            "system:auth-delegator",
            [
                _rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
                _rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
            ],
        ),
    ]


def _bindings() -> list[Object]:
    return [
        _binding("cluster-admin", "system:masters"),
        _binding("system:discovery", "system:authenticated"),
        _binding("system:basic-user", "system:authenticated"),
        _binding("system:public-info-viewer", "system:authenticated", "system:unauthenticated"),
    ]


def _rule(group: str, resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _readable(resources: list[str]) -> list[str]:
    return [*resources, *(f"{name}/status" for name in resources if "/" not in name and name != "*")]


def _role(name: str, rules: list[Object], aggregate_to: str = "") -> Object:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    if aggregate_to:
        labels[f"rbac.authorization.k8s.io/aggregate-to-{aggregate_to}"] = "true"
    return {
        "apiVersion": RBAC,
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": labels},
        "rules": rules,
    }


def _aggregating(name: str) -> Object:
    """A role of all those labelled for it, and of those labelled for the roles that it includes."""
    included = {"view": ["view"], "edit": ["edit", "view"], "admin": ["admin", "edit", "view"]}[name]
    selectors: list[dict[str, Any]] = [
        {"matchLabels": {f"rbac.authorization.k8s.io/aggregate-to-{level}": "true"}} for level in included
    ]
    return {**_role(name, []), "aggregationRule": {"clusterRoleSelectors": selectors}}


def _binding(role: str, *groups: str) -> Object:
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group} for group in groups]
    return {
        "apiVersion": RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    }


def _kind(registry: Registry, obj: Object) -> Kind:
    kind = registry.find_kind(obj["apiVersion"], obj["kind"])
    if kind is None:
        raise LookupError(f"expected {obj['apiVersion']} {obj['kind']} to be served")
    return kind

"""What a node may do: see the pods bound to it and obtain what those pods reference, nothing else.

A node is a user `system:node:NAME` of the group `system:nodes`. Everyone else is passed on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hauberk.model.kind import Object
from hauberk.store.client import ApiError
from hauberk.store.database import Key
from hauberk.store.request_info import RequestInfo
from hauberk.store.selectors import FieldSelector, SelectorError, field_terms
from hauberk.store.storage import Storage
from hauberk.store.user import Authorizer, Decision, User

NODES = "system:nodes"
PREFIX = "system:node:"
READ = frozenset({"get", "list", "watch"})

SEEN_BY_ALL_NODES = frozenset(
    {
        ("", "services"),
        ("", "nodes"),
        ("", "namespaces"),
        ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "networkpolicies"),
    }
)
"""Read by every node; none of these holds a secret."""
REFERENCED = frozenset(
    {("", "secrets"), ("", "configmaps"), ("", "persistentvolumeclaims"), ("", "serviceaccounts")}
)


def node_name(user: User) -> str | None:
    """The node that `user` is, if it is one."""
    if NODES in user.groups and user.name.startswith(PREFIX):
        return user.name.removeprefix(PREFIX)
    return None


@dataclass(frozen=True, slots=True)
class NodeAuthorizer:
    """`Authorizer` for nodes; asks `otherwise` for everyone else, and for a node whatever it refuses."""

    storage: Storage
    otherwise: Authorizer

    def authorize(self, user: User, request: RequestInfo, field_selector: str = "") -> Decision:
        node = node_name(user)
        if node is None:
            return self.otherwise.authorize(user, request, field_selector)
        decision = self._decide(node, request, field_selector)
        if decision.allowed:
            return decision
        further = self.otherwise.authorize(user, request, field_selector)
        return further if further.allowed else decision

    def _decide(self, node: str, request: RequestInfo, field_selector: str) -> Decision:
        what = (request.group, request.resource)
        yes = Decision(True, f'node "{node}"')
        match what, request.verb:
            case ("", "pods"), _:
                return self._pods(node, request, field_selector)
            case (("", "nodes"), "create") if not request.subresource:
                return yes  # only under its own name: `admit`
            case (("", "nodes"), "update" | "patch") if request.subresource in {"", "status"}:
                return self._own(node, request)
            case (("coordination.k8s.io", "leases"), "get" | "create" | "update" | "patch"):
                own = request.namespace == "kube-node-lease" and (
                    request.verb == "create" or request.name == node
                )
                return yes if own else Decision(False, "a node may only use its own Lease in kube-node-lease")
            case (("", "events") | ("events.k8s.io", "events"), "create" | "update" | "patch"):
                return yes
            case (("", "persistentvolumeclaims"), "update" | "patch") if request.subresource == "status":
                return self._references(node, request)
            case (
                ("authentication.k8s.io", "tokenreviews") | ("authorization.k8s.io", "subjectaccessreviews"),
                "create",
            ):
                return yes
            case (_, verb) if what in SEEN_BY_ALL_NODES and verb in READ and not request.subresource:
                return yes
            case (("", "serviceaccounts"), "create") if request.subresource == "token":
                return self._references(node, request)
            case (_, "get" | "list" | "watch") if what in REFERENCED and not request.subresource:
                return self._references(node, request)
        return Decision(False, f"a node may not {request.verb} {request.full_resource}")

    def _pods(self, node: str, request: RequestInfo, field_selector: str) -> Decision:
        if request.verb in {"list", "watch"}:
            if _selects_node(field_selector, node) or (request.name and self._bound(node, request)):
                return Decision(True, f'node "{node}", its own pods')
            wanted = f"fieldSelector=spec.nodeName={node}"
            return Decision(False, f"a node may only list and watch its own pods: {wanted}")
        allowed = (request.verb == "get" and not request.subresource) or (
            request.verb in {"get", "update", "patch"} and request.subresource == "status"
        )
        # A node deletes a pod to say that it has ended.
        allowed = allowed or (request.verb == "delete" and not request.subresource)
        if allowed and self._bound(node, request):
            return Decision(True, f'node "{node}", a pod bound to it')
        return Decision(
            False, f'a node may only use pods bound to it: no relation from node "{node}" to this pod'
        )

    def _own(self, node: str, request: RequestInfo) -> Decision:
        if request.name == node:
            return Decision(True, f'node "{node}", itself')
        return Decision(False, f'node "{node}" may not change node "{request.name}"')

    def _bound(self, node: str, request: RequestInfo) -> bool:
        stored = self.storage.get(Key("pods", request.namespace, request.name))
        return stored is not None and (stored.object.get("spec") or {}).get("nodeName") == node

    def _references(self, node: str, request: RequestInfo) -> Decision:
        if not request.name:
            return Decision(
                False, f"a node may only read {request.resource} by name: fieldSelector=metadata.name=NAME"
            )
        for pod in pods_of(self.storage, node, request.namespace):
            if (request.resource, request.name) in set(references(pod)):
                return Decision(True, f'node "{node}", through pod "{pod["metadata"]["name"]}"')
        return Decision(
            False,
            f'no relation found between node "{node}" and this object: no pod bound to it references it',
        )


def _selects_node(field_selector: str, node: str) -> bool:
    """Whether a field selector holds a list to the pods bound to `node`."""
    try:
        return FieldSelector(field_terms(field_selector)).value_of("spec.nodeName") == node
    except SelectorError:
        return False


def admit(user: User, request: RequestInfo, new: Object) -> None:
    """Hold a node to its own name and its own pods in what it writes. Raises `ApiError` 403."""
    node = node_name(user)
    if node is None:
        return
    metadata = new.get("metadata") or {}
    if (request.group, request.resource, request.verb) == ("", "nodes", "create") and metadata.get(
        "name"
    ) != node:
        raise ApiError(403, "Forbidden", f'node "{node}" may not create node "{metadata.get("name")}"')
    if request.resource == "leases" and metadata.get("name") != node:
        raise ApiError(403, "Forbidden", f'node "{node}" may only create a Lease of its own name')


def admit_token(user: User, storage: Storage, namespace: str, account: str, spec: Object) -> None:
    """A node asks for a token only bound to a pod that it runs as that account. Raises `ApiError` 403."""
    node = node_name(user)
    if node is None:
        return
    bound = spec.get("boundObjectRef") or {}
    pod = (
        storage.get(Key("pods", namespace, str(bound.get("name", ""))))
        if bound.get("kind") == "Pod"
        else None
    )
    if (
        pod is None
        or pod.object["metadata"]["uid"] != bound.get("uid")
        or (pod.object.get("spec") or {}).get("nodeName") != node
        or _account(pod.object) != account
    ):
        raise ApiError(
            403,
            "Forbidden",
            f'node "{node}" may request a token of "{account}" only bound to a pod on it that runs as this account',
        )


def pods_of(storage: Storage, node: str, namespace: str) -> Iterator[Object]:
    """The pods of `namespace` that are bound to `node`."""
    for stored in storage.objects("pods", namespace):
        if (stored.object.get("spec") or {}).get("nodeName") == node:
            yield stored.object


def references(pod: Object) -> Iterator[tuple[str, str]]:
    """What a pod makes use of: `(resource, name)`."""
    spec = pod.get("spec") or {}
    yield "serviceaccounts", _account(pod)
    for reference in spec.get("imagePullSecrets") or ():
        yield "secrets", reference.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from _volume_references(volume)
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield from _environment_references(container)


def _account(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("serviceAccountName") or "default")


def _volume_references(volume: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if secret := volume.get("secret"):
        yield "secrets", secret.get("secretName", "")
    if config_map := volume.get("configMap"):
        yield "configmaps", config_map.get("name", "")
    if claim := volume.get("persistentVolumeClaim"):
        yield "persistentvolumeclaims", claim.get("claimName", "")
    for source in (volume.get("projected") or {}).get("sources") or ():
        if secret := source.get("secret"):
            yield "secrets", secret.get("name", "")
        if config_map := source.get("configMap"):
            yield "configmaps", config_map.get("name", "")


def _environment_references(container: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        if reference := source.get("secretRef"):
            yield "secrets", reference.get("name", "")
        if reference := source.get("configMapRef"):
            yield "configmaps", reference.get("name", "")
    for variable in container.get("env") or ():
        origin = variable.get("valueFrom") or {}
        if reference := origin.get("secretKeyRef"):
            yield "secrets", reference.get("name", "")
        if reference := origin.get("configMapKeyRef"):
            yield "configmaps", reference.get("name", "")

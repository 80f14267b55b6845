"""Role-based access control: what is not granted by a binding is denied.

Reads Roles, ClusterRoles and their bindings straight from the store, so that a change counts at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.store import status
from hauberk.store.database import Key
from hauberk.store.request_info import RequestInfo
from hauberk.store.selectors import label_selector_of
from hauberk.store.storage import Storage
from hauberk.store.user import MASTERS, Decision, User

GROUP = "rbac.authorization.k8s.io"
ROLES, CLUSTER_ROLES = f"roles.{GROUP}", f"clusterroles.{GROUP}"
BINDINGS, CLUSTER_BINDINGS = f"rolebindings.{GROUP}", f"clusterrolebindings.{GROUP}"
SERVICE_ACCOUNT = "system:serviceaccount:"

MOST_PARTS = 10_000
"""Rights that one role may give at a time, of whoever is held to their own."""

Rule = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Grant:
    """A rule that a subject has, and through which binding; `namespace` is empty for the whole cluster."""

    rule: Rule
    namespace: str
    binding: str


@dataclass(frozen=True, slots=True)
class RoleAuthorizer:
    """`Authorizer` by the roles in `storage`. Members of `system:masters` may do everything."""

    storage: Storage

    def authorize(self, user: User, request: RequestInfo, field_selector: str = "") -> Decision:
        del field_selector
        if MASTERS in user.groups:
            return Decision(True, f"the user is of the group {MASTERS}")
        for grant in self.grants(user, request.namespace):
            if allows(grant.rule, request):
                return Decision(True, f"RBAC: allowed by {grant.binding}")
        return Decision(False)

    def grants(self, user: User, namespace: str) -> Iterator[Grant]:
        """What `user` has in `namespace`, cluster-wide grants included."""
        for stored in self.storage.objects(CLUSTER_BINDINGS):
            if _binds(stored.object, user, ""):
                name = f'ClusterRoleBinding "{stored.key.name}"'
                for rule in self._rules_of(stored.object, ""):
                    yield Grant(rule, "", name)
        for stored in self.storage.objects(BINDINGS, namespace) if namespace else ():
            if _binds(stored.object, user, namespace):
                name = f'RoleBinding "{stored.key.name}/{namespace}"'
                for rule in self._rules_of(stored.object, namespace):
                    yield Grant(rule, namespace, name)

    def admit(self, user: User, kind: Kind, new: Object, old: Object | None) -> None:
        """Hold who writes a role or binding to what they may do themselves, or to `escalate` and `bind`.

        Raises `ApiError` 403.
        """
        if kind.group != GROUP or MASTERS in user.groups:
            return
        namespace = new["metadata"].get("namespace", "")
        name = str(new["metadata"]["name"])
        if kind.plural in {"roles", "clusterroles"}:
            rules = list(new.get("rules") or ())
            if new.get("aggregationRule"):
                rules.append({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
            if (old is not None and rules == (old.get("rules") or [])) or self._may(
                user, "escalate", kind.plural, namespace, name
            ):
                return
        else:
            reference = new.get("roleRef") or {}
            plural = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
            if self._may(user, "bind", plural, namespace, str(reference.get("name", ""))):
                return
            rules = list(self._rules_of(new, namespace))
        if sum(map(_parts_of, rules)) > MOST_PARTS:
            raise status.forbidden(
                kind,
                name,
                f"expected rules of at most {MOST_PARTS} single rights, found more; make several roles",
            )
        held = [grant.rule for grant in self.grants(user, namespace)]
        missing = [part for rule in rules for part in _parts(rule) if not any(_covers(h, part) for h in held)]
        if missing:
            listed = "; ".join(str(dict(part)) for part in missing[:10])
            raise status.forbidden(
                kind,
                name,
                f'user "{user.name}" (groups={sorted(user.groups)}) is attempting to grant RBAC permissions not '
                f"currently held: {listed}",
            )

    def _may(self, user: User, verb: str, resource: str, namespace: str, name: str) -> bool:
        request = RequestInfo(verb, "", GROUP, "v1", namespace, resource, name)
        return self.authorize(user, request).allowed

    def _rules_of(self, binding: Object, namespace: str) -> Sequence[Rule]:
        reference = binding.get("roleRef") or {}
        name = str(reference.get("name", ""))
        if reference.get("kind") == "Role":
            stored = self.storage.get(Key(ROLES, namespace, name)) if namespace else None
            return (stored.object.get("rules") or ()) if stored else ()
        stored = self.storage.get(Key(CLUSTER_ROLES, "", name))
        return self._cluster_rules(stored.object) if stored else ()

    def _cluster_rules(self, role: Object) -> Sequence[Rule]:
        """A role's rules; an aggregating one's are those of every role that its selectors choose."""
        aggregation = role.get("aggregationRule")
        if not aggregation:
            return role.get("rules") or ()
        selectors = [label_selector_of(s) for s in aggregation.get("clusterRoleSelectors") or ()]
        rules: list[Rule] = []
        for stored in self.storage.objects(CLUSTER_ROLES):
            labels = stored.object["metadata"].get("labels") or {}
            if "aggregationRule" not in stored.object and any(s.matches(labels) for s in selectors):
                rules += stored.object.get("rules") or ()
        return rules


def allows(rule: Rule, request: RequestInfo) -> bool:
    """Whether a `rbac/v1.PolicyRule` allows a request."""
    if not _has(rule, "verbs", request.verb):
        return False
    if not request.is_resource:
        return any(_path_matches(pattern, request.path) for pattern in rule.get("nonResourceURLs") or ())
    names = rule.get("resourceNames") or ()
    return (
        _has(rule, "apiGroups", request.group)
        and _resource_matches(rule.get("resources") or (), request.resource, request.subresource)
        and (not names or request.name in names)
    )


def rules_review(grants: Iterable[Grant]) -> Object:
    """The status of a SelfSubjectRulesReview."""
    resource_rules: list[Object] = []
    other_rules: list[Object] = []
    for grant in grants:
        kept = {key: list(value) for key, value in grant.rule.items() if value}
        (other_rules if kept.get("nonResourceURLs") else resource_rules).append(kept)
    return {"resourceRules": resource_rules, "nonResourceRules": other_rules, "incomplete": False}


def _binds(binding: Object, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        name = subject.get("name", "")
        match subject.get("kind"):
            case "User":
                found = name == user.name
            case "Group":
                found = name in user.groups
            case "ServiceAccount":
                found = user.name == f"{SERVICE_ACCOUNT}{subject.get('namespace') or namespace}:{name}"
            case _:
                found = False
        if found:
            return True
    return False


def _has(rule: Rule, field: str, value: str) -> bool:
    found = rule.get(field) or ()
    return value in found or "*" in found


def _resource_matches(resources: Iterable[str], resource: str, subresource: str) -> bool:
    full = f"{resource}/{subresource}" if subresource else resource
    wanted = {"*", full, f"*/{subresource}"} if subresource else {"*", full}
    return not wanted.isdisjoint(resources)


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in {"*", path} or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def _parts(rule: Rule) -> Iterator[Rule]:
    """A rule as rules of one verb on one thing each."""
    for verb in rule.get("verbs") or ():
        for url in rule.get("nonResourceURLs") or ():
            yield {"verbs": [verb], "nonResourceURLs": [url]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for name in rule.get("resourceNames") or [""]:
                    part: dict[str, Any] = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                    yield {**part, "resourceNames": [name]} if name else part


def _parts_of(rule: Rule) -> int:
    """How many `_parts` gives."""
    things = len(rule.get("apiGroups") or ()) * len(rule.get("resources") or ())
    named = things * max(1, len(rule.get("resourceNames") or ()))
    return len(rule.get("verbs") or ()) * (named + len(rule.get("nonResourceURLs") or ()))


def _covers(held: Rule, part: Rule) -> bool:
    if not _has(held, "verbs", part["verbs"][0]):
        return False
    if urls := list(part.get("nonResourceURLs") or ()):
        return any(_path_matches(pattern, urls[0]) for pattern in held.get("nonResourceURLs") or ())
    resource, _, subresource = part["resources"][0].partition("/")
    names, wanted = held.get("resourceNames") or (), list(part.get("resourceNames") or ())
    return (
        _has(held, "apiGroups", part["apiGroups"][0])
        and _resource_matches(held.get("resources") or (), resource, subresource)
        and (not names or (bool(wanted) and wanted[0] in names))
    )

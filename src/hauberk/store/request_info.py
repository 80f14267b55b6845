"""What a request asks for, read from its method, path and query as a Kubernetes API server reads them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from hauberk.store.selectors import FieldSelector, SelectorError, field_terms

VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """`resource` is empty for a request that is not of a resource; then only `path` and `verb` count."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows a proxying subresource."""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)

    @property
    def full_resource(self) -> str:
        """`pods/log`, as RBAC rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def parse_request(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """Never fails: a path that is no resource's is a non-resource request."""
    parts = [part for part in path.split("/") if part]
    verb = VERBS.get(method, method.lower())
    other = RequestInfo(method.lower(), path)
    if len(parts) >= 3 and parts[0] == "api":
        group, version, parts = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return other
    if parts[0] == "watch" and len(parts) > 1 and verb == "get":
        verb, parts = "watch", parts[1:]
    namespace = ""
    if parts[0] == "namespaces" and not group and len(parts) in {1, 2}:
        namespace = parts[1] if len(parts) == 2 else ""
    elif (
        parts[0] == "namespaces" and len(parts) > 2 and not (not group and parts[2] in {"status", "finalize"})
    ):
        namespace, parts = parts[1], parts[2:]
    elif parts[0] == "namespaces" and len(parts) > 2:
        namespace = parts[1]
    resource, name = parts[0], parts[1] if len(parts) > 1 else ""
    subresource, rest = parts[2] if len(parts) > 2 else "", "/".join(parts[3:])
    if rest and path.endswith("/"):
        rest += "/"
    if not name and verb in {"get", "watch"}:
        verb = "watch" if verb == "watch" or query.get("watch") in {"true", "1"} else "list"
        selected = _selected_name(query.get("fieldSelector", ""))
        return RequestInfo(verb, path, group, version, namespace, resource, selected)
    if not name and verb == "delete":
        verb = "deletecollection"
    return RequestInfo(verb, path, group, version, namespace, resource, name, subresource, rest)


def _selected_name(field_selector: str) -> str:
    """`metadata.name=x` makes a list or watch one of that name, for authorization."""
    try:
        return FieldSelector(field_terms(field_selector)).value_of("metadata.name") or ""
    except SelectorError:
        return ""  # refused as what it is, once it is known who asks

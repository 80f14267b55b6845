"""Defaults of the Gateway API's kinds."""

from hauberk.model.kind import Object

_GROUP = "gateway.networking.k8s.io"


def default_gateway(obj: Object) -> None:
    """Listeners take routes of their own namespace and end TLS."""
    for listener in obj.get("spec", {}).get("listeners") or []:
        allowed = listener.setdefault("allowedRoutes", {})
        allowed.setdefault("namespaces", {}).setdefault("from", "Same")
        if tls := listener.get("tls"):
            tls.setdefault("mode", "Terminate")
            for reference in tls.get("certificateRefs") or []:
                reference.setdefault("group", "")
                reference.setdefault("kind", "Secret")


def default_route(obj: Object) -> None:
    """Parents are gateways, backends are services of weight 1, and what is compared is exact."""
    spec = obj.setdefault("spec", {})
    for parent in spec.get("parentRefs") or []:
        parent.setdefault("group", _GROUP)
        parent.setdefault("kind", "Gateway")
    for rule in spec.get("rules") or []:
        for backend in rule.get("backendRefs") or []:
            backend.setdefault("group", "")
            backend.setdefault("kind", "Service")
            backend.setdefault("weight", 1)
        for match in rule.get("matches") or []:
            _default_match(match)


def default_http_route(obj: Object) -> None:
    """As other routes; a rule without matches takes every path."""
    spec = obj.setdefault("spec", {})
    root = {"path": {"type": "PathPrefix", "value": "/"}}
    if not spec.get("rules"):
        spec["rules"] = [{"matches": [root]}]
    for rule in spec["rules"]:
        if not rule.get("matches"):
            rule["matches"] = [{"path": dict(root["path"])}]
        for match in rule["matches"]:
            path = match.setdefault("path", {})
            path.setdefault("type", "PathPrefix")
            path.setdefault("value", "/")
    default_route(obj)


def _default_match(match: Object) -> None:
    for name in ("headers", "queryParams"):
        for item in match.get(name) or []:
            item.setdefault("type", "Exact")
    if isinstance(match.get("method"), dict):
        match["method"].setdefault("type", "Exact")

"""Two small evaluators: of Envoy's RBAC as its documentation defines it, and of AuthorizationPolicy as Istio's does."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """What a server's proxy knows. `http` is False for a plain TCP connection."""

    principal: str = ""
    """`cluster.local/ns/NS/sa/NAME`, empty if the caller proved nothing."""
    address: str = "10.0.0.1"
    port: int = 80
    http: bool = True
    method: str = "GET"
    path: str = "/"
    host: str = "web"
    headers: dict[str, str] = field(default_factory=dict)
    remote: str = "10.0.0.1"
    """The caller's address, as a trusted `x-forwarded-for` says it."""
    destination: str = "10.66.0.1"
    server_name: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    """Of a verified token; empty if there is none."""

    def header(self, name: str) -> str | None:
        return {":method": self.method, ":authority": self.host, **self.headers}.get(name)


def envoy_allows(filters: list[Any], call: Call) -> bool:
    """RBAC filters in a row: each must let the call through."""
    for one in filters:
        if not one.HasField("rules"):
            continue
        matched = any(
            any(_permission(each, call) for each in policy.permissions)
            and any(_principal(each, call) for each in policy.principals)
            for policy in one.rules.policies.values()
        )
        if matched is (one.rules.action == 1):
            return False
    return True


def _text(matcher: Any, value: str | None) -> bool:
    if value is None:
        return False
    kind = matcher.WhichOneof("match_pattern")
    pattern = matcher.safe_regex.regex if kind == "safe_regex" else getattr(matcher, kind)
    if matcher.ignore_case:
        value, pattern = value.lower(), pattern.lower()
    return {
        "exact": lambda: value == pattern,
        "prefix": lambda: value.startswith(pattern),
        "suffix": lambda: value.endswith(pattern),
        "safe_regex": lambda: re.fullmatch(pattern, value) is not None,
    }[kind]()


def _header(matcher: Any, call: Call) -> bool:
    value = call.header(matcher.name)
    if matcher.WhichOneof("header_match_specifier") == "present_match":
        return value is not None
    return _text(matcher.string_match, value)


def _inside(cidr: Any, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(
        f"{cidr.address_prefix}/{cidr.prefix_len.value}"
    )


def _principal(one: Any, call: Call) -> bool:
    kind = one.WhichOneof("identifier")
    return {
        "any": lambda: True,
        "and_ids": lambda: all(_principal(each, call) for each in one.and_ids.ids),
        "or_ids": lambda: any(_principal(each, call) for each in one.or_ids.ids),
        "not_id": lambda: not _principal(one.not_id, call),
        "authenticated": lambda: (
            bool(call.principal) and _text(one.authenticated.principal_name, f"spiffe://{call.principal}")
        ),
        "direct_remote_ip": lambda: _inside(one.direct_remote_ip, call.address),
        "remote_ip": lambda: _inside(one.remote_ip, call.remote if call.http else call.address),
        "metadata": lambda: _metadata(one.metadata, call),
        "header": lambda: call.http and _header(one.header, call),
    }[kind]()


def _metadata(matcher: Any, call: Call) -> bool:
    assert matcher.filter == "envoy.filters.http.jwt_authn" and not matcher.invert
    value: Any = {"payload": call.claims} if call.http and call.claims else {}
    for segment in matcher.path:
        if not isinstance(value, dict) or segment.key not in value:
            return False
        value = value[segment.key]
    return _value(matcher.value, value)


def _value(matcher: Any, value: Any) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    return {
        "string_match": lambda: isinstance(value, str) and _text(matcher.string_match, value),
        "list_match": lambda: (
            isinstance(value, list) and any(_value(matcher.list_match.one_of, each) for each in value)
        ),
        "or_match": lambda: any(_value(each, value) for each in matcher.or_match.value_matchers),
    }[kind]()


def _permission(one: Any, call: Call) -> bool:
    kind = one.WhichOneof("rule")
    return {
        "any": lambda: True,
        "and_rules": lambda: all(_permission(each, call) for each in one.and_rules.rules),
        "or_rules": lambda: any(_permission(each, call) for each in one.or_rules.rules),
        "not_rule": lambda: not _permission(one.not_rule, call),
        "header": lambda: call.http and _header(one.header, call),
        "url_path": lambda: call.http and _text(one.url_path.path, call.path),
        "destination_port": lambda: one.destination_port == call.port,
        "destination_ip": lambda: _inside(one.destination_ip, call.destination),
        "requested_server_name": lambda: _text(one.requested_server_name, call.server_name),
    }[kind]()


def istio_allows(policies: list[dict[str, Any]], call: Call) -> bool:
    """Istio: a DENY that matches refuses; else without any ALLOW all pass; else one must match."""
    by_action: dict[str, list[dict[str, Any]]] = {"ALLOW": [], "DENY": [], "AUDIT": []}
    for policy in policies:
        by_action[policy.get("action") or "ALLOW"].append(policy)
    if any(
        _rule(rule, call, deny=True) for policy in by_action["DENY"] for rule in policy.get("rules") or ()
    ):
        return False
    if not by_action["ALLOW"]:
        return True
    return any(
        _rule(rule, call, deny=False) for policy in by_action["ALLOW"] for rule in policy.get("rules") or ()
    )


def _rule(rule: dict[str, Any], call: Call, *, deny: bool) -> bool:
    sources, operations = rule.get("from"), rule.get("to")
    return (
        (not sources or any(_fields(one["source"], call, deny) for one in sources))
        and (not operations or any(_fields(one["operation"], call, deny) for one in operations))
        and all(_condition(one, call, deny) for one in rule.get("when") or ())
    )


_HTTP_ALONE = ("methods", "paths", "hosts", "remoteIpBlocks", "requestPrincipals")


def _fields(told: dict[str, list[str]], call: Call, deny: bool) -> bool:
    for name, values in told.items():
        negative = name.startswith("not")
        plain = name[3].lower() + name[4:] if negative else name
        if plain in _HTTP_ALONE and not call.http:
            if not deny:
                return False
            continue
        if any(_one(plain, value, call) for value in values) is negative:
            return False
    return True


def _condition(told: dict[str, Any], call: Call, deny: bool) -> bool:
    key = told["key"]
    if (key.startswith("request.") or key == "remote.ip") and not call.http:
        return deny
    positive, negative = told.get("values") or (), told.get("notValues") or ()
    return (not positive or any(_one(key, value, call) for value in positive)) and not any(
        _one(key, value, call) for value in negative
    )


def _one(name: str, value: str, call: Call) -> bool:
    parts = call.principal.split("/")
    namespace = parts[2] if call.principal else None
    if name in ("principals", "source.principal"):
        return bool(call.principal) and _wild(value, call.principal)
    if name in ("namespaces", "source.namespace"):
        return namespace is not None and _wild(value, namespace)
    if name in ("ipBlocks", "source.ip"):
        return ipaddress.ip_address(call.address) in ipaddress.ip_network(value, strict=False)
    if name in ("serviceAccounts", "source.serviceAccount"):
        return bool(call.principal) and f"{namespace}/{parts[4]}" == (value if "/" in value else f"a/{value}")
    if name in ("remoteIpBlocks", "remote.ip"):
        return ipaddress.ip_address(call.remote) in ipaddress.ip_network(value, strict=False)
    if name == "destination.ip":
        return ipaddress.ip_address(call.destination) in ipaddress.ip_network(value, strict=False)
    if name == "connection.sni":
        return bool(call.server_name) and _wild(value, call.server_name)
    if name in ("requestPrincipals", "request.auth.principal"):
        return bool(call.claims) and _wild(value, f"{call.claims['iss']}/{call.claims['sub']}")
    if name.startswith("request.auth."):
        claim = "aud" if name == "request.auth.audiences" else name[len("request.auth.claims[") : -1]
        held = call.claims.get(claim)
        return any(_wild(value, one) for one in (held if isinstance(held, list) else [held]) if one)
    if name in ("ports", "destination.port"):
        return call.port == int(value)
    if name == "methods":
        return _wild(value, call.method)
    if name == "paths":
        return _template(value, call.path) if "{*" in value else _wild(value, call.path)
    if name == "hosts":
        return _wild(value.lower(), call.host.lower())
    held = call.headers.get(name[len("request.headers[") : -1])
    return held is not None and _wild(value, held)


def _template(template: str, path: str) -> bool:
    """Segment by segment: `{*}` is one that is not empty, a final `{**}` any rest."""
    wanted, found = template.split("/"), path.split("/")
    if wanted[-1] == "{**}":
        wanted, found = wanted[:-1], found[: len(wanted) - 1] if len(found) >= len(wanted) else []
    return len(wanted) == len(found) and all(
        bool(one) if each == "{*}" else each == one for each, one in zip(wanted, found, strict=True)
    )


def _wild(pattern: str, value: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return pattern == value

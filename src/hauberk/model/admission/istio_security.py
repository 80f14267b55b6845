"""Rules on Istio's `security.istio.io` kinds."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from hauberk.model.admission.syntax import (
    Errors,
    duration,
    forbidden,
    host_name,
    invalid,
    ip_address,
    ip_block,
    labels,
    not_supported,
    port_number,
    required,
)
from hauberk.model.istio.security import (
    AuthorizationPolicy,
    Condition,
    Operation,
    PeerAuthentication,
    RequestAuthentication,
    Source,
)
from hauberk.model.validation import describe

ATTRIBUTES = frozenset(
    {
        "connection.sni",
        "destination.ip",
        "destination.port",
        "remote.ip",
        "request.auth.audiences",
        "request.auth.presenter",
        "request.auth.principal",
        "source.ip",
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
    }
)
_MAPS = re.compile(
    r"request\.headers\[[^\]]+\]|request\.auth\.claims(\[[^\]]+\])+|experimental\.envoy\.filters\..+"
)
_PRINCIPAL = re.compile(r"[^/\s]+/ns/[^/\s]+/sa/[^/\s]+")


def admit_authorization_policy(new: AuthorizationPolicy, _old: AuthorizationPolicy | None) -> Errors:
    """Rules none of whose lists is empty by mistake, with values of the right form."""
    spec = new.spec
    if spec.selector is not None:
        yield from labels(spec.selector.match_labels, "spec.selector.matchLabels")
        if spec.target_ref is not None or spec.target_refs:
            yield forbidden("spec.selector", "expected selector or targetRefs, found both: remove one")
    if spec.action == "CUSTOM":
        if spec.provider is None or not spec.provider.name:
            yield required("spec.provider.name", "is required with the action CUSTOM")
    elif spec.provider is not None:
        yield forbidden("spec.provider", f"is only for the action CUSTOM, found {spec.action or 'ALLOW'}")
    if spec.action in {"DENY", "AUDIT"} and not spec.rules:
        yield required(
            "spec.rules", f"without rules a policy with action {spec.action} does nothing: add a rule"
        )
    for index, rule in enumerate(spec.rules):
        path = f"spec.rules[{index}]"
        for number, origin in enumerate(rule.from_):
            yield from _admit_source(origin.source, f"{path}.from[{number}].source")
        for number, target in enumerate(rule.to):
            yield from _admit_operation(target.operation, f"{path}.to[{number}].operation")
        for number, condition in enumerate(rule.when):
            yield from _admit_condition(condition, f"{path}.when[{number}]")


def _admit_source(source: Source | None, path: str) -> Errors:
    if source is None or source == Source():
        yield required(path, "expected at least one field: leave `from` out to match every caller")
        return
    for name, values in (("principals", source.principals), ("notPrincipals", source.not_principals)):
        for index, value in enumerate(values):
            yield from admit_principal(value, f"{path}.{name}[{index}]")
    for name, values in (
        ("ipBlocks", source.ip_blocks),
        ("notIpBlocks", source.not_ip_blocks),
        ("remoteIpBlocks", source.remote_ip_blocks),
        ("notRemoteIpBlocks", source.not_remote_ip_blocks),
    ):
        for index, value in enumerate(values):
            yield from ip_block(value, f"{path}.{name}[{index}]")
    for name, values in (("namespaces", source.namespaces), ("notNamespaces", source.not_namespaces)):
        yield from _admit_wildcards(values, f"{path}.{name}")
    if (source.service_accounts or source.not_service_accounts) and (
        source.principals or source.not_principals or source.namespaces or source.not_namespaces
    ):
        yield invalid(
            f"{path}.serviceAccounts", "cannot stand beside principals or namespaces: use one of them"
        )


def admit_principal(value: str, path: str) -> Errors:
    """`TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, or a part of it with `*` at one end."""
    if value.startswith("spiffe://"):
        yield invalid(path, f'write the principal without "spiffe://": {value.removeprefix("spiffe://")}')
    elif "*" not in value and not _PRINCIPAL.fullmatch(value):
        yield invalid(
            path, f"expected TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT, or * at one end, found {describe(value)}"
        )
    yield from _admit_wildcards((value,), path)


def _admit_wildcards(values: tuple[str, ...], path: str) -> Errors:
    for index, value in enumerate(values):
        at = path if len(values) == 1 else f"{path}[{index}]"
        if not value:
            yield required(at, "must not be empty")
        elif "*" in value[1:-1]:
            yield invalid(at, f"a * can stand only at one end, found {describe(value)}")
        elif value.startswith("*") and value.endswith("*") and len(value) > 1:
            yield invalid(at, f"a * can stand at one end, not at both, found {describe(value)}")


def _admit_operation(operation: Operation | None, path: str) -> Errors:
    if operation is None or operation == Operation():
        yield required(path, "expected at least one field: leave `to` out to match every call")
        return
    for name, values in _lists(operation):
        if name.lower().endswith("ports"):
            for index, value in enumerate(values):
                at = f"{path}.{name}[{index}]"
                if not value.isdecimal():
                    yield invalid(at, f"expected a port number in quotes, found {describe(value)}")
                else:
                    yield from port_number(int(value), at)
        elif name.lower().endswith("paths"):
            for index, value in enumerate(values):
                yield from _admit_path(value, f"{path}.{name}[{index}]")
        else:
            yield from _admit_wildcards(values, f"{path}.{name}")


def _lists(operation: Operation) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "hosts", operation.hosts
    yield "notHosts", operation.not_hosts
    yield "ports", operation.ports
    yield "notPorts", operation.not_ports
    yield "methods", operation.methods
    yield "notMethods", operation.not_methods
    yield "paths", operation.paths
    yield "notPaths", operation.not_paths


def _admit_path(value: str, path: str) -> Errors:
    """A path, with `*` at one end, or with templates `{*}` and `{**}`."""
    if "{*}" in value or "{**}" in value:
        if "*" in value.replace("{**}", "").replace("{*}", ""):
            yield invalid(path, f"a path with templates takes no other *, found {describe(value)}")
        elif "{**}" in value[:-4]:
            yield invalid(path, f"{{**}} can stand only at the end, found {describe(value)}")
        return
    yield from _admit_wildcards((value,), path)


def _admit_condition(condition: Condition, path: str) -> Errors:
    if condition.key not in ATTRIBUTES and not _MAPS.fullmatch(condition.key):
        known = ", ".join(sorted(ATTRIBUTES))
        yield not_supported(
            f"{path}.key",
            f"expected {known}, request.headers[NAME] or request.auth.claims[NAME]; found {describe(condition.key)}",
        )
    if not condition.values and not condition.not_values:
        yield required(path, "expected values or notValues")
    for name, values in (("values", condition.values), ("notValues", condition.not_values)):
        for index, value in enumerate(values):
            at = f"{path}.{name}[{index}]"
            if condition.key in {"source.ip", "remote.ip", "destination.ip"}:
                yield from ip_block(value, at)
            elif condition.key == "destination.port":
                yield from port_number(int(value) if value.isdecimal() else 0, at)
            elif condition.key == "source.principal":
                yield from admit_principal(value, at)
            else:
                yield from _admit_wildcards((value,), at)


def admit_peer_authentication(new: PeerAuthentication, _old: PeerAuthentication | None) -> Errors:
    """Ports need a selector, because they are ports of pods."""
    spec = new.spec
    if spec.selector is not None:
        yield from labels(spec.selector.match_labels, "spec.selector.matchLabels")
    if spec.port_level_mtls and (spec.selector is None or not spec.selector.match_labels):
        yield required("spec.selector", "is required with portLevelMtls: ports belong to certain pods")
    for port in spec.port_level_mtls:
        path = f"spec.portLevelMtls[{port}]"
        if port.isdecimal():
            yield from port_number(int(port), path)
        else:
            yield invalid(path, f"expected a port number, found {describe(port)}")


def admit_request_authentication(new: RequestAuthentication, _old: RequestAuthentication | None) -> Errors:
    """Each rule names an issuer and at most one source of keys."""
    for index, rule in enumerate(new.spec.jwt_rules):
        path = f"spec.jwtRules[{index}]"
        if not rule.issuer:
            yield required(f"{path}.issuer")
        uri = rule.jwks_uri or rule.jwks_uri_old
        if uri and rule.jwks:
            yield invalid(f"{path}.jwks", "expected jwks or jwksUri, found both: remove one")
        if uri:
            yield from _admit_key_set_address(uri, f"{path}.jwksUri")
        yield from duration(rule.timeout, f"{path}.timeout", least=0.001)


def _admit_key_set_address(uri: str, path: str) -> Errors:
    """Whose host can be resolved. Everybody who may read the object would read a password in it."""
    if not uri.startswith(("https://", "http://")):
        yield invalid(path, f"expected an https:// or http:// address, found {describe(uri)}")
        return
    try:
        parts = urlsplit(uri)
        host, named, _ = parts.hostname or "", "@" in parts.netloc, parts.port
    except ValueError:
        yield invalid(path, f"expected the address of a host, found {describe(uri)}")
        return
    if named:
        yield forbidden(path, "an address here has no user part: publish the keys without a password")
    elif ":" in host:
        yield from ip_address(host, path)
    else:
        yield from host_name(host, path, wildcard=False)

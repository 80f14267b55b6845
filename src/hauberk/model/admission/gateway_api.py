"""Rules on the Gateway API's kinds."""

import re
from collections.abc import Sequence

from hauberk.model.admission.syntax import (
    Errors,
    forbidden,
    host_name,
    invalid,
    pattern,
    required,
    unique,
)
from hauberk.model.gateway_api.filter import GrpcFilter, HttpFilter, PathModifier
from hauberk.model.gateway_api.gateway import Gateway, Listener
from hauberk.model.gateway_api.reference import ReferenceGrant, WeightedBackendReference
from hauberk.model.gateway_api.route import (
    GrpcBackend,
    GRPCRoute,
    HeaderMatch,
    HttpBackend,
    HttpMatch,
    HTTPRoute,
    HttpRule,
    QueryMatch,
    TCPRoute,
    TLSRoute,
)
from hauberk.model.validation import describe

_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_FIELD_OF_TYPE = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "ExtensionRef": "extension_ref",
    "CORS": "cors",
    "ExternalAuth": "external_auth",
}
_REPEATABLE = frozenset({"RequestMirror", "ExtensionRef"})


def admit_gateway(new: Gateway, _old: Gateway | None) -> Errors:
    """Listeners that can be told apart, with TLS where the protocol has it."""
    listeners = new.spec.listeners
    yield from unique(
        [(item.name, f"spec.listeners[{index}].name") for index, item in enumerate(listeners)],
        "listener name",
    )
    places = [
        (f"{item.port} {item.protocol} {item.hostname or '*'}", f"spec.listeners[{index}]")
        for index, item in enumerate(listeners)
    ]
    yield from unique(places, "listener")
    for index, listener in enumerate(listeners):
        yield from _admit_listener(listener, f"spec.listeners[{index}]")


def _admit_listener(listener: Listener, path: str) -> Errors:
    if listener.hostname:
        yield from host_name(listener.hostname, f"{path}.hostname")
        if listener.protocol in {"TCP", "UDP"}:
            yield forbidden(
                f"{path}.hostname", f"the protocol {listener.protocol} carries no host name: remove it"
            )
    if listener.protocol == "HTTP" and listener.tls is not None:
        yield forbidden(f"{path}.tls", "the protocol HTTP has no TLS: use HTTPS, or remove it")
    if listener.protocol == "HTTPS":
        if listener.tls is None:
            yield required(f"{path}.tls", "is required for the protocol HTTPS")
        elif listener.tls.mode in {None, "Terminate"} and not (
            listener.tls.certificate_refs or listener.tls.options
        ):
            yield required(f"{path}.tls.certificateRefs", "is required to end TLS: the name of a Secret")


def admit_http_route(new: HTTPRoute, _old: HTTPRoute | None) -> Errors:
    """Rules each of which answers or passes on, with filters of one field each."""
    yield from _admit_host_names(new.spec.hostnames)
    for index, rule in enumerate(new.spec.rules):
        yield from _admit_rule(rule, f"spec.rules[{index}]")


def _admit_host_names(names: tuple[str, ...]) -> Errors:
    for index, name in enumerate(names):
        yield from host_name(name, f"spec.hostnames[{index}]")


def _admit_rule(rule: HttpRule, path: str) -> Errors:
    for index, match in enumerate(rule.matches):
        yield from _admit_match(match, f"{path}.matches[{index}]")
    yield from _admit_filters(rule.filters, f"{path}.filters")
    yield from _admit_backends(rule.backend_refs, f"{path}.backendRefs")
    for index, backend in enumerate(rule.backend_refs):
        yield from _admit_filters(backend.filters, f"{path}.backendRefs[{index}].filters")
    types = [item.type for item in rule.filters]
    if "RequestRedirect" in types and rule.backend_refs:
        yield forbidden(
            f"{path}.backendRefs", "a rule that redirects has no backends: remove them or the redirect"
        )
    if "RequestRedirect" in types and "URLRewrite" in types:
        yield invalid(f"{path}.filters", "expected RequestRedirect or URLRewrite, found both")
    prefix_only = all(match.path is None or match.path.type in {None, "PathPrefix"} for match in rule.matches)
    for index, item in enumerate(rule.filters):
        modifier = (item.request_redirect and item.request_redirect.path) or (
            item.url_rewrite and item.url_rewrite.path
        )
        if modifier:
            yield from _admit_modifier(modifier, f"{path}.filters[{index}]", prefix_only=prefix_only)
    if rule.timeouts is not None:
        request, backend_request = rule.timeouts.request, rule.timeouts.backend_request
        for name, value in (("request", request), ("backendRequest", backend_request)):
            yield from _duration(value, f"{path}.timeouts.{name}")
    if rule.retry is not None:
        yield from _duration(rule.retry.backoff, f"{path}.retry.backoff")


def _admit_match(match: HttpMatch, path: str) -> Errors:
    if match.path is not None and match.path.value is not None:
        value = match.path.value
        if match.path.type == "RegularExpression":
            yield from pattern(value, f"{path}.path.value")
        elif not value.startswith("/"):
            yield invalid(f"{path}.path.value", f"expected an absolute path, found {describe(value)}")
        elif "//" in value or "/../" in value or "/./" in value or "#" in value:
            yield invalid(
                f"{path}.path.value", f"must not contain //, /./, /../ or #, found {describe(value)}"
            )
    compared: list[tuple[str, Sequence[HeaderMatch | QueryMatch]]] = [
        ("headers", match.headers),
        ("queryParams", match.query_params),
    ]
    for field, items in compared:
        for index, item in enumerate(items):
            if item.type == "RegularExpression":
                yield from pattern(item.value, f"{path}.{field}[{index}].value")


def _admit_filters(filters: Sequence[HttpFilter | GrpcFilter], path: str) -> Errors:
    once: list[tuple[str, str]] = [
        (item.type, f"{path}[{index}]") for index, item in enumerate(filters) if item.type not in _REPEATABLE
    ]
    yield from unique(once, "filter type")
    for index, item in enumerate(filters):
        wanted = _FIELD_OF_TYPE[item.type]
        for field in _FIELD_OF_TYPE.values():
            given = getattr(item, field, None) is not None
            if given != (field == wanted):
                name = "".join(word.capitalize() for word in field.split("_"))
                name = name[0].lower() + name[1:]
                if given:
                    yield forbidden(
                        f"{path}[{index}].{name}",
                        f"does not belong to a filter of type {item.type}: remove it",
                    )
                else:
                    yield required(f"{path}[{index}].{name}", f"is required in a filter of type {item.type}")


def _admit_modifier(modifier: PathModifier, path: str, *, prefix_only: bool) -> Errors:
    if modifier.type == "ReplaceFullPath" and modifier.replace_full_path is None:
        yield required(f"{path}.path.replaceFullPath", "is required with the type ReplaceFullPath")
    if modifier.type == "ReplacePrefixMatch":
        if modifier.replace_prefix_match is None:
            yield required(f"{path}.path.replacePrefixMatch", "is required with the type ReplacePrefixMatch")
        if not prefix_only:
            yield invalid(f"{path}.path.type", "ReplacePrefixMatch needs matches of type PathPrefix only")


def _admit_backends(
    backends: Sequence[HttpBackend | GrpcBackend | WeightedBackendReference], path: str
) -> Errors:
    for index, backend in enumerate(backends):
        if not backend.group and (backend.kind or "Service") == "Service" and backend.port is None:
            yield required(f"{path}[{index}].port", "is required for a Service")


def admit_grpc_route(new: GRPCRoute, _old: GRPCRoute | None) -> Errors:
    """Services and methods of the right form."""
    yield from _admit_host_names(new.spec.hostnames)
    for index, rule in enumerate(new.spec.rules):
        path = f"spec.rules[{index}]"
        for number, match in enumerate(rule.matches):
            if match.method is None:
                continue
            at = f"{path}.matches[{number}].method"
            if not match.method.service and not match.method.method:
                yield required(at, "expected service or method")
            if match.method.type == "RegularExpression":
                yield from pattern(match.method.service or "", f"{at}.service")
                yield from pattern(match.method.method or "", f"{at}.method")
        yield from _admit_filters(rule.filters, f"{path}.filters")
        yield from _admit_backends(rule.backend_refs, f"{path}.backendRefs")


def admit_l4_route(new: TLSRoute | TCPRoute, _old: TLSRoute | TCPRoute | None) -> Errors:
    """Backends with ports."""
    if isinstance(new, TLSRoute):
        yield from _admit_host_names(new.spec.hostnames)
    for index, rule in enumerate(new.spec.rules):
        yield from _admit_backends(rule.backend_refs, f"spec.rules[{index}].backendRefs")


def admit_reference_grant(new: ReferenceGrant, _old: ReferenceGrant | None) -> Errors:
    """A grant says from where and to what."""
    if new.spec is None:
        yield required("spec")


def _duration(value: str | None, path: str) -> Errors:
    if value is not None and not _DURATION.fullmatch(value):
        yield invalid(path, f"expected a duration such as 10s or 1m30s, found {describe(value)}")

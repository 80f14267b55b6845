"""Gateway API → VirtualServices and Gateways, so that one translation serves both (Gateway API v1).

A route's parent is a Gateway or, in the mesh, a Service (GAMMA). A Gateway is served by the pods in its namespace
that carry the label `gateway.networking.k8s.io/gateway-name`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import ValidationError

from hauberk.mesh.gateway_cors import answerable, cors_policy
from hauberk.mesh.gateway_listeners import (
    GATEWAY_NAME_LABEL,
    CheckedGateway,
    Listener,
    check_gateway,
    is_ours,
)
from hauberk.mesh.gateway_status import Condition, RouteParent, RouteStatus, Spec
from hauberk.mesh.hosts import host_matches, narrower_host
from hauberk.mesh.reference_grants import granted
from hauberk.mesh.registry import GATEWAY_API, NETWORKING, Configuration, Key, Labels, Registry, host_of
from hauberk.model.kubernetes.meta import LabelSelector
from hauberk.model.selector import matches
from hauberk.model.struct import parse

ROUTE_KINDS = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute")

_log = logging.getLogger(__name__)

EVERYTHING: tuple[Spec, ...] = ({},)

_HEADER_MODIFIERS = frozenset({"RequestHeaderModifier", "ResponseHeaderModifier"})
_FILTERS = {
    "HTTPRoute": _HEADER_MODIFIERS | {"CORS", "RequestMirror", "RequestRedirect", "URLRewrite"},
    "GRPCRoute": _HEADER_MODIFIERS | {"RequestMirror"},
}
"""The filters that are carried out, by the kind of route. A backend of its own has those on headers only."""

_DERIVED = "~gateway-api"
"""Ends the names of what is derived: no object of the API can have such a name."""


@dataclass(frozen=True, slots=True)
class Converted:
    virtual_services: tuple[Configuration, ...]
    gateways: tuple[Configuration, ...]
    checked: tuple[CheckedGateway, ...]
    statuses: tuple[RouteStatus, ...]


def convert(registry: Registry) -> Converted:
    """All Gateways and routes of the Gateway API in Istio's words."""
    found = registry.of_kind(GATEWAY_API, "Gateway")
    checked = [_checked(one, registry) for one in found if is_ours(one, registry)]
    gateways = {one.gateway.key: one for one in checked}
    virtual_services: list[Configuration] = []
    statuses: list[RouteStatus] = []
    for kind in ROUTE_KINDS:
        for route in registry.of_kind(GATEWAY_API, kind):
            made, status = _convert_route(route, registry, gateways)
            virtual_services += made
            statuses.append(status)
    derived = (_gateway(one, listener) for one in checked for listener in one.listeners if listener.served)
    return Converted(tuple(virtual_services), tuple(derived), tuple(checked), tuple(statuses))


def _checked(gateway: Configuration, registry: Registry) -> CheckedGateway:
    """A Gateway that makes no sense (the API admits none) has no listener, and disturbs no other."""
    try:
        return check_gateway(gateway, registry)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        _log.error("mesh: Gateway %s/%s is not served: %r", gateway.namespace, gateway.name, error)
        return CheckedGateway(gateway, ())


def pods_namespace(gateway: Configuration) -> str | None:
    """The namespace that a Gateway's pods must be in; None for one of Istio's, which selects them anywhere."""
    return gateway.namespace if gateway.name.endswith(_DERIVED) else None


def _convert_route(
    route: Configuration, registry: Registry, gateways: Mapping[Key, CheckedGateway]
) -> tuple[list[Configuration], RouteStatus]:
    """A route that makes no sense (the API admits none) serves nothing, says so, and disturbs no other."""
    try:
        return _Route(route, registry, gateways).convert()
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
        _log.error("mesh: %s %s/%s is not served: %r", route.kind, route.namespace, route.name, error)
        refused = _refused("UnsupportedValue", f"the route cannot be translated: {error!r}")
        references = route.spec.get("parentRefs")
        parents = [one for one in references if isinstance(one, dict)] if isinstance(references, list) else []
        return [], RouteStatus(
            route.kind,
            route.namespace,
            route.name,
            route.generation,
            tuple(RouteParent(one, (refused,)) for one in parents),
        )


def _gateway(checked: CheckedGateway, listener: Listener) -> Configuration:
    """A Gateway of Istio's for each listener, so that a route is bound to those that admit it and to no other."""
    spec = listener.spec
    server: dict[str, Any] = {
        "name": listener.name,
        "port": {"number": spec["port"], "protocol": spec["protocol"], "name": listener.name},
        "hosts": [f"*/{listener.host}"],
        "reserved": checked.reserved(listener),
    }
    if listener.certificate is not None:
        server["tls"] = {"mode": "SIMPLE", "secret": listener.certificate}
    elif spec.get("tls") is not None:
        server["tls"] = {"mode": "PASSTHROUGH"}
    gateway = checked.gateway
    derived = {"selector": {GATEWAY_NAME_LABEL: gateway.name}, "servers": [server]}
    return _derived(gateway, "Gateway", _gateway_name(gateway.name, listener), derived)


def _gateway_name(name: str, listener: Listener) -> str:
    return f"{name}~{listener.name}{_DERIVED}"


def _derived(source: Configuration, kind: str, name: str, spec: Spec) -> Configuration:
    return Configuration(
        group=NETWORKING,
        kind=kind,
        namespace=source.namespace,
        name=name,
        labels=Labels(),
        created=source.created,
        generation=source.generation,
        spec=spec,
    )


class _Route:
    """One route with its parents."""

    def __init__(
        self, route: Configuration, registry: Registry, gateways: Mapping[Key, CheckedGateway]
    ) -> None:
        self._route = route
        self._registry = registry
        self._gateways = gateways
        self._problems: list[tuple[str, str]] = []
        self._dropped: list[str] = []
        """Rules that answer 500, and why."""

    def convert(self) -> tuple[list[Configuration], RouteStatus]:
        body = self._body()
        if self._problems:
            resolved = Condition(
                "ResolvedRefs", False, self._problems[0][0], "; ".join(one for _, one in self._problems)
            )
        else:
            resolved = Condition("ResolvedRefs", True, "ResolvedRefs", "all references are resolved")
        made: list[Configuration] = []
        parents: list[RouteParent] = []
        for index, parent in enumerate(self._route.spec.get("parentRefs") or ()):
            if self._is_anothers(parent):
                continue
            specs, accepted, listeners = self._attach(parent, body)
            for suffix, spec in specs.items():
                name = f"{self._route.name}~{self._route.kind.lower()}~{index}{suffix}"
                made.append(_derived(self._route, "VirtualService", name, spec))
            accepted, *partially = self._without_dropped(accepted)
            parents.append(RouteParent(parent, (accepted, resolved, *partially), listeners))
        route = self._route
        return made, RouteStatus(route.kind, route.namespace, route.name, route.generation, tuple(parents))

    def _without_dropped(self, accepted: Condition) -> tuple[Condition, ...]:
        """What is said of a route some or all of whose rules are not carried out."""
        if not accepted.status or not self._dropped:
            return (accepted,)
        message = f"Dropped Rule, its requests are answered 500: {'; '.join(self._dropped)}"
        if len(self._dropped) == len(self._route.spec.get("rules") or ()):
            return (_refused("UnsupportedValue", message),)
        return accepted, Condition("PartiallyInvalid", True, "UnsupportedValue", message)

    def _is_anothers(self, parent: Spec) -> bool:
        """Whether another controller runs the parent, and is to say what becomes of the route there."""
        if parent.get("kind", "Gateway") != "Gateway":
            return False
        key = (parent.get("namespace") or self._route.namespace, parent["name"])
        return (GATEWAY_API, "Gateway", *key) in self._registry.configurations and key not in self._gateways

    def _attach(
        self, parent: Spec, body: Spec
    ) -> tuple[dict[str, Spec], Condition, tuple[tuple[str, str, str], ...]]:
        """The VirtualServices that serve the route there, by the ends of their names, and where that is."""
        namespace = parent.get("namespace") or self._route.namespace
        if parent.get("kind", "Gateway") == "Service":
            spec, accepted = self._attach_to_service(parent, namespace, body)
            return {} if spec is None else {"": spec}, accepted, ()
        checked = self._gateways.get((namespace, parent["name"]))
        if checked is None:
            refused = _refused("NoMatchingParent", f"there is no Gateway {namespace}/{parent['name']}")
            return {}, refused, ()
        listeners = [
            one
            for one in checked.listeners
            if parent.get("sectionName") in (None, one.name)
            and parent.get("port") in (None, one.spec["port"])
        ]
        if not listeners:
            return {}, _refused("NoMatchingParent", "the Gateway has no such listener"), ()
        admitting = [one for one in listeners if self._admitted(one, namespace)]
        if not admitting:
            message = "no listener admits routes of this kind and namespace"
            return {}, _refused("NotAllowedByListeners", message), ()
        shared = {one.name: self._shared_hosts(one, checked) for one in admitting}
        attached = [one for one in admitting if shared[one.name]]
        if not attached:
            message = "no hostname is one of a listener's, or it is one of a listener that is closer to it"
            return {}, _refused("NoMatchingListenerHostname", message), ()
        specs: dict[str, Spec] = {
            f"~{one.name}": {
                "hosts": shared[one.name],
                "gateways": [f"{namespace}/{_gateway_name(parent['name'], one)}"],
                **_for_server_names(body, shared[one.name]),
            }
            for one in attached
        }
        names = tuple((namespace, parent["name"], one.name) for one in attached)
        return specs, Condition("Accepted", True, "Accepted", "the route is served"), names

    def _shared_hosts(self, listener: Listener, checked: CheckedGateway) -> list[str]:
        """The host names that both the route and the listener are for, and no narrower listener of the port."""
        told = self._route.spec.get("hostnames") or ("*",)
        found = (narrower_host(one.lower(), listener.host) for one in told)
        others = checked.reserved(listener)
        return list(
            dict.fromkeys(
                one for one in found if one and not any(host_matches(other, one) for other in others)
            )
        )

    def _attach_to_service(self, parent: Spec, namespace: str, body: Spec) -> tuple[Spec | None, Condition]:
        host = host_of(parent["name"], namespace, self._registry.mesh)
        if host not in self._registry.views:
            return None, _refused("NoMatchingParent", f"there is no Service {namespace}/{parent['name']}")
        spec: dict[str, Any] = {"hosts": [host], **body}
        if namespace != self._route.namespace:
            spec["exportTo"] = ["."]
        if parent.get("port") is not None:
            spec = dict(_at_ports(spec, [parent["port"]]))
        return spec, Condition("Accepted", True, "Accepted", "the route is served")

    def _admitted(self, listener: Listener, gateway_namespace: str) -> bool:
        if self._route.kind not in listener.kinds:
            return False
        namespaces = (listener.spec.get("allowedRoutes") or {}).get("namespaces") or {}
        scope = namespaces.get("from") or "Same"
        if scope == "All":
            return True
        if scope == "Same":
            return gateway_namespace == self._route.namespace
        own = self._registry.configurations.get(("", "Namespace", "", self._route.namespace))
        labels = own.labels if own else Labels()
        selector = parse(LabelSelector, namespaces.get("selector") or {})
        return matches(selector, dict(labels.items))

    def _body(self) -> Spec:
        rules = self._route.spec.get("rules") or ()
        kind = self._route.kind
        if kind == "TCPRoute":
            return {"tcp": [{"route": self._backends(rule)} for rule in rules]}
        if kind == "TLSRoute":
            names = list(self._route.spec.get("hostnames") or ("*",))
            return {
                "tls": [{"match": [{"sniHosts": names}], "route": self._backends(rule)} for rule in rules]
            }
        routes = [route for index, rule in enumerate(rules) for route in self._http(index, rule)]
        return {"http": sorted(routes, key=_precedence)}

    def _http(self, index: int, rule: Spec) -> Iterator[dict[str, Any]]:
        """One route for each match, so that they can be put in order of precedence."""
        refused = list(self._refused_filters(rule))
        if refused:
            self._dropped.append(f"rules[{index}]: {', '.join(refused)}")
        told = {"directResponse": {"status": 500}} if refused else self._answer(rule)
        translate = _grpc_match if self._route.kind == "GRPCRoute" else _http_match
        for match in rule.get("matches") or EVERYTHING:
            yield {**told, "match": [translate(match)]}

    def _refused_filters(self, rule: Spec) -> Iterator[str]:
        """Filters that nobody here carries out: without them no request may pass (Gateway API, HTTPRouteFilter)."""
        own = rule.get("filters") or ()
        yield from self._not_carried_out(own, _FILTERS[self._route.kind])
        for one in own:
            if one.get("type") == "CORS" and not answerable(one["cors"]):
                yield "filter CORS: with allowCredentials expected allowHeaders by name, found *"
        if {"RequestRedirect", "URLRewrite"} <= {one.get("type") for one in own}:
            yield "RequestRedirect and URLRewrite exclude each other"
        for reference in rule.get("backendRefs") or ():
            if reference.get("weight") != 0:
                for one in self._not_carried_out(reference.get("filters") or (), _HEADER_MODIFIERS):
                    yield f"backendRef {reference.get('name')}: {one}"

    def _not_carried_out(self, told: Sequence[Spec], known: frozenset[str]) -> Iterator[str]:
        seen: set[str] = set()
        for one in told:
            kind = str(one.get("type"))
            if kind == "ExtensionRef":
                reference = one.get("extensionRef") or {}
                named = f"{reference.get('kind')} {reference.get('name')}"
                self._problem("InvalidKind", f"extensionRef: there is no filter {named} here")
            if kind not in known:
                yield f"filter {kind} is not supported"
            elif kind in seen and kind != "RequestMirror":
                yield f"filter {kind} stands there twice"
            seen.add(kind)

    def _answer(self, rule: Spec) -> dict[str, Any]:
        """What a rule does with its requests."""
        told: dict[str, Any] = {}
        backends = self._backends(rule)
        for one in rule.get("filters") or ():
            self._filter(told, one)
        if "redirect" not in told:
            if backends:
                told["route"] = backends
            else:
                told["directResponse"] = {"status": 500}
        timeouts = rule.get("timeouts") or {}
        if timeouts.get("request"):
            told["timeout"] = timeouts["request"]
        retry = rule.get("retry") or {}
        told["retries"] = {"attempts": 0}
        if retry:
            codes = ",".join(str(code) for code in retry.get("codes") or ())
            told["retries"] = {"attempts": retry.get("attempts", 1), "retryOn": codes or "connect-failure"}
        if timeouts.get("backendRequest") and told["retries"]["attempts"]:
            told["retries"]["perTryTimeout"] = timeouts["backendRequest"]
        elif timeouts.get("backendRequest") and "timeout" not in told:
            told["timeout"] = timeouts["backendRequest"]
        return told

    def _filter(self, told: dict[str, Any], one: Spec) -> None:
        kind = one["type"]
        if kind in _HEADER_MODIFIERS:
            side = "request" if kind == "RequestHeaderModifier" else "response"
            changes = one[f"{side}HeaderModifier"]
            told.setdefault("headers", {})[side] = {
                "set": {each["name"]: each["value"] for each in changes.get("set") or ()},
                "add": {each["name"]: each["value"] for each in changes.get("add") or ()},
                "remove": list(changes.get("remove") or ()),
            }
        elif kind == "RequestRedirect":
            told["redirect"] = _redirect(one["requestRedirect"])
        elif kind == "CORS":
            told["corsPolicy"] = cors_policy(one["cors"])
        elif kind == "URLRewrite":
            told["rewrite"] = _rewrite(one["urlRewrite"])
        elif kind == "RequestMirror":
            mirror = one["requestMirror"]
            backend = self._backend(mirror["backendRef"])
            if backend is not None:
                told.setdefault("mirrors", []).append(
                    {"destination": backend, "percentage": {"value": _percent(mirror)}}
                )
        else:
            raise ValueError(f"filter {kind} is not supported")

    def _backends(self, rule: Spec) -> list[dict[str, Any]]:
        found = []
        for reference in rule.get("backendRefs") or ():
            weight = reference.get("weight")
            weight = 1 if weight is None else weight
            destination = self._backend(reference)
            if weight and destination is not None:
                entry: dict[str, Any] = {"destination": destination, "weight": weight}
                own: dict[str, Any] = {}
                for one in reference.get("filters") or ():
                    self._filter(own, one)
                if own.get("headers"):
                    entry["headers"] = own["headers"]
                found.append(entry)
        return found

    def _backend(self, reference: Spec) -> dict[str, Any] | None:
        if reference.get("kind", "Service") != "Service" or reference.get("group", ""):
            self._problem(
                "InvalidKind", f"backendRef of kind {reference.get('kind')}: only Service is supported"
            )
            return None
        namespace = reference.get("namespace") or self._route.namespace
        name = reference["name"]
        if namespace != self._route.namespace and not granted(
            self._registry, self._route, "Service", (namespace, name)
        ):
            self._problem("RefNotPermitted", f"no ReferenceGrant in {namespace} lets this route use {name}")
            return None
        host = host_of(name, namespace, self._registry.mesh)
        view = self._registry.views.get(host)
        if view is not None and view.service.alias:
            self._problem(
                "InvalidKind", f"Service {namespace}/{name} is another name (ExternalName): name that"
            )
            return None
        if view is None:
            self._problem("BackendNotFound", f"there is no Service {namespace}/{name}")
            return None
        destination: dict[str, Any] = {"host": host}
        if reference.get("port") is not None:
            destination["port"] = {"number": reference["port"]}
        return destination

    def _problem(self, reason: str, message: str) -> None:
        if (reason, message) not in self._problems:
            self._problems.append((reason, message))


def _refused(reason: str, message: str) -> Condition:
    return Condition("Accepted", False, reason, message)


def _for_server_names(spec: Spec, names: Sequence[str]) -> dict[str, Any]:
    """The same, its TLS routes for these server names."""
    made = dict(spec)
    if "tls" in made:
        made["tls"] = [{**route, "match": [{"sniHosts": list(names)}]} for route in made["tls"]]
    return made


def _at_ports(spec: Spec, ports: Sequence[int]) -> dict[str, Any]:
    """The same, with every match tied to one of the ports."""
    made = dict(spec)
    for protocol in ("http", "tls", "tcp"):
        if protocol in made:
            made[protocol] = [
                {
                    **route,
                    "match": [
                        {**match, "port": port}
                        for match in route.get("match") or EVERYTHING
                        for port in ports
                    ],
                }
                for route in made[protocol]
            ]
    return made


def _http_match(match: Spec) -> dict[str, Any]:
    made: dict[str, Any] = {}
    path = match.get("path") or {}
    value = path.get("value") or "/"
    kind = path.get("type") or "PathPrefix"
    if kind == "Exact":
        made["uri"] = {"exact": value}
    elif kind == "RegularExpression":
        made["uri"] = {"regex": value}
    elif value.rstrip("/"):
        made["uri"] = {"segmentPrefix": value.rstrip("/")}
    if match.get("method"):
        made["method"] = {"exact": match["method"]}
    _named_values(made, "headers", match.get("headers") or ())
    _named_values(made, "queryParams", match.get("queryParams") or ())
    return made


def _grpc_match(match: Spec) -> dict[str, Any]:
    made: dict[str, Any] = {}
    method = match.get("method") or {}
    service, name = method.get("service"), method.get("method")
    if method.get("type") == "RegularExpression":
        made["uri"] = {"regex": f"/{service or '[^/]+'}/{name or '[^/]+'}"}
    elif service and name:
        made["uri"] = {"exact": f"/{service}/{name}"}
    elif service:
        made["uri"] = {"prefix": f"/{service}/"}
    elif name:
        made["uri"] = {"regex": f"/[^/]+/{re.escape(name)}"}
    _named_values(made, "headers", match.get("headers") or ())
    return made


def _named_values(made: dict[str, Any], key: str, told: Sequence[Spec]) -> None:
    for one in told:
        how = "regex" if one.get("type") == "RegularExpression" else "exact"
        made.setdefault(key, {}).setdefault(one["name"], {how: one["value"]})


def _precedence(route: Spec) -> tuple[int, int, int, int, int]:
    """Exact paths, then longer ones, then a method, then more headers, then more parameters."""
    match = route["match"][0]
    uri = match.get("uri") or {}
    kind, text = next(iter(uri.items()), ("segmentPrefix", ""))
    return (
        {"exact": 0, "regex": 1}.get(kind, 2),
        -len(text),
        0 if "method" in match else 1,
        -len(match.get("headers") or {}),
        -len(match.get("queryParams") or {}),
    )


def _percent(mirror: Spec) -> float:
    """The share of requests that a mirror gets: `fraction`, else `percent`, else all."""
    fraction = mirror.get("fraction")
    if fraction is not None:
        return float(100 * fraction["numerator"] / (fraction.get("denominator") or 100))
    percent = mirror.get("percent")
    return 100.0 if percent is None else float(percent)


def _redirect(told: Spec) -> dict[str, Any]:
    made: dict[str, Any] = {"redirectCode": told.get("statusCode") or 302}
    if told.get("scheme"):
        made["scheme"] = told["scheme"]
    if told.get("hostname"):
        made["authority"] = told["hostname"]
    if told.get("port"):
        made["port"] = told["port"]
    path = told.get("path") or {}
    if path.get("type") == "ReplaceFullPath":
        made["uri"] = path["replaceFullPath"]
    elif path.get("type") == "ReplacePrefixMatch":
        made["prefixRewrite"] = path["replacePrefixMatch"]
    return made


def _rewrite(told: Spec) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if told.get("hostname"):
        made["authority"] = told["hostname"]
    path = told.get("path") or {}
    if path.get("type") == "ReplaceFullPath":
        made["uriRegexRewrite"] = {"match": "^[^?]*", "rewrite": path["replaceFullPath"]}
    elif path.get("type") == "ReplacePrefixMatch":
        made["uri"] = path["replacePrefixMatch"] or "/"
    return made

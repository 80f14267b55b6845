"""Gateway API → VirtualServices and Gateways, so that one translation serves both (Gateway API v1).

A route's parent is a Gateway or, in the mesh, a Service (GAMMA). A Gateway is served by the pods in its namespace
that carry the label `gateway.networking.k8s.io/gateway-name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hauberk.mesh.registry import GATEWAY_API, NETWORKING, Configuration, Labels, Registry, host_of

GATEWAY_NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
CONTROLLER = "hauberk.io/gateway-controller"
ROUTE_KINDS = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute")

Spec = Mapping[str, Any]
EVERYTHING: tuple[Spec, ...] = ({},)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a route under one parent."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """What `status.parents` of a route is to say; the daemon writes it."""

    kind: str
    namespace: str
    name: str
    generation: int
    parents: tuple[tuple[Spec, tuple[Condition, ...]], ...]

    def to_json(self, now: str) -> dict[str, Any]:
        """The `status` of the route; `now` is RFC 3339."""
        return {
            "parents": [
                {
                    "parentRef": dict(parent),
                    "controllerName": CONTROLLER,
                    "conditions": [
                        {
                            "type": one.type,
                            "status": "True" if one.status else "False",
                            "reason": one.reason,
                            "message": one.message,
                            "observedGeneration": self.generation,
                            "lastTransitionTime": now,
                        }
                        for one in conditions
                    ],
                }
                for parent, conditions in self.parents
            ]
        }


@dataclass(frozen=True, slots=True)
class Converted:
    virtual_services: tuple[Configuration, ...]
    gateways: tuple[Configuration, ...]
    statuses: tuple[RouteStatus, ...]


def convert(registry: Registry) -> Converted:
    """All Gateways and routes of the Gateway API in Istio's words."""
    gateways = [_gateway(one) for one in registry.of_kind(GATEWAY_API, "Gateway")]
    virtual_services: list[Configuration] = []
    statuses: list[RouteStatus] = []
    for kind in ROUTE_KINDS:
        for route in registry.of_kind(GATEWAY_API, kind):
            made, status = _Route(route, registry).convert()
            virtual_services += made
            statuses.append(status)
    return Converted(tuple(virtual_services), tuple(gateways), tuple(statuses))


def _gateway(gateway: Configuration) -> Configuration:
    servers = []
    for listener in gateway.spec.get("listeners") or ():
        told: dict[str, Any] = {
            "name": listener.get("name", ""),
            "port": {
                "number": listener["port"],
                "protocol": listener["protocol"],
                "name": listener.get("name", ""),
            },
            "hosts": [f"*/{listener.get('hostname') or '*'}"],
        }
        security = listener.get("tls")
        if security is not None:
            references = security.get("certificateRefs") or ()
            told["tls"] = {
                "mode": "PASSTHROUGH" if security.get("mode") == "Passthrough" else "SIMPLE",
                "credentialName": references[0]["name"] if references else "",
            }
        servers.append(told)
    spec = {"selector": {GATEWAY_NAME_LABEL: gateway.name}, "servers": servers}
    return _derived(gateway, "Gateway", _gateway_name(gateway.name), spec)


def _gateway_name(name: str) -> str:
    return f"{name}~gateway-api"


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

    def __init__(self, route: Configuration, registry: Registry) -> None:
        self._route = route
        self._registry = registry
        self._problems: list[tuple[str, str]] = []

    def convert(self) -> tuple[list[Configuration], RouteStatus]:
        body = self._body()
        if self._problems:
            resolved = Condition(
                "ResolvedRefs", False, self._problems[0][0], "; ".join(one for _, one in self._problems)
            )
        else:
            resolved = Condition("ResolvedRefs", True, "ResolvedRefs", "all references are resolved")
        made: list[Configuration] = []
        parents: list[tuple[Spec, tuple[Condition, ...]]] = []
        for index, parent in enumerate(self._route.spec.get("parentRefs") or ()):
            spec, accepted = self._attach(parent, body)
            if spec is not None:
                made.append(
                    _derived(
                        self._route,
                        "VirtualService",
                        f"{self._route.name}~{self._route.kind.lower()}~{index}",
                        spec,
                    )
                )
            parents.append((parent, (accepted, resolved)))
        route = self._route
        return made, RouteStatus(route.kind, route.namespace, route.name, route.generation, tuple(parents))

    def _attach(self, parent: Spec, body: Spec) -> tuple[Spec | None, Condition]:
        namespace = parent.get("namespace") or self._route.namespace
        if parent.get("kind", "Gateway") == "Service":
            return self._attach_to_service(parent, namespace, body)
        gateway = self._registry.configurations.get((GATEWAY_API, "Gateway", namespace, parent["name"]))
        if gateway is None:
            return None, _refused("NoMatchingParent", f"there is no Gateway {namespace}/{parent['name']}")
        listeners = [
            one
            for one in gateway.spec.get("listeners") or ()
            if parent.get("sectionName") in (None, one.get("name"))
            and parent.get("port") in (None, one["port"])
        ]
        if not listeners:
            return None, _refused("NoMatchingParent", "the Gateway has no such listener")
        admitting = [one for one in listeners if self._admitted(one, namespace)]
        if not admitting:
            return None, _refused("NotAllowedByListeners", "no listener admits routes of this namespace")
        hosts = [
            host
            for told in self._route.spec.get("hostnames") or ("*",)
            for listener in admitting
            if (host := _narrower(told, listener.get("hostname") or "*")) is not None
        ]
        if not hosts:
            return None, _refused("NoMatchingListenerHostname", "no hostname is one of a listener's")
        spec = {
            "hosts": list(dict.fromkeys(hosts)),
            "gateways": [f"{namespace}/{_gateway_name(parent['name'])}"],
            **body,
        }
        if len(admitting) < len(gateway.spec.get("listeners") or ()):
            ports = list(dict.fromkeys(one["port"] for one in admitting))
            spec = _at_ports(spec, ports)
        return spec, Condition("Accepted", True, "Accepted", "the route is served")

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

    def _admitted(self, listener: Spec, gateway_namespace: str) -> bool:
        namespaces = (listener.get("allowedRoutes") or {}).get("namespaces") or {}
        scope = namespaces.get("from") or "Same"
        if scope == "All":
            return True
        if scope == "Same":
            return gateway_namespace == self._route.namespace
        own = self._registry.configurations.get(("", "Namespace", "", self._route.namespace))
        labels = own.labels if own else Labels()
        return Labels.of((namespaces.get("selector") or {}).get("matchLabels")).matches(labels)

    def _body(self) -> Spec:
        rules = self._route.spec.get("rules") or ()
        kind = self._route.kind
        if kind == "TCPRoute":
            return {"tcp": [{"route": self._backends(rule)} for rule in rules if self._backends(rule)]}
        if kind == "TLSRoute":
            names = list(self._route.spec.get("hostnames") or ("*",))
            return {
                "tls": [
                    {"match": [{"sniHosts": names}], "route": self._backends(rule)}
                    for rule in rules
                    if self._backends(rule)
                ]
            }
        routes = [route for rule in rules for route in self._http(rule)]
        return {"http": sorted(routes, key=_precedence)}

    def _http(self, rule: Spec) -> Iterator[dict[str, Any]]:
        """One route for each match, so that they can be put in order of precedence."""
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
        translate = _grpc_match if self._route.kind == "GRPCRoute" else _http_match
        for match in rule.get("matches") or EVERYTHING:
            yield {**told, "match": [translate(match)]}

    def _filter(self, told: dict[str, Any], one: Spec) -> None:
        kind = one.get("type")
        if kind in ("RequestHeaderModifier", "ResponseHeaderModifier"):
            side = "request" if kind == "RequestHeaderModifier" else "response"
            changes = one[f"{side}HeaderModifier"]
            told.setdefault("headers", {})[side] = {
                "set": {each["name"]: each["value"] for each in changes.get("set") or ()},
                "add": {each["name"]: each["value"] for each in changes.get("add") or ()},
                "remove": list(changes.get("remove") or ()),
            }
        elif kind == "RequestRedirect":
            told["redirect"] = _redirect(one["requestRedirect"])
        elif kind == "URLRewrite":
            told["rewrite"] = _rewrite(one["urlRewrite"])
        elif kind == "RequestMirror":
            mirror = one["requestMirror"]
            backend = self._backend(mirror["backendRef"])
            if backend is not None:
                told.setdefault("mirrors", []).append(
                    {"destination": backend, "percentage": {"value": mirror.get("percent", 100)}}
                )
        else:
            self._problems.append(("UnsupportedValue", f"filter {kind} is not supported"))

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
        if namespace != self._route.namespace and not self._granted(namespace, name):
            self._problem("RefNotPermitted", f"no ReferenceGrant in {namespace} lets this route use {name}")
            return None
        host = host_of(name, namespace, self._registry.mesh)
        if host not in self._registry.views:
            self._problem("BackendNotFound", f"there is no Service {namespace}/{name}")
            return None
        destination: dict[str, Any] = {"host": host}
        if reference.get("port") is not None:
            destination["port"] = {"number": reference["port"]}
        return destination

    def _problem(self, reason: str, message: str) -> None:
        if (reason, message) not in self._problems:
            self._problems.append((reason, message))

    def _granted(self, namespace: str, name: str) -> bool:
        for grant in self._registry.of_kind(GATEWAY_API, "ReferenceGrant"):
            if grant.namespace != namespace:
                continue
            comes = any(
                one.get("kind") == self._route.kind
                and one.get("group") == GATEWAY_API
                and one.get("namespace") == self._route.namespace
                for one in grant.spec.get("from") or ()
            )
            goes = any(
                one.get("kind") == "Service" and not one.get("group") and one.get("name") in (None, name)
                for one in grant.spec.get("to") or ()
            )
            if comes and goes:
                return True
        return False


def _refused(reason: str, message: str) -> Condition:
    return Condition("Accepted", False, reason, message)


def _narrower(route: str, listener: str) -> str | None:
    """The narrower of two hostnames that overlap, one of which may be a wildcard."""
    if listener in {"*", route}:
        return route
    if route == "*":
        return listener
    if listener.startswith("*.") and route.endswith(listener[1:]):
        return route
    if route.startswith("*.") and listener.endswith(route[1:]):
        return listener
    return None


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
        made["uriPrefix"] = path["replacePrefixMatch"]
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

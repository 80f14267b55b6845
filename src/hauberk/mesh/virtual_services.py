"""VirtualService → routes (Istio, "Virtual Service"): matches, weights, rewrites, redirects, retries, faults."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import string_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import duration_pb2

from hauberk.mesh.clusters import BLACK_HOLE, outbound_name
from hauberk.mesh.destination_rules import DestinationRule, TrafficPolicy
from hauberk.mesh.durations import duration
from hauberk.mesh.hosts import resolve_host
from hauberk.mesh.registry import Configuration, Labels, Mesh, Service
from hauberk.mesh.routes import RETRY_ON, avoid_previous_hosts, default_retry_policy
from hauberk.mesh.tcp_routes import TcpRoute
from hauberk.mesh.tls import packed
from hauberk.model.grpc_status import GRPC_STATUS_CODES

Spec = Mapping[str, Any]

EVERYTHING: tuple[Spec, ...] = ({},)
"""A route without matches takes whatever comes."""

_REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_ATTEMPTS_OF_A_PRIORITY = 2
"""After so many attempts, those that follow go to other localities (`retryRemoteLocalities`), as in Istio."""
_PREFIX_VARIABLE = "%PREFIX()%"


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls, as far as `sourceLabels` and `sourceNamespace` ask."""

    namespace: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Translation:
    """What surrounds a VirtualService: where it is applied, and the services that it leads to."""

    mesh: Mesh
    service: Service | None
    port: int
    gateway: str
    """`mesh`, or `NAMESPACE/NAME` of the gateway whose listener this is."""
    client: Client
    services: Mapping[str, Service]
    addresses: Sequence[str] = ()
    """Where a connection is accepted: a service's own addresses, or the gateway's."""
    rules: Mapping[str, DestinationRule] = field(default_factory=dict)
    """Of the destinations that have one, by host."""

    def cluster(self, destination: Spec, namespace: str) -> str:
        """The cluster of a destination; its only port, or the port called, unless one is told."""
        host = resolve_host(destination["host"], namespace, self.mesh)
        return outbound_name(host, self._port_of(destination, host), destination.get("subset") or "")

    def _port_of(self, destination: Spec, host: str) -> int:
        number = (destination.get("port") or {}).get("number")
        if number is not None:
            return int(number)
        service = self.services.get(host)
        return service.ports[0].number if service and len(service.ports) == 1 else self.port

    def policy(self, destination: Spec, namespace: str) -> TrafficPolicy | None:
        """The traffic policy of a destination's rule; None without one."""
        host = resolve_host(destination["host"], namespace, self.mesh)
        rule, service = self.rules.get(host), self.services.get(host)
        port = service.port(self._port_of(destination, host)) if service else None
        if rule is None or port is None:
            return None
        subset = next((one for one in rule.subsets if one.name == destination.get("subset")), None)
        return rule.policy(port, subset)

    def hash_policies(self, action: Any, destination: Spec, namespace: str) -> None:
        """Tell the route what a consistent hash is made of, by the destination's rule."""
        policy = self.policy(destination, namespace)
        told = (policy.load_balancer.get("consistentHash") or {}) if policy else {}
        if told.get("httpHeaderName"):
            action.hash_policy.add(header={"header_name": told["httpHeaderName"]})
        elif told.get("httpCookie"):
            cookie = told["httpCookie"]
            made = action.hash_policy.add(cookie={"name": cookie["name"], "path": cookie.get("path", "")})
            if cookie.get("ttl") is not None:
                made.cookie.ttl.CopyFrom(duration(cookie["ttl"]))
            for one in cookie.get("attributes") or ():
                made.cookie.attributes.add(name=one["name"], value=one.get("value") or "")
        elif told.get("useSourceIp"):
            action.hash_policy.add(connection_properties={"source_ip": True})
        elif told.get("httpQueryParameterName"):
            action.hash_policy.add(query_parameter={"name": told["httpQueryParameterName"]})


def destination_hosts(virtual: Configuration, mesh: Mesh) -> tuple[str, ...]:
    """All hosts that a VirtualService leads to, mirrors included."""
    hosts: dict[str, None] = {}
    for protocol in ("http", "tcp", "tls"):
        for route in virtual.spec.get(protocol) or ():
            for destination in _destinations(route):
                hosts[resolve_host(destination["host"], virtual.namespace, mesh)] = None
    return tuple(hosts)


def looks_at_source(virtual: Configuration) -> bool:
    """Whether its routes differ from client to client."""
    return any(
        match.get("sourceLabels") or match.get("sourceNamespace")
        for protocol in ("http", "tcp", "tls")
        for route in virtual.spec.get(protocol) or ()
        for match in route.get("match") or ()
    )


def uses_cors(virtual: Configuration) -> bool:
    return any(route.get("corsPolicy") for route in virtual.spec.get("http") or ())


def http_routes(virtual: Configuration, context: Translation) -> list[route_components_pb2.Route]:
    """Its HTTP routes in order, as far as the first one that takes everything."""
    made: list[route_components_pb2.Route] = []
    for index, told in enumerate(virtual.spec.get("http") or ()):
        name = told.get("name") or f"{virtual.namespace}/{virtual.name}/{index}"
        for match in told.get("match") or EVERYTHING:
            if not _applies(match, context):
                continue
            route = _Route(virtual, told, match, context).translate()
            route.name = f"{name}.{match['name']}" if match.get("name") else name
            route.metadata.filter_metadata["istio"]["config"] = object_path(virtual)
            made.append(route)
            if _takes_everything(route):
                return made
    return made


def object_path(virtual: Configuration) -> str:
    """Where the object of a route lies, as Istio writes it into the route's metadata."""
    return f"/apis/networking.istio.io/v1/namespaces/{virtual.namespace}/virtual-service/{virtual.name}"


def check_routes(virtual: Configuration, mesh: Mesh) -> None:
    """Translate every route for every match, whether it applies somewhere or not.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: something has another shape than a VirtualService's.
    """
    context = Translation(mesh, None, 80, "mesh", Client("", Labels()), {})
    for told in virtual.spec.get("http") or ():
        if told.get("delegate") is not None:
            str(told["delegate"]["name"])
        for match in told.get("match") or EVERYTHING:
            _applies(match, context)
            _Route(virtual, told, match, context).translate()
    for protocol in ("tls", "tcp"):
        for told in virtual.spec.get(protocol) or ():
            _weighted(told, virtual.namespace, context)
            for match in told.get("match") or EVERYTHING:
                _applies(match, context)
                tuple(match.get("sniHosts") or ())
    destination_hosts(virtual, mesh)


def tcp_routes(virtual: Configuration, context: Translation) -> list[TcpRoute]:
    """Its TLS routes by server name, then the first TCP route that applies."""
    made = []
    for told in virtual.spec.get("tls") or ():
        for match in told.get("match") or ():
            if _applies(match, context):
                names = tuple(match.get("sniHosts") or ())
                made.append(_tcp_route(told, virtual.namespace, context, () if "*" in names else names))
    for told in virtual.spec.get("tcp") or ():
        if any(_applies(match, context) for match in told.get("match") or EVERYTHING):
            made.append(_tcp_route(told, virtual.namespace, context))
            break
    return made


def _tcp_route(told: Spec, namespace: str, context: Translation, names: tuple[str, ...] = ()) -> TcpRoute:
    shares = told.get("route") or ()
    first = next((one for one in shares if one.get("weight") or len(shares) == 1), None)
    policy = context.policy(first["destination"], namespace) if first else None
    return TcpRoute(_weighted(told, namespace, context), names, policy)


def _weighted(told: Spec, namespace: str, context: Translation) -> tuple[tuple[str, int], ...]:
    """Where its connections go; those of a route that leads nowhere are closed."""
    shares = [
        (context.cluster(entry["destination"], namespace), entry.get("weight", 0))
        for entry in told.get("route") or ()
    ]
    if len(shares) == 1:
        return ((shares[0][0], 1),)
    return tuple((name, weight) for name, weight in shares if weight) or ((BLACK_HOLE, 1),)


def _destinations(route: Spec) -> Iterator[Spec]:
    for entry in route.get("route") or ():
        yield entry["destination"]
    if route.get("mirror"):
        yield route["mirror"]
    for mirror in route.get("mirrors") or ():
        yield mirror["destination"]


def _applies(match: Spec, context: Translation) -> bool:
    """What of a match is known before any byte arrives."""
    gateways = match.get("gateways")
    if gateways and context.gateway not in gateways:
        return False
    if match.get("port") is not None and match["port"] != context.port:
        return False
    subnets = [ipaddress.ip_network(one, strict=False) for one in match.get("destinationSubnets") or ()]
    if subnets and not any(ipaddress.ip_address(one) in net for one in context.addresses for net in subnets):
        return False
    if gateways and context.gateway != "mesh":
        return True  # what follows is about the pods of a mesh's callers
    namespace = match.get("sourceNamespace")
    if namespace and namespace != context.client.namespace:
        return False
    return Labels.of(match.get("sourceLabels")).matches(context.client.labels)


def _takes_everything(route: route_components_pb2.Route) -> bool:
    match = route.match
    return (
        match.prefix == "/"
        and not match.headers
        and not match.query_parameters
        and not match.HasField("grpc")
    )


class _Route:
    """One match of one HTTP route."""

    def __init__(self, virtual: Configuration, told: Spec, match: Spec, context: Translation) -> None:
        self._namespace = virtual.namespace
        self._told = told
        self._match = match
        self._context = context

    def translate(self) -> route_components_pb2.Route:
        route = route_components_pb2.Route(match=_route_match(self._match))
        told = self._told
        if told.get("redirect") is not None:
            self._redirect(route.redirect, told["redirect"])
        elif told.get("directResponse") is not None:
            _direct_response(route.direct_response, told["directResponse"])
        else:
            self._forward(route.route)
        _header_operations(route, told.get("headers") or {})
        if told.get("fault"):
            route.typed_per_filter_config["envoy.filters.http.fault"].CopyFrom(packed(_fault(told["fault"])))
        if told.get("corsPolicy"):
            route.typed_per_filter_config["envoy.filters.http.cors"].CopyFrom(
                packed(_cors(told["corsPolicy"]))
            )
        return route

    def _forward(self, action: Any) -> None:
        told = self._told
        self._destinations(action)
        action.timeout.CopyFrom(duration(told["timeout"]) if told.get("timeout") else duration_pb2.Duration())
        retries = told.get("retries")
        action.retry_policy.CopyFrom(default_retry_policy() if retries is None else _retry_policy(retries))
        rewrite = told.get("rewrite") or {}
        if rewrite.get("uri"):
            self._rewrite(action, rewrite["uri"])
        if rewrite.get("uriRegexRewrite"):
            regex = rewrite["uriRegexRewrite"]
            action.regex_rewrite.pattern.regex = regex["match"]
            action.regex_rewrite.substitution = regex["rewrite"]
        if rewrite.get("authority"):
            action.host_rewrite_literal = rewrite["authority"]
        for mirror in self._mirrors():
            action.request_mirror_policies.append(mirror)

    def _destinations(self, action: Any) -> None:
        entries = self._told.get("route") or ()
        weighted = [entry for entry in entries if entry.get("weight")] or list(entries[:1])
        if len(weighted) == 1 and not weighted[0].get("headers"):
            action.cluster = self._context.cluster(weighted[0]["destination"], self._namespace)
        else:
            for entry in weighted:
                cluster = action.weighted_clusters.clusters.add(
                    name=self._context.cluster(entry["destination"], self._namespace),
                    weight={"value": entry.get("weight") or 1},
                )
                _header_operations(cluster, entry.get("headers") or {})
        if weighted:
            self._context.hash_policies(action, weighted[0]["destination"], self._namespace)

    def _rewrite(self, action: Any, uri: str) -> None:
        """A matched prefix is replaced; one that `/` replaces takes its own slash along."""
        told_uri = self._match.get("uri") or {}
        prefix = told_uri.get("prefix") or told_uri.get("segmentPrefix")
        if prefix and uri == "/" and not prefix.endswith("/"):
            action.regex_rewrite.pattern.regex = f"^{re.escape(prefix)}(/?)(.*)"
            action.regex_rewrite.substitution = "/\\2"
        else:
            action.prefix_rewrite = uri

    def _redirect(self, action: Any, told: Spec) -> None:
        uri = told.get("uri") or ""
        if uri.startswith(_PREFIX_VARIABLE):
            action.prefix_rewrite = uri[len(_PREFIX_VARIABLE) :]
        elif told.get("prefixRewrite"):
            action.prefix_rewrite = told["prefixRewrite"]
        elif uri:
            action.path_redirect = uri
        if told.get("authority"):
            action.host_redirect = told["authority"]
        if told.get("scheme"):
            action.scheme_redirect = told["scheme"]
        if told.get("port"):
            action.port_redirect = told["port"]
        elif told.get("derivePort") == "FROM_REQUEST_PORT":
            action.port_redirect = self._context.port
        code = told.get("redirectCode") or 301
        action.response_code = route_components_pb2.RedirectAction.RedirectResponseCode.Value(
            _REDIRECT_CODES[code]
        )

    def _mirrors(self) -> Iterator[Any]:
        told = self._told
        entries = [(entry["destination"], entry.get("percentage")) for entry in told.get("mirrors") or ()]
        if told.get("mirror"):
            old = told.get("mirrorPercent", told.get("mirror_percent"))
            percentage = told.get("mirrorPercentage") or ({"value": old} if old is not None else None)
            entries.append((told["mirror"], percentage))
        for destination, percentage in entries:
            policy = route_components_pb2.RouteAction.RequestMirrorPolicy(
                cluster=self._context.cluster(destination, self._namespace)
            )
            if percentage is not None:
                policy.runtime_fraction.default_value.CopyFrom(_fraction(percentage))
            yield policy


def _route_match(match: Spec) -> route_components_pb2.RouteMatch:
    made = route_components_pb2.RouteMatch()
    uri = match.get("uri") or {}
    if uri.get("exact") is not None:
        made.path = uri["exact"]
    elif uri.get("segmentPrefix") is not None:
        made.path_separated_prefix = uri["segmentPrefix"]
    elif uri.get("regex") is not None:
        made.safe_regex.regex = uri["regex"]
    else:
        made.prefix = uri.get("prefix") or "/"
    if match.get("ignoreUriCase") and not made.HasField("safe_regex"):
        made.case_sensitive.value = False
    for field_name, header in (("method", ":method"), ("authority", ":authority"), ("scheme", ":scheme")):
        if match.get(field_name):
            made.headers.append(_header_matcher(header, match[field_name]))
    for name, told in sorted((match.get("headers") or {}).items()):
        made.headers.append(_header_matcher(name, told))
    for name, told in sorted((match.get("withoutHeaders") or {}).items()):
        matcher = _header_matcher(name, told)
        matcher.invert_match = True
        matcher.treat_missing_header_as_empty = matcher.HasField("string_match")
        made.headers.append(matcher)
    for name, told in sorted((match.get("queryParams") or {}).items()):
        parameter = made.query_parameters.add(name=name)
        if told:
            parameter.string_match.CopyFrom(_string_matcher(told))
        else:
            parameter.present_match = True
    return made


def _header_matcher(name: str, told: Spec) -> route_components_pb2.HeaderMatcher:
    if not told or told.get("regex") == "*":
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return route_components_pb2.HeaderMatcher(name=name, string_match=_string_matcher(told))


def _string_matcher(told: Spec) -> string_pb2.StringMatcher:
    if told.get("exact") is not None:
        return string_pb2.StringMatcher(exact=told["exact"])
    if told.get("prefix") is not None:
        return string_pb2.StringMatcher(prefix=told["prefix"])
    return string_pb2.StringMatcher(safe_regex={"regex": told["regex"]})


def _direct_response(action: Any, told: Spec) -> None:
    action.status = told["status"]
    body = told.get("body") or {}
    if body.get("string") is not None:
        action.body.inline_string = body["string"]
    elif body.get("bytes") is not None:
        action.body.inline_bytes = base64.b64decode(body["bytes"])


def _retry_policy(told: Spec) -> route_components_pb2.RetryPolicy:
    attempts = told.get("attempts", 2)
    policy = route_components_pb2.RetryPolicy(num_retries={"value": attempts})
    if not attempts:
        return policy
    conditions = [one.strip() for one in (told.get("retryOn") or RETRY_ON).split(",") if one.strip()]
    codes = [int(one) for one in conditions if one.isdigit()]
    named = [one for one in conditions if not one.isdigit()]
    if codes:
        policy.retriable_status_codes.extend(codes)
        if "retriable-status-codes" not in named:
            named.append("retriable-status-codes")
    policy.retry_on = ",".join(named)
    if told.get("retryIgnorePreviousHosts") is not False:
        avoid_previous_hosts(policy)
    if told.get("retryRemoteLocalities"):
        policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        config = previous_priorities_config_pb2.PreviousPrioritiesConfig(
            update_frequency=_ATTEMPTS_OF_A_PRIORITY
        )
        policy.retry_priority.typed_config.CopyFrom(packed(config))
    if told.get("perTryTimeout"):
        policy.per_try_timeout.CopyFrom(duration(told["perTryTimeout"]))
    if told.get("backoff"):
        policy.retry_back_off.base_interval.CopyFrom(duration(told["backoff"]))
    return policy


def _fault(told: Spec) -> fault_pb2.HTTPFault:
    made = fault_pb2.HTTPFault()
    delay, abort = told.get("delay"), told.get("abort")
    if delay:
        made.delay.fixed_delay.CopyFrom(duration(delay["fixedDelay"]))
        made.delay.percentage.CopyFrom(_percentage(delay))
    if abort:
        if abort.get("httpStatus") is not None:
            made.abort.http_status = abort["httpStatus"]
        elif abort.get("grpcStatus") is not None:
            made.abort.grpc_status = GRPC_STATUS_CODES[abort["grpcStatus"]]
        made.abort.percentage.CopyFrom(_percentage(abort))
    return made


def _percentage(told: Spec) -> percent_pb2.FractionalPercent:
    """`percentage.value`, else the old `percent`, else always."""
    if told.get("percentage") is not None:
        return _fraction(told["percentage"])
    return _fraction({"value": told.get("percent", 100)})


def _fraction(told: Spec) -> percent_pb2.FractionalPercent:
    return percent_pb2.FractionalPercent(
        numerator=round((told.get("value") or 0) * 10_000), denominator="MILLION"
    )


def _cors(told: Spec) -> cors_pb2.CorsPolicy:
    made = cors_pb2.CorsPolicy(
        allow_methods=",".join(told.get("allowMethods") or ()),
        allow_headers=",".join(told.get("allowHeaders") or ()),
        expose_headers=",".join(told.get("exposeHeaders") or ()),
    )
    origins = [*(told.get("allowOrigins") or ()), *({"exact": one} for one in told.get("allowOrigin") or ())]
    for origin in origins:
        if origin.get("exact") == "*":
            made.allow_origin_string_match.add(safe_regex={"regex": ".*"})
        else:
            made.allow_origin_string_match.append(_string_matcher(origin))
    if told.get("maxAge"):
        made.max_age = str(duration(told["maxAge"]).seconds)
    if told.get("allowCredentials") is not None:
        made.allow_credentials.value = told["allowCredentials"]
    if told.get("unmatchedPreflights") == "IGNORE":
        made.forward_not_matching_preflights.value = False
    return made


def _header_operations(target: Any, told: Spec) -> None:
    """`target` is a route or a weighted cluster: both have the same fields."""
    request, response = told.get("request") or {}, told.get("response") or {}
    set_headers = dict(request.get("set") or {})
    for name in [name for name in set_headers if name.lower() in ("host", ":authority")]:
        value = set_headers.pop(name)
        if target.DESCRIPTOR.name == "Route":
            target.route.host_rewrite_literal = value
        else:
            target.host_rewrite_literal = value
    target.request_headers_to_add.extend(_headers(set_headers, "OVERWRITE_IF_EXISTS_OR_ADD"))
    target.request_headers_to_add.extend(_headers(request.get("add") or {}, "APPEND_IF_EXISTS_OR_ADD"))
    target.request_headers_to_remove.extend(request.get("remove") or ())
    target.response_headers_to_add.extend(_headers(response.get("set") or {}, "OVERWRITE_IF_EXISTS_OR_ADD"))
    target.response_headers_to_add.extend(_headers(response.get("add") or {}, "APPEND_IF_EXISTS_OR_ADD"))
    target.response_headers_to_remove.extend(response.get("remove") or ())


def _headers(told: Mapping[str, str], how: str) -> Iterable[base_pb2.HeaderValueOption]:
    for name, value in sorted(told.items()):
        yield base_pb2.HeaderValueOption(header={"key": name, "value": value}, append_action=how)

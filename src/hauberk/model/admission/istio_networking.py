"""Rules on Istio's `networking.istio.io` kinds."""

from collections.abc import Iterator

from hauberk.model.admission.syntax import (
    Errors,
    dns_label,
    duration,
    host_name,
    invalid,
    ip_address,
    ip_block,
    labels,
    not_supported,
    pattern,
    port_number,
    required,
    unique,
)
from hauberk.model.grpc_status import GRPC_STATUS_CODES
from hauberk.model.istio.destination import DestinationRule, LoadBalancer, PortSelector, TrafficPolicy
from hauberk.model.istio.gateway import Gateway, Server
from hauberk.model.istio.service_entry import ServiceEntry, WorkloadEntry, WorkloadEntrySpec
from hauberk.model.istio.sidecar import Sidecar
from hauberk.model.istio.virtual_service import (
    Destination,
    HttpMatch,
    HttpRoute,
    Mirror,
    StringMatch,
    VirtualService,
)
from hauberk.model.prime import is_prime

PROTOCOLS = frozenset(
    {
        "HTTP",
        "HTTPS",
        "GRPC",
        "GRPC-WEB",
        "HTTP2",
        "HTTP_PROXY",
        "MONGO",
        "REDIS",
        "MYSQL",
        "TCP",
        "TLS",
        "UDP",
    }
)
_TLS_PROTOCOLS = frozenset({"HTTPS", "TLS"})
_RETRY_CONDITIONS = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
        "unknown",
    ]
)


def admit_virtual_service(new: VirtualService, _old: VirtualService | None) -> Errors:
    """Hosts, and routes each of which does one thing."""
    spec = new.spec
    for index, host in enumerate(spec.hosts):
        yield from host_name(host, f"spec.hosts[{index}]")
    yield from unique([(host, f"spec.hosts[{index}]") for index, host in enumerate(spec.hosts)], "host")
    if not (spec.http or spec.tls or spec.tcp):
        yield required("spec", "expected at least one route under http, tls or tcp")
    for index, http in enumerate(spec.http):
        yield from _admit_http(http, f"spec.http[{index}]", is_delegate=not spec.hosts)
    for index, tls in enumerate(spec.tls):
        at = f"spec.tls[{index}]"
        if not tls.match:
            yield required(f"{at}.match", "a TLS route needs sniHosts to tell connections apart")
        for number, match in enumerate(tls.match):
            for position, name in enumerate(match.sni_hosts):
                where = f"{at}.match[{number}].sniHosts[{position}]"
                yield from host_name(name, where)
                if not any(_covers(host, name) for host in spec.hosts):
                    yield invalid(
                        where,
                        f"expected one of spec.hosts or a name that they cover, found {name}: add it there",
                    )
            for position, subnet in enumerate(match.destination_subnets):
                yield from ip_block(subnet, f"{at}.match[{number}].destinationSubnets[{position}]")
        yield from _admit_shares([(item.destination, item.weight) for item in tls.route], f"{at}.route")
    for index, tcp in enumerate(spec.tcp):
        at = f"spec.tcp[{index}]"
        for number, l4_match in enumerate(tcp.match):
            for position, subnet in enumerate(l4_match.destination_subnets):
                yield from ip_block(subnet, f"{at}.match[{number}].destinationSubnets[{position}]")
            if l4_match.source_subnet:
                yield from ip_block(l4_match.source_subnet, f"{at}.match[{number}].sourceSubnet")
        yield from _admit_shares([(item.destination, item.weight) for item in tcp.route], f"{at}.route")


def _covers(host: str, name: str) -> bool:
    """Whether a host, `*` in place of its first labels or not, stands for all that a name stands for."""
    if host.startswith("*"):
        return name.lower().endswith(host[1:].lower())
    return name.lower() == host.lower()


def _admit_http(route: HttpRoute, path: str, *, is_delegate: bool) -> Errors:
    actions = {
        "route": bool(route.route),
        "redirect": route.redirect is not None,
        "directResponse": route.direct_response is not None,
        "delegate": route.delegate is not None,
    }
    chosen = [name for name, given in actions.items() if given]
    if len(chosen) != 1:
        yield invalid(
            path, f"expected exactly one of {', '.join(actions)}; found {', '.join(chosen) or 'none'}"
        )
    if is_delegate and route.delegate is not None:
        yield invalid(f"{path}.delegate", "a delegate cannot delegate further: give the routes here")
    if route.redirect is not None and route.rewrite is not None:
        yield invalid(
            f"{path}.rewrite", "a redirect is not rewritten: set the redirect's own uri and authority"
        )
    if route.route:
        yield from _admit_shares([(item.destination, item.weight) for item in route.route], f"{path}.route")
    for index, match in enumerate(route.match):
        yield from _admit_match(match, f"{path}.match[{index}]")
    yield from duration(route.timeout, f"{path}.timeout")
    yield from _admit_behaviour(route, path)


def _admit_match(match: HttpMatch, path: str) -> Errors:
    for name, text in (
        ("uri", match.uri),
        ("scheme", match.scheme),
        ("method", match.method),
        ("authority", match.authority),
    ):
        if text is not None:
            yield from _admit_string(text, f"{path}.{name}", may_be_empty=False)
    for field, texts in (
        ("headers", match.headers),
        ("withoutHeaders", match.without_headers),
        ("queryParams", match.query_params),
    ):
        for key, text in texts.items():
            yield from _admit_string(text, f"{path}.{field}[{key}]", may_be_empty=True)
    yield from labels(match.source_labels, f"{path}.sourceLabels")


def _admit_string(text: StringMatch, path: str, *, may_be_empty: bool) -> Errors:
    given = [value for value in (text.exact, text.prefix, text.regex) if value is not None]
    if len(given) > 1 or (not given and not may_be_empty):
        yield invalid(path, f"expected exactly one of exact, prefix and regex, found {len(given)}")
    if text.prefix == "":
        yield invalid(f"{path}.prefix", "must not be empty")
    if text.regex is not None:
        yield from pattern(text.regex, f"{path}.regex")


def _admit_shares(shares: list[tuple[Destination, int | None]], path: str) -> Errors:
    if not shares:
        yield required(path, "expected at least one destination")
    for index, (destination, _) in enumerate(shares):
        yield from _admit_destination(destination, f"{path}[{index}].destination")
    if len(shares) > 1 and not any(weight for _, weight in shares):
        yield invalid(path, "expected weights that are more than 0 in all: give each destination its share")


def _admit_destination(destination: Destination, path: str) -> Errors:
    if not destination.host:
        yield required(f"{path}.host")
    elif destination.host == "*":
        yield invalid(f"{path}.host", "expected one service, found *")
    else:
        yield from host_name(destination.host, f"{path}.host")
    if destination.subset:
        yield from dns_label(destination.subset, f"{path}.subset")
    yield from _admit_port(destination.port, f"{path}.port")


def _admit_port(port: PortSelector | None, path: str) -> Errors:
    if port is not None:
        yield from port_number(port.number or 0, f"{path}.number")


def _admit_behaviour(route: HttpRoute, path: str) -> Errors:
    if route.retries is not None:
        yield from duration(route.retries.per_try_timeout, f"{path}.retries.perTryTimeout", least=0.001)
        yield from duration(route.retries.backoff, f"{path}.retries.backoff", least=0.001)
        for condition in (route.retries.retry_on or "").split(","):
            word = condition.strip()
            if word and word not in _RETRY_CONDITIONS and not word.isdecimal():
                yield not_supported(f"{path}.retries.retryOn", f'there is no retry condition "{word}"')
    if route.fault is not None:
        yield from _admit_fault(route, f"{path}.fault")
    if route.rewrite is not None and route.rewrite.uri_regex_rewrite is not None:
        yield from pattern(
            route.rewrite.uri_regex_rewrite.match or "", f"{path}.rewrite.uriRegexRewrite.match"
        )
    if route.redirect is not None and route.redirect.redirect_code not in {None, 301, 302, 303, 307, 308}:
        yield not_supported(
            f"{path}.redirect.redirectCode",
            f"expected 301, 302, 303, 307 or 308, found {route.redirect.redirect_code}",
        )
    if route.direct_response is not None and not 200 <= route.direct_response.status <= 599:
        yield invalid(
            f"{path}.directResponse.status", f"expected 200 to 599, found {route.direct_response.status}"
        )
    if route.cors_policy is not None:
        yield from duration(route.cors_policy.max_age, f"{path}.corsPolicy.maxAge")
        for index, origin in enumerate(route.cors_policy.allow_origins):
            yield from _admit_string(origin, f"{path}.corsPolicy.allowOrigins[{index}]", may_be_empty=False)
    for mirror, at in _mirrors(route, path):
        yield from _admit_destination(mirror.destination, at)


def _mirrors(route: HttpRoute, path: str) -> Iterator[tuple[Mirror, str]]:
    if route.mirror is not None:
        yield Mirror(destination=route.mirror), f"{path}.mirror"
    for index, mirror in enumerate(route.mirrors):
        yield mirror, f"{path}.mirrors[{index}].destination"


def _admit_fault(route: HttpRoute, path: str) -> Errors:
    fault = route.fault
    if fault is None:
        return
    if fault.delay is None and fault.abort is None:
        yield required(path, "expected delay or abort")
    if fault.delay is not None:
        if fault.delay.fixed_delay is None:
            yield required(f"{path}.delay.fixedDelay")
        yield from duration(fault.delay.fixed_delay, f"{path}.delay.fixedDelay", least=0.001)
    if fault.abort is not None:
        given = [value for value in (fault.abort.http_status, fault.abort.grpc_status) if value is not None]
        if len(given) != 1:
            yield invalid(
                f"{path}.abort", f"expected exactly one of httpStatus and grpcStatus, found {len(given)}"
            )
        status = fault.abort.grpc_status
        if status is not None and status not in GRPC_STATUS_CODES:
            yield not_supported(f"{path}.abort.grpcStatus", f'there is no gRPC status "{status}"')


def admit_destination_rule(new: DestinationRule, _old: DestinationRule | None) -> Errors:
    """A host, distinct subsets, settings that fit together."""
    yield from host_name(new.spec.host, "spec.host")
    named = [(subset.name, f"spec.subsets[{index}].name") for index, subset in enumerate(new.spec.subsets)]
    yield from unique(named, "subset")
    for name, path in named:
        yield from dns_label(name, path)
    yield from _admit_traffic_policy(new.spec.traffic_policy, "spec.trafficPolicy")
    for index, subset in enumerate(new.spec.subsets):
        yield from labels(subset.labels, f"spec.subsets[{index}].labels")
        yield from _admit_traffic_policy(subset.traffic_policy, f"spec.subsets[{index}].trafficPolicy")


def _admit_traffic_policy(policy: TrafficPolicy | None, path: str) -> Errors:
    if policy is None:
        return
    parts = [(path, policy.load_balancer, policy.connection_pool, policy.outlier_detection, policy.tls)]
    for index, port in enumerate(policy.port_level_settings):
        at = f"{path}.portLevelSettings[{index}]"
        yield from _admit_port(port.port or PortSelector(), f"{at}.port")
        parts.append((at, port.load_balancer, port.connection_pool, port.outlier_detection, port.tls))
    for at, balancer, pool, outliers, tls in parts:
        if balancer is not None and balancer.simple is not None and balancer.consistent_hash is not None:
            yield invalid(f"{at}.loadBalancer", "expected simple or consistentHash, found both")
        if balancer is not None:
            yield from _admit_balancer(balancer, f"{at}.loadBalancer")
        if pool is not None and pool.tcp is not None:
            yield from duration(
                pool.tcp.connect_timeout, f"{at}.connectionPool.tcp.connectTimeout", least=0.001
            )
            yield from duration(pool.tcp.idle_timeout, f"{at}.connectionPool.tcp.idleTimeout")
            yield from duration(
                pool.tcp.max_connection_duration,
                f"{at}.connectionPool.tcp.maxConnectionDuration",
                least=0.001,
            )
        if pool is not None and pool.http is not None:
            yield from duration(pool.http.idle_timeout, f"{at}.connectionPool.http.idleTimeout")
            keep_alive = pool.http.http2_keep_alive
            if keep_alive is not None:
                where = f"{at}.connectionPool.http.http2KeepAlive"
                yield from duration(keep_alive.interval, f"{where}.interval", least=0.001)
                yield from duration(keep_alive.timeout, f"{where}.timeout", least=0.001)
        if outliers is not None:
            yield from duration(outliers.interval, f"{at}.outlierDetection.interval", least=0.001)
            yield from duration(
                outliers.base_ejection_time, f"{at}.outlierDetection.baseEjectionTime", least=0.001
            )
        if tls is not None and tls.mode == "MUTUAL" and not tls.credential_name:
            for name, value in (
                ("clientCertificate", tls.client_certificate),
                ("privateKey", tls.private_key),
            ):
                if not value:
                    yield required(
                        f"{at}.tls.{name}", "is required with the mode MUTUAL, or set credentialName"
                    )
        if tls is not None and tls.mode == "ISTIO_MUTUAL" and (tls.client_certificate or tls.private_key):
            yield invalid(f"{at}.tls", "ISTIO_MUTUAL uses the pod's own identity: remove certificate and key")


def _admit_balancer(balancer: LoadBalancer, path: str) -> Errors:
    if balancer.warmup is not None:
        yield from duration(balancer.warmup.duration, f"{path}.warmup.duration", least=0.001)
    yield from duration(balancer.warmup_duration_secs, f"{path}.warmupDurationSecs", least=0.001)
    hashed = balancer.consistent_hash
    if hashed is None:
        return
    size = hashed.maglev.table_size if hashed.maglev is not None else None
    if size and not is_prime(size):
        yield invalid(
            f"{path}.consistentHash.maglev.tableSize", f"expected a prime such as 65537, found {size}"
        )


def admit_gateway(new: Gateway, _old: Gateway | None) -> Errors:
    """Servers with distinct port names, hosts, and TLS where the protocol has it."""
    if not new.spec.servers:
        yield required("spec.servers", "expected at least one server")
    yield from labels(new.spec.selector, "spec.selector")
    for index, server in enumerate(new.spec.servers):
        yield from _admit_server(server, f"spec.servers[{index}]")
    names = [
        (server.port.name, f"spec.servers[{index}].port.name")
        for index, server in enumerate(new.spec.servers)
    ]
    yield from unique(names, "port name")


def _admit_server(server: Server, path: str) -> Errors:
    yield from port_number(server.port.number, f"{path}.port.number")
    protocol = server.port.protocol.upper()
    if protocol not in PROTOCOLS:
        yield not_supported(
            f"{path}.port.protocol",
            f'expected one of {", ".join(sorted(PROTOCOLS))}; found "{server.port.protocol}"',
        )
    if not server.hosts:
        yield required(f"{path}.hosts", "expected at least one host, * for all")
    for index, host in enumerate(server.hosts):
        namespace, slash, name = host.rpartition("/")
        yield from host_name(name, f"{path}.hosts[{index}]")
        if slash and namespace not in {"*", "."}:
            yield from dns_label(namespace, f"{path}.hosts[{index}]")
    if protocol in _TLS_PROTOCOLS and server.tls is None:
        yield required(f"{path}.tls", f"is required for the protocol {protocol}")
    if server.tls is None:
        return
    tls = server.tls
    if tls.https_redirect and protocol != "HTTP":
        yield invalid(f"{path}.tls.httpsRedirect", f"is for the protocol HTTP, found {protocol}")
    if (
        protocol in _TLS_PROTOCOLS
        and tls.mode in {None, "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"}
        and not (
            tls.credential_name or tls.credential_names or tls.server_certificate or tls.tls_certificates
        )
    ):
        yield required(
            f"{path}.tls.credentialName", "is required: the name of a Secret with tls.crt and tls.key"
        )


def admit_service_entry(new: ServiceEntry, _old: ServiceEntry | None) -> Errors:
    """Hosts, ports with distinct names and numbers, endpoints that fit the resolution."""
    spec = new.spec
    if not spec.hosts:
        yield required("spec.hosts", "expected at least one host")
    for index, host in enumerate(spec.hosts):
        yield from host_name(host, f"spec.hosts[{index}]")
        if host == "*":
            yield invalid(f"spec.hosts[{index}]", "expected a host, found *")
    for index, address in enumerate(spec.addresses):
        yield from ip_block(address, f"spec.addresses[{index}]")
    yield from unique(
        [(port.name, f"spec.ports[{index}].name") for index, port in enumerate(spec.ports)], "port name"
    )
    yield from unique(
        [(str(port.number), f"spec.ports[{index}].number") for index, port in enumerate(spec.ports)], "port"
    )
    for index, port in enumerate(spec.ports):
        yield from port_number(port.number, f"spec.ports[{index}].number")
    if spec.endpoints and spec.workload_selector is not None:
        yield invalid(
            "spec.workloadSelector", "expected endpoints or workloadSelector, found both: remove one"
        )
    resolution = spec.resolution or "NONE"
    if resolution == "NONE" and spec.endpoints:
        yield invalid("spec.endpoints", "the resolution NONE takes no endpoints: set it to STATIC or DNS")
    if resolution == "STATIC" and not spec.endpoints and spec.workload_selector is None:
        yield required("spec.endpoints", "the resolution STATIC needs endpoints or a workloadSelector")
    for index, endpoint in enumerate(spec.endpoints):
        yield from _admit_endpoint(endpoint, f"spec.endpoints[{index}]", needs_ip=resolution == "STATIC")


def admit_workload_entry(new: WorkloadEntry, _old: WorkloadEntry | None) -> Errors:
    """An address."""
    yield from _admit_endpoint(new.spec, "spec", needs_ip=False)


def _admit_endpoint(endpoint: WorkloadEntrySpec, path: str, *, needs_ip: bool) -> Errors:
    if not endpoint.address:
        if not endpoint.network:
            yield required(f"{path}.address")
        return
    if endpoint.address.startswith("unix://"):
        return
    if needs_ip:
        yield from ip_address(endpoint.address, f"{path}.address")
    elif not endpoint.address.replace(".", "").isdecimal() and ":" not in endpoint.address:
        yield from host_name(endpoint.address, f"{path}.address", wildcard=False)
    else:
        yield from ip_address(endpoint.address, f"{path}.address")
    for name, port in endpoint.ports.items():
        yield from port_number(port, f"{path}.ports[{name}]")


def admit_sidecar(new: Sidecar, _old: Sidecar | None) -> Errors:
    """Hosts as NAMESPACE/HOST."""
    for index, listener in enumerate(new.spec.egress):
        if not listener.hosts:
            yield required(f"spec.egress[{index}].hosts", "expected at least one host, */* for all")
        for number, host in enumerate(listener.hosts):
            path = f"spec.egress[{index}].hosts[{number}]"
            namespace, slash, name = host.partition("/")
            if not slash:
                yield invalid(path, f'expected NAMESPACE/HOST such as ./* or istio-system/*, found "{host}"')
                continue
            if namespace not in {"*", ".", "~"}:
                yield from dns_label(namespace, path)
            yield from host_name(name, path)

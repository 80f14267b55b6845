"""VirtualService and DestinationRule: do routes lead anywhere?"""

from collections import defaultdict
from collections.abc import Iterator

from hauberk.model.analysis.finding import Finding
from hauberk.model.analysis.protocol import carried
from hauberk.model.analysis.world import Item, World
from hauberk.model.duration import parse_duration
from hauberk.model.istio.destination import DestinationRule
from hauberk.model.istio.virtual_service import Destination, HttpMatch, HttpRoute, VirtualService
from hauberk.model.kubernetes.service import ServicePort
from hauberk.model.selector import contains

VS = Item[VirtualService]


def analyze_routes(world: World) -> Iterator[Finding]:
    """Codes HBK0101 to HBK0113."""
    for item in world.all(VirtualService):
        for destination, path, kind in _destinations(item.value):
            yield from _destination(world, item, destination, path, kind)
        yield from _weights(item)
        yield from _shadowed(item)
        yield from _timeouts(item)
    yield from _duplicate_hosts(world)
    yield from _rules(world)


def _destinations(service: VirtualService) -> Iterator[tuple[Destination, str, str]]:
    for index, http in enumerate(service.spec.http):
        path = f"spec.http[{index}]"
        for number, route in enumerate(http.route):
            yield route.destination, f"{path}.route[{number}].destination", "http"
        if http.mirror is not None:
            yield http.mirror, f"{path}.mirror", "http"
        for number, mirror in enumerate(http.mirrors):
            yield mirror.destination, f"{path}.mirrors[{number}].destination", "http"
    for index, tcp in enumerate(service.spec.tcp):
        for number, share in enumerate(tcp.route):
            yield share.destination, f"spec.tcp[{index}].route[{number}].destination", "tcp"
    for index, tls in enumerate(service.spec.tls):
        for number, share in enumerate(tls.route):
            yield share.destination, f"spec.tls[{index}].route[{number}].destination", "tls"


def _destination(world: World, item: VS, destination: Destination, path: str, kind: str) -> Iterator[Finding]:
    namespace, host = item.namespace, destination.host
    if not world.knows(host, namespace):
        known = sorted(name for place, name in world.services if place == namespace)
        there = f"services in {namespace}: {', '.join(known)}" if known else f"{namespace} has no services"
        yield item.finding("HBK0101", f"{path}.host", f'there is no service "{host}" ({there})')
        return
    if destination.subset is not None:
        yield from _subset(world, item, destination, path)
    service = world.service(host, namespace)
    if service is None or service.value.spec is None or service.value.spec.type == "ExternalName":
        return
    ports = service.value.spec.ports
    number = destination.port.number if destination.port is not None else None
    chosen = [port for port in ports if number in {None, port.port}]
    if number is not None and not chosen:
        listed = ", ".join(str(port.port) for port in ports) or "none"
        yield item.finding(
            "HBK0103", f"{path}.port.number", f"{host} has no port {number}; its ports: {listed}"
        )
    elif number is None and len(ports) > 1 and kind != "http":
        listed = ", ".join(str(port.port) for port in ports)
        yield item.finding("HBK0110", path, f"{host} has several ports ({listed}): say which")
    elif kind == "http":
        yield from _not_http(item, host, path, chosen)


def _not_http(item: VS, host: str, path: str, ports: list[ServicePort]) -> Iterator[Finding]:
    if ports and all(carried(port) == "tcp" for port in ports):
        named = ", ".join(f"{port.port} ({port.name or 'no name'})" for port in ports)
        yield item.finding("HBK0112", path, f"port {named} of {host} does not carry HTTP")


def _subset(world: World, item: VS, destination: Destination, path: str) -> Iterator[Finding]:
    host = world.full_name(destination.host, item.namespace)
    defined = {
        subset.name
        for rule in world.all(DestinationRule)
        if world.full_name(rule.value.spec.host, rule.namespace) == host
        for subset in rule.value.spec.subsets
    }
    if destination.subset not in defined:
        listed = ", ".join(sorted(defined)) or "none"
        message = f'{destination.host} has no subset "{destination.subset}"; its subsets: {listed}'
        yield item.finding("HBK0102", f"{path}.subset", message)


def _weights(item: VS) -> Iterator[Finding]:
    spec = item.value.spec
    routes = [
        (f"spec.http[{index}].route", [share.weight for share in route.route])
        for index, route in enumerate(spec.http)
    ]
    routes += [
        (f"spec.tcp[{index}].route", [share.weight for share in route.route])
        for index, route in enumerate(spec.tcp)
    ]
    routes += [
        (f"spec.tls[{index}].route", [share.weight for share in route.route])
        for index, route in enumerate(spec.tls)
    ]
    for path, weights in routes:
        total = sum(weight or 0 for weight in weights)
        if len(weights) > 1 and total != 100:
            yield item.finding("HBK0104", path, f"the weights add up to {total}, not 100")


def _shadowed(item: VS) -> Iterator[Finding]:
    for index, route in enumerate(item.value.spec.http):
        for earlier in range(index):
            before = item.value.spec.http[earlier]
            if _covers(before, route):
                path = f"spec.http[{index}]"
                yield item.finding(
                    "HBK0108", path, f"spec.http[{earlier}] takes every request that this one matches"
                )
                break


def _covers(before: HttpRoute, after: HttpRoute) -> bool:
    if not before.match:
        return True
    if not after.match:
        return any(_takes_all(match) for match in before.match)
    return all(any(_is_wider(wide, narrow) for wide in before.match) for narrow in after.match)


def _takes_all(match: HttpMatch) -> bool:
    return match == HttpMatch(name=match.name, uri=match.uri) and (
        match.uri is None or match.uri.prefix == "/" or match.uri.regex in {".*", "/.*"}
    )


def _is_wider(wide: HttpMatch, narrow: HttpMatch) -> bool:
    """Whether all that `narrow` matches is matched by `wide`: by path alone, or the very same match."""
    if _takes_all(wide) or wide == narrow:
        return True
    if wide != HttpMatch(uri=wide.uri) or wide.uri is None or wide.uri.prefix is None or narrow.uri is None:
        return False
    if narrow.ignore_uri_case:
        return False
    inner = narrow.uri.exact if narrow.uri.exact is not None else narrow.uri.prefix
    return inner is not None and inner.startswith(wide.uri.prefix)


def _timeouts(item: VS) -> Iterator[Finding]:
    for index, route in enumerate(item.value.spec.http):
        if route.timeout is None or route.retries is None or route.retries.per_try_timeout is None:
            continue
        whole, one = parse_duration(route.timeout), parse_duration(route.retries.per_try_timeout)
        if 0 < whole <= one and route.retries.attempts:
            message = (
                f"one try may take {route.retries.per_try_timeout}, the whole request only {route.timeout}"
            )
            yield item.finding("HBK0109", f"spec.http[{index}].retries.perTryTimeout", message)


def _duplicate_hosts(world: World) -> Iterator[Finding]:
    seen: dict[tuple[str, str], VS] = {}
    for item in world.all(VirtualService):
        gateways = item.value.spec.gateways or ("mesh",)
        if "mesh" not in gateways:
            continue
        for index, host in enumerate(item.value.spec.hosts):
            # Rules exported to different namespaces do not meet.
            key = (world.full_name(host, item.namespace), ",".join(item.value.spec.export_to))
            first = seen.setdefault(key, item)
            if first is not item:
                message = f'"{host}" already has routes in VirtualService {first.namespace}/{first.name}'
                yield item.finding("HBK0107", f"spec.hosts[{index}]", message)


def _rules(world: World) -> Iterator[Finding]:
    by_host: dict[tuple[str, str], list[Item[DestinationRule]]] = defaultdict(list)
    for item in world.all(DestinationRule):
        host = item.value.spec.host
        if "*" not in host and not world.knows(host, item.namespace):
            yield item.finding("HBK0106", "spec.host", f'there is no service "{host}"')
            continue
        by_host[world.full_name(host, item.namespace), item.namespace].append(item)
        service = world.service(host, item.namespace)
        if service is None or service.value.spec is None or not service.value.spec.selector:
            continue
        behind = world.pods(service.namespace, service.value.spec.selector)
        for index, subset in enumerate(item.value.spec.subsets):
            if behind and not any(contains(pod.labels, subset.labels) for pod in behind):
                labels = ", ".join(f"{key}={value}" for key, value in subset.labels.items())
                yield item.finding(
                    "HBK0105", f"spec.subsets[{index}]", f"no pod of {host} has the labels {labels}"
                )
    for (host, _), items in by_host.items():
        for item in items[1:]:
            if item.value.spec.workload_selector is None:
                message = f"{host} already has DestinationRule {items[0].namespace}/{items[0].name}"
                yield item.finding("HBK0113", "spec.host", message)

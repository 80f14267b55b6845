"""AuthorizationPolicy and PeerAuthentication: do they mean what they say?"""

from collections.abc import Iterator

from hauberk.model.analysis.finding import Finding
from hauberk.model.analysis.protocol import carried
from hauberk.model.analysis.world import Item, Workload, World
from hauberk.model.istio.destination import DestinationRule
from hauberk.model.istio.security import (
    AuthorizationPolicy,
    Operation,
    PeerAuthentication,
    RequestAuthentication,
    Source,
)
from hauberk.model.istio.selection import WorkloadSelector
from hauberk.model.jwks import MalformedKeySetError, parse_key_set
from hauberk.model.selector import contains

ROOT_NAMESPACE = "istio-system"
"""Policies without a selector here apply to every namespace."""

Policy = Item[AuthorizationPolicy]


def analyze_security(world: World) -> Iterator[Finding]:
    """Codes HBK0301 to HBK0311."""
    for item in world.all(AuthorizationPolicy):
        yield from _selector(world, item, item.value.spec.selector, "HBK0301")
        pods = _applies_to(world, item, item.value.spec.selector)
        for index, rule in enumerate(item.value.spec.rules):
            for number, origin in enumerate(rule.from_):
                if origin.source is not None:
                    yield from _source(
                        world, item, origin.source, f"spec.rules[{index}].from[{number}].source"
                    )
            for number, target in enumerate(rule.to):
                if target.operation is not None:
                    path = f"spec.rules[{index}].to[{number}].operation"
                    yield from _operation(world, item, target.operation, path, pods)
    for peer in world.all(PeerAuthentication):
        yield from _selector(world, peer, peer.value.spec.selector, "HBK0309")
    for tokens in world.all(RequestAuthentication):
        yield from _keys(tokens)
    yield from _overlaps(world)
    yield from _plain_text(world)


def _keys(item: Item[RequestAuthentication]) -> Iterator[Finding]:
    for index, rule in enumerate(item.value.spec.jwt_rules):
        path = f"spec.jwtRules[{index}]"
        if rule.jwks:
            try:
                parse_key_set(rule.jwks)
            except MalformedKeySetError as error:
                yield item.finding("HBK0310", f"{path}.jwks", str(error))
        address = rule.jwks_uri or rule.jwks_uri_old or ""
        if address and not address.startswith("https://"):
            yield item.finding(
                "HBK0311", f"{path}.jwksUri", f'expected an https:// address, found "{address}"'
            )


def _selector(
    world: World, item: Policy | Item[PeerAuthentication], selector: WorkloadSelector | None, code: str
) -> Iterator[Finding]:
    if selector is not None and selector.match_labels and not _applies_to(world, item, selector):
        labels = ", ".join(f"{key}={value}" for key, value in selector.match_labels.items())
        yield item.finding(code, "spec.selector", f"no pod in {item.namespace} has the labels {labels}")


def _applies_to(
    world: World, item: Policy | Item[PeerAuthentication], selector: WorkloadSelector | None
) -> list[Workload]:
    namespace = None if item.namespace == ROOT_NAMESPACE else item.namespace
    return world.pods(namespace, selector.match_labels if selector is not None else {})


def _source(world: World, item: Policy, source: Source, path: str) -> Iterator[Finding]:
    for index, principal in enumerate(source.principals):
        at = f"{path}.principals[{index}]"
        if "*" in principal:
            continue
        domain, _, rest = principal.partition("/ns/")
        namespace, _, account = rest.partition("/sa/")
        if domain != world.context.trust_domain:
            message = f'the trust domain here is "{world.context.trust_domain}", found "{domain}"'
            yield item.finding("HBK0303", at, message)
        elif account != "default" and not world.has("ServiceAccount", namespace, account):
            yield item.finding("HBK0302", at, f'there is no ServiceAccount "{account}" in {namespace}')
        if source.namespaces and not any(_matches(pattern, namespace) for pattern in source.namespaces):
            allowed = ", ".join(source.namespaces)
            message = f"this principal is of namespace {namespace}, and namespaces allows {allowed}"
            yield item.finding("HBK0304", at, message)
    for name, given, refused in (
        ("principals", source.principals, source.not_principals),
        ("namespaces", source.namespaces, source.not_namespaces),
    ):
        if given and all(any(_matches(pattern, value) for pattern in refused) for value in given):
            yield item.finding(
                "HBK0304", f"{path}.{name}", f"all of them are excluded again by not{name.capitalize()}"
            )


def _matches(pattern: str, value: str) -> bool:
    if pattern == "*":
        return True
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return pattern == value


def _operation(
    world: World, item: Policy, operation: Operation, path: str, pods: list[Workload]
) -> Iterator[Finding]:
    http = [
        name
        for name, values in (
            ("paths", operation.paths or operation.not_paths),
            ("methods", operation.methods or operation.not_methods),
            ("hosts", operation.hosts or operation.not_hosts),
        )
        if values
    ]
    kinds = _protocols(world, pods, set(operation.ports))
    if http and kinds and kinds <= {"tcp"}:
        of = f"port {', '.join(operation.ports)}" if operation.ports else "the pods' ports"
        yield item.finding(
            "HBK0305", f"{path}.{http[0]}", f"{of} carry no HTTP, and the rule looks at {', '.join(http)}"
        )
    odd = [method for method in operation.methods if method not in {"POST", "*"}]
    if odd and kinds == {"grpc"}:
        yield item.finding("HBK0306", f"{path}.methods", f"gRPC has only POST, found {', '.join(odd)}")


def _protocols(world: World, pods: list[Workload], only: set[str]) -> set[str]:
    """Protocols of the pods' ports, by the services in front of them; `grpc` apart from `http`."""
    found: set[str] = set()
    for service in world.services.values():
        spec = service.value.spec
        if spec is None or not spec.selector:
            continue
        behind = [
            pod for pod in pods if pod.namespace == service.namespace and contains(pod.labels, spec.selector)
        ]
        for port in spec.ports if behind else ():
            if only and str(_target(behind[0], port.target_port or port.port)) not in only:
                continue
            is_grpc = (port.app_protocol or port.name or "").lower().startswith("grpc")
            found.add("grpc" if is_grpc else carried(port))
    return found


def _target(pod: Workload, target: int | str) -> int | str:
    if isinstance(target, int):
        return target
    ports = (port for container in pod.spec.containers for port in container.ports)
    return next((port.container_port for port in ports if port.name == target), target)


def _overlaps(world: World) -> Iterator[Finding]:
    seen: dict[tuple[str, str], Item[PeerAuthentication]] = {}
    for item in world.all(PeerAuthentication):
        labels = item.value.spec.selector.match_labels if item.value.spec.selector is not None else {}
        key = (item.namespace, ",".join(f"{name}={value}" for name, value in sorted(labels.items())))
        first = seen.setdefault(key, item)
        if first is not item:
            yield item.finding("HBK0307", "spec", f"PeerAuthentication {first.name} applies to the same pods")


def _plain_text(world: World) -> Iterator[Finding]:
    for item in world.all(DestinationRule):
        policy = item.value.spec.traffic_policy
        service = world.service(item.value.spec.host, item.namespace)
        if policy is None or policy.tls is None or policy.tls.mode != "DISABLE" or service is None:
            continue
        spec = service.value.spec
        selector = spec.selector if spec is not None else {}
        for pod in world.pods(service.namespace, selector) if selector else ():
            strict = _mode(world, pod)
            if strict is not None:
                because = f"PeerAuthentication {strict.namespace}/{strict.name}"
                message = f"{item.value.spec.host} takes only mutual TLS ({because})"
                yield item.finding("HBK0308", "spec.trafficPolicy.tls.mode", message)
                break


def _mode(world: World, pod: Workload) -> Item[PeerAuthentication] | None:
    """The PeerAuthentication that makes the pod's mode STRICT: by selector, else its namespace's, else the mesh's."""
    ranked: list[tuple[int, Item[PeerAuthentication]]] = []
    for item in world.all(PeerAuthentication):
        labels = item.value.spec.selector.match_labels if item.value.spec.selector is not None else {}
        mtls = item.value.spec.mtls
        if mtls is None or mtls.mode in {None, "UNSET"}:
            continue
        if item.namespace == pod.namespace and contains(pod.labels, labels):
            ranked.append((0 if labels else 1, item))
        elif item.namespace == ROOT_NAMESPACE and not labels:
            ranked.append((2, item))
    if not ranked:
        return None
    _, chosen = min(ranked, key=lambda pair: pair[0])
    mtls = chosen.value.spec.mtls
    return chosen if mtls is not None and mtls.mode == "STRICT" else None

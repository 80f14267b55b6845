"""The Gateway API's routes: are their parents and backends there, and may they be pointed at?"""

from collections.abc import Iterator, Sequence

from hauberk.model.analysis.finding import Finding
from hauberk.model.analysis.gateways import unusable
from hauberk.model.analysis.world import Item, World
from hauberk.model.gateway_api.gateway import Gateway
from hauberk.model.gateway_api.reference import ParentReference, ReferenceGrant, WeightedBackendReference
from hauberk.model.gateway_api.route import (
    GrpcBackend,
    GRPCRoute,
    GrpcRule,
    HttpBackend,
    HTTPRoute,
    HttpRule,
    L4Rule,
    TCPRoute,
    TLSRoute,
)

Route = Item[HTTPRoute] | Item[GRPCRoute] | Item[TLSRoute] | Item[TCPRoute]
Backend = HttpBackend | GrpcBackend | WeightedBackendReference

_GROUP = "gateway.networking.k8s.io"
_CLASSES = frozenset({"hauberk", "istio"})
"""Classes that every mesh serves."""


def analyze_gateway_api(world: World) -> Iterator[Finding]:
    """Codes HBK0601 to HBK0605, and of certificates HBK0203 and HBK0204."""
    for gateway in world.all(Gateway):
        yield from _gateway(world, gateway)
    routes: list[Route] = [
        *world.all(HTTPRoute),
        *world.all(GRPCRoute),
        *world.all(TLSRoute),
        *world.all(TCPRoute),
    ]
    for item in routes:
        for index, parent in enumerate(item.value.spec.parent_refs):
            yield from _parent(world, item, parent, f"spec.parentRefs[{index}]")
        rules: Sequence[HttpRule | GrpcRule | L4Rule] = item.value.spec.rules
        for index, rule in enumerate(rules):
            backends: Sequence[Backend] = rule.backend_refs
            for number, backend in enumerate(backends):
                yield from _backend(world, item, backend, f"spec.rules[{index}].backendRefs[{number}]")


def _gateway(world: World, item: Item[Gateway]) -> Iterator[Finding]:
    name = item.value.spec.gateway_class_name
    if name not in _CLASSES and not world.has("GatewayClass", "", name):
        yield item.finding("HBK0605", "spec.gatewayClassName", f'there is no GatewayClass "{name}"')
    for index, listener in enumerate(item.value.spec.listeners):
        references = listener.tls.certificate_refs if listener.tls is not None else ()
        for number, reference in enumerate(references):
            path = f"spec.listeners[{index}].tls.certificateRefs[{number}]"
            if (reference.group or "", reference.kind or "Secret") != ("", "Secret"):
                continue
            namespace = reference.namespace or item.namespace
            if not world.has("Secret", namespace, reference.name):
                message = f'there is no Secret "{namespace}/{reference.name}"'
                yield item.finding("HBK0203", path, message)
            elif wrong := unusable(world, namespace, reference.name):
                yield item.finding("HBK0204", path, wrong)
            if namespace != item.namespace and not _granted(world, item, namespace, reference.name, "Secret"):
                message = f"no ReferenceGrant in {namespace} lets a Gateway of {item.namespace} point there"
                yield item.finding("HBK0604", f"{path}.namespace", message)


def _parent(world: World, item: Route, parent: ParentReference, path: str) -> Iterator[Finding]:
    namespace = parent.namespace or item.namespace
    kind = parent.kind or "Gateway"
    if kind == "Service":
        if not world.has("Service", namespace, parent.name):
            yield item.finding("HBK0601", path, f'there is no Service "{namespace}/{parent.name}"')
        return
    gateways = (gateway for gateway in world.all(Gateway))
    found = next(
        (gateway for gateway in gateways if (gateway.namespace, gateway.name) == (namespace, parent.name)),
        None,
    )
    if found is None:
        yield item.finding("HBK0601", path, f'there is no {kind} "{namespace}/{parent.name}"')
        return
    names = [listener.name for listener in found.value.spec.listeners]
    if parent.section_name is not None and parent.section_name not in names:
        message = f'Gateway {parent.name} has no listener "{parent.section_name}"; its listeners: {", ".join(names)}'
        yield item.finding("HBK0601", f"{path}.sectionName", message)


def _backend(world: World, item: Route, backend: Backend, path: str) -> Iterator[Finding]:
    if (backend.group or "", backend.kind or "Service") != ("", "Service"):
        return
    namespace = backend.namespace or item.namespace
    service = world.services.get((namespace, backend.name))
    if service is None:
        yield item.finding("HBK0602", path, f'there is no Service "{namespace}/{backend.name}"')
        return
    ports = [port.port for port in service.value.spec.ports] if service.value.spec is not None else []
    if backend.port is not None and backend.port not in ports:
        listed = ", ".join(map(str, ports)) or "none"
        message = f"Service {backend.name} has no port {backend.port}; its ports: {listed}"
        yield item.finding("HBK0602", f"{path}.port", message)
    if namespace != item.namespace and not _granted(world, item, namespace, backend.name):
        message = f"no ReferenceGrant in {namespace} lets a {item.located.kind.name} of {item.namespace} point there"
        yield item.finding("HBK0603", f"{path}.namespace", message)


def _granted(
    world: World, item: Route | Item[Gateway], namespace: str, name: str, kind: str = "Service"
) -> bool:
    for grant in world.all(ReferenceGrant):
        spec = grant.value.spec
        if spec is None or grant.namespace != namespace:
            continue
        wanted = (_GROUP, item.located.kind.name, item.namespace)
        from_there = any((origin.group, origin.kind, origin.namespace) == wanted for origin in spec.from_)
        to_it = any(
            (target.group, target.kind) == ("", kind) and target.name in {None, name} for target in spec.to
        )
        if from_there and to_it:
            return True
    return False

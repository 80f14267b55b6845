"""Istio's Gateway, and the VirtualServices that name gateways."""

from collections.abc import Iterator

from hauberk.model.analysis.finding import Finding
from hauberk.model.analysis.world import Item, World
from hauberk.model.istio.gateway import Gateway, ServerTls
from hauberk.model.istio.virtual_service import VirtualService


def analyze_gateways(world: World) -> Iterator[Finding]:
    """Codes HBK0111 and HBK0201 to HBK0204."""
    for item in world.all(Gateway):
        pods = world.pods(None, item.value.spec.selector)
        if item.value.spec.selector and not pods:
            labels = ", ".join(f"{key}={value}" for key, value in item.value.spec.selector.items())
            yield item.finding("HBK0201", "spec.selector", f"no pod has the labels {labels}")
        namespaces = {pod.namespace for pod in pods} or {item.namespace}
        for index, server in enumerate(item.value.spec.servers):
            if server.tls is not None and pods:
                yield from _secrets(world, item, server.tls, namespaces, f"spec.servers[{index}].tls")
    yield from _conflicts(world)
    for service in world.all(VirtualService):
        yield from _named(world, service)


def _secrets(
    world: World, item: Item[Gateway], tls: ServerTls, namespaces: set[str], path: str
) -> Iterator[Finding]:
    """The Secrets of a server, in the namespaces of the gateway's pods."""
    named = [("credentialName", tls.credential_name), ("caCertCredentialName", tls.ca_cert_credential_name)]
    named += [(f"credentialNames[{index}]", name) for index, name in enumerate(tls.credential_names)]
    for field, name in named:
        if not name:
            continue
        if not any(world.has("Secret", namespace, name) for namespace in namespaces):
            message = f'there is no Secret "{name}" in {", ".join(sorted(namespaces))}'
            yield item.finding("HBK0203", f"{path}.{field}", message)
        for namespace in sorted(namespaces):
            wrong = unusable(world, namespace, name, pair=field != "caCertCredentialName")
            if wrong:
                yield item.finding("HBK0204", f"{path}.{field}", wrong)


def unusable(world: World, namespace: str, name: str, *, pair: bool = True) -> str:
    """Why a Secret that is there cannot be used; empty if it can. `pair`: a certificate with its key is needed."""
    if not world.has("Secret", namespace, name):
        return ""
    found = world.credentials.get((namespace, name))
    where = f'Secret "{namespace}/{name}"'
    if isinstance(found, str):
        return f"{where}: {found}"
    if pair and (found is None or found.key_pair is None):
        return f"{where}: expected tls.crt and tls.key, found neither"
    if not pair and (found is None or not found.trusted):
        return f"{where}: expected ca.crt, found none"
    return ""


def _conflicts(world: World) -> Iterator[Finding]:
    seen: dict[tuple[str, int], tuple[str, Item[Gateway]]] = {}
    for item in world.all(Gateway):
        selector = ",".join(f"{key}={value}" for key, value in sorted(item.value.spec.selector.items()))
        for index, server in enumerate(item.value.spec.servers):
            protocol = server.port.protocol.upper()
            first, other = seen.setdefault((selector, server.port.number), (protocol, item))
            if first != protocol:
                there = f"{first} in Gateway {other.namespace}/{other.name}"
                message = f"port {server.port.number} is {protocol} here and {there}"
                yield item.finding("HBK0202", f"spec.servers[{index}].port", message)


def _named(world: World, item: Item[VirtualService]) -> Iterator[Finding]:
    named = [(f"spec.gateways[{index}]", name) for index, name in enumerate(item.value.spec.gateways)]
    for index, http in enumerate(item.value.spec.http):
        for number, match in enumerate(http.match):
            named += [(f"spec.http[{index}].match[{number}].gateways", name) for name in match.gateways]
    for path, name in named:
        if name == "mesh":
            continue
        namespace, slash, short = name.partition("/")
        wanted = (namespace, short) if slash else (item.namespace, name.split(".")[0])
        if not any((gateway.namespace, gateway.name) == wanted for gateway in world.all(Gateway)):
            yield item.finding("HBK0111", path, f'there is no Gateway "{"/".join(wanted)}"')

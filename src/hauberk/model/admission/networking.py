"""Rules on NetworkPolicy."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from hauberk.model.admission.metadata import admit_selector
from hauberk.model.admission.syntax import Errors, forbidden, invalid, ip_block, port_reference, required
from hauberk.model.kubernetes.networking import IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort


def admit_network_policy(new: NetworkPolicy, _old: NetworkPolicy | None) -> Errors:
    """Peers are pods or a block, never both; a range of ports has a number at either end."""
    spec = new.spec
    if spec is None:
        return
    if spec.pod_selector is not None:
        yield from admit_selector(spec.pod_selector, "spec.podSelector")
    for index, ingress in enumerate(spec.ingress):
        yield from _peers(ingress.from_, f"spec.ingress[{index}].from")
        yield from _ports(ingress.ports, f"spec.ingress[{index}].ports")
    for index, egress in enumerate(spec.egress):
        yield from _peers(egress.to, f"spec.egress[{index}].to")
        yield from _ports(egress.ports, f"spec.egress[{index}].ports")


def _peers(peers: Iterable[NetworkPolicyPeer], path: str) -> Errors:
    for index, peer in enumerate(peers):
        here = f"{path}[{index}]"
        for selector, name in (
            (peer.pod_selector, "podSelector"),
            (peer.namespace_selector, "namespaceSelector"),
        ):
            if selector is not None:
                yield from admit_selector(selector, f"{here}.{name}")
                if peer.ip_block is not None:
                    yield forbidden(f"{here}.{name}", "cannot stand beside ipBlock: make two peers")
        if peer.ip_block is not None:
            yield from _block(peer.ip_block, f"{here}.ipBlock")
        elif peer.pod_selector is None and peer.namespace_selector is None:
            yield required(here, "expected one of podSelector, namespaceSelector and ipBlock")


def _block(block: IPBlock, path: str) -> Errors:
    wrong = [*ip_block(block.cidr, f"{path}.cidr")]
    for index, part in enumerate(block.except_):
        wrong += ip_block(part, f"{path}.except[{index}]")
    yield from wrong
    if wrong:
        return
    whole = ip_network(block.cidr, strict=False)
    for index, part in enumerate(block.except_):
        if not _within(ip_network(part, strict=False), whole):
            yield invalid(f"{path}.except[{index}]", f"expected a part of {block.cidr}, found {part}")


def _within(part: IPv4Network | IPv6Network, whole: IPv4Network | IPv6Network) -> bool:
    return (
        part.version == whole.version and part.prefixlen > whole.prefixlen and part.network_address in whole
    )


def _ports(ports: Iterable[NetworkPolicyPort], path: str) -> Errors:
    for index, each in enumerate(ports):
        here = f"{path}[{index}]"
        if each.port is not None:
            yield from port_reference(each.port, f"{here}.port")
        if each.end_port is None:
            continue
        if not isinstance(each.port, int):
            yield forbidden(f"{here}.endPort", "needs a number in port, where the range begins")
        elif not each.port <= each.end_port <= 65535:
            yield invalid(f"{here}.endPort", f"expected {each.port} to 65535, found {each.end_port}")

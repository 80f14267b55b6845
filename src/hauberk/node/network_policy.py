"""What NetworkPolicies (networking.k8s.io/v1) allow the pods of one fabric, by address (pure).

Every packet of the fabric is from one of its pods to another, its source checked. So each peer of a policy, an address
block too, is here the set of those pods that it matches.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Literal

from hauberk.model.kubernetes.meta import LabelSelector
from hauberk.model.kubernetes.networking import (
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
)
from hauberk.model.selector import matches

Address = IPv4Address | IPv6Address
Protocol = Literal["TCP", "UDP", "SCTP"]


@dataclass(frozen=True, slots=True)
class Member:
    """A pod in the fabric, as policies see it."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]
    ports: Mapping[tuple[str, str], int]
    """By protocol and name: the ports that its containers name."""


@dataclass(frozen=True, slots=True, order=True)
class Ports:
    """Ports `first` to `last` of one protocol."""

    protocol: Protocol
    first: int
    last: int

    def contains(self, protocol: Protocol, port: int) -> bool:
        return self.protocol == protocol and self.first <= port <= self.last


@dataclass(frozen=True, slots=True)
class Permit:
    """One thing that is allowed an isolated pod."""

    peers: frozenset[Address] | None
    """The other ends; None is everybody."""
    ports: frozenset[Ports] | None
    """At the end that is called; None is every port of every protocol."""

    def allows(self, peer: Address, protocol: Protocol, port: int) -> bool:
        return (self.peers is None or peer in self.peers) and (
            self.ports is None or any(each.contains(protocol, port) for each in self.ports)
        )


Permits = frozenset[Permit] | None
"""What is allowed in one direction; None is everything: no policy isolates the pod in it."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """What one pod may do and have done to it."""

    ingress: Permits = None
    egress: Permits = None


def selects(policy: NetworkPolicy, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a pod of that namespace with those labels is one that the policy is for."""
    selector = policy.spec.pod_selector if policy.spec else None
    return policy.metadata.namespace == namespace and matches(selector or LabelSelector(), labels)


def directions(policy: NetworkPolicy) -> frozenset[str]:
    """`Ingress`, `Egress`: those in which the policy isolates. Unsaid: Ingress, and Egress if it has such rules."""
    spec = policy.spec or NetworkPolicySpec()
    return frozenset(spec.policy_types or (("Ingress", "Egress") if spec.egress else ("Ingress",)))


def isolate(
    policies: Sequence[NetworkPolicy],
    members: Sequence[Member],
    namespaces: Mapping[str, Mapping[str, str]],
) -> list[Isolation]:
    """For each member what is allowed; `namespaces` are labels by name.

    A block that is no network (admission lets none in) matches nobody.
    """
    selecting = [[each for each in policies if selects(each, m.namespace, m.labels)] for m in members]
    sides = _Sides(members, namespaces)
    return [
        Isolation(sides.ingress(chosen, member), sides.egress(chosen))
        for member, chosen in zip(members, selecting, strict=True)
    ]


def permitted(
    isolations: Mapping[Address, Isolation], source: Address, target: Address, protocol: Protocol, port: int
) -> bool:
    """Whether `source` may open a connection, or send the first datagram, to a port of `target`."""
    egress, ingress = isolations[source].egress, isolations[target].ingress
    return (egress is None or any(each.allows(target, protocol, port) for each in egress)) and (
        ingress is None or any(each.allows(source, protocol, port) for each in ingress)
    )


class _Sides:
    """Both directions of rules, over the members of one moment; what a policy's peers are is reckoned once."""

    def __init__(self, members: Sequence[Member], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self._members = members
        self._namespaces = namespaces
        self._egress: dict[int, frozenset[Permit]] = {}
        self._peers: dict[int, list[Member] | None] = {}

    def ingress(self, policies: Iterable[NetworkPolicy], member: Member) -> Permits:
        isolating = [each for each in policies if "Ingress" in directions(each)]
        if not isolating:
            return None
        found: set[Permit] = set()
        for policy in isolating:
            for rule in policy.spec.ingress if policy.spec else ():
                ports = _ports(rule.ports, member) if rule.ports else None
                found.update(_permits(self._matched(policy, rule.from_), ports))
        return frozenset(found)

    def egress(self, policies: Iterable[NetworkPolicy]) -> Permits:
        isolating = [each for each in policies if "Egress" in directions(each)]
        if not isolating:
            return None
        return frozenset().union(*map(self._egress_of, isolating))

    def _egress_of(self, policy: NetworkPolicy) -> frozenset[Permit]:
        """A port's name means of each pod that is called the port that it calls so."""
        if (known := self._egress.get(id(policy))) is not None:
            return known
        found: set[Permit] = set()
        for rule in policy.spec.egress if policy.spec else ():
            peers = self._matched(policy, rule.to)
            named = [each for each in rule.ports if isinstance(each.port, str)]
            if not rule.ports:
                found.update(_permits(peers, None))
                continue
            numbered = [each for each in rule.ports if not isinstance(each.port, str)]
            found.update(_permits(peers, _ports(numbered, None)))
            by_ports: dict[frozenset[Ports], list[Member]] = {}
            for peer in self._members if peers is None else peers:
                by_ports.setdefault(_ports(named, peer), []).append(peer)
            for ports, those in by_ports.items():
                found.update(_permits(those, ports))
        self._egress[id(policy)] = frozenset(found)
        return self._egress[id(policy)]

    def _matched(self, policy: NetworkPolicy, peers: tuple[NetworkPolicyPeer, ...]) -> list[Member] | None:
        """The pods that a rule's peers match; None, for a rule that names none, is everybody."""
        if not peers:
            return None
        if id(peers) not in self._peers:
            self._peers[id(peers)] = [
                _at(member, allowed)
                for member in self._members
                if (allowed := self._addresses(policy.metadata.namespace or "", peers, member))
            ]
        return self._peers[id(peers)]

    def _addresses(
        self, namespace: str, peers: Iterable[NetworkPolicyPeer], member: Member
    ) -> tuple[Address, ...]:
        return tuple(
            address
            for address in member.addresses
            if any(self._is(namespace, peer, member, address) for peer in peers)
        )

    def _is(self, namespace: str, peer: NetworkPolicyPeer, member: Member, address: Address) -> bool:
        if peer.ip_block is not None:
            return _in(peer.ip_block.cidr, address) and not any(
                _in(each, address) for each in peer.ip_block.except_
            )
        if peer.namespace_selector is None:
            if member.namespace != namespace or peer.pod_selector is None:
                return False
        elif not matches(peer.namespace_selector, self._namespaces.get(member.namespace, {})):
            return False
        return peer.pod_selector is None or matches(peer.pod_selector, member.labels)


def _at(member: Member, addresses: tuple[Address, ...]) -> Member:
    return Member(member.namespace, member.name, member.labels, addresses, member.ports)


def _in(block: str, address: Address) -> bool:
    try:
        return address in ip_network(block, strict=False)
    except ValueError:
        return False


def _ports(written: Iterable[NetworkPolicyPort], called: Member | None) -> frozenset[Ports]:
    """Ports as numbers; a name that the pod does not have is no port of it."""
    found = set()
    for each in written:
        protocol = each.protocol or "TCP"
        if each.port is None:
            found.add(Ports(protocol, 0, 65535))
        elif isinstance(each.port, int):
            found.add(Ports(protocol, each.port, each.end_port or each.port))
        elif called is not None and (number := called.ports.get((protocol, each.port))) is not None:
            found.add(Ports(protocol, number, number))
    return frozenset(found)


def _permits(peers: list[Member] | None, ports: frozenset[Ports] | None) -> Iterable[Permit]:
    addresses = None if peers is None else frozenset(a for each in peers for a in each.addresses)
    if addresses != frozenset() and ports != frozenset():
        yield Permit(addresses, ports)

"""NetworkPolicies as a table of the fabric, text for `nft -f` (pure).

It is replaced whole, in one transaction. No connection is tracked, so that there is no table of them to fill: a packet
that opens one (SYN without ACK) must be permitted from its sender to its receiver, and come from a port that callers
have; any other packet in the direction that its ports say, since it may be an answer. Hence a change cuts what lives,
and whoever may not send a SYN cannot begin otherwise: the kernel at the other end knows no such connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hauberk.node.network_policy import Address, Isolation, Permit, Permits, Ports
from hauberk.node.rules import FIRST_CALLER_PORT, HOST_LINK

_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_WORDS = {4: "ip", 6: "ip6"}


@dataclass(frozen=True, slots=True)
class _Way:
    """How a packet says who opens the connection: itself, or the other end, if it is an answer."""

    suffix: str
    opener: str
    receiver: str
    port: str


_OPENING = _Way("opening", "saddr", "daddr", "dport")
_ANSWER = _Way("answer", "daddr", "saddr", "sport")


def table(isolations: Mapping[Address, Isolation]) -> str:
    """The table for pods by address. A pod that is not among them can neither call nor be called.

    The machine itself is let through, as by Kubernetes' nodes.
    """
    build = _Build()
    body: list[str] = []
    for version in (4, 6):
        mine = {address: each for address, each in isolations.items() if address.version == version}
        for way in (_OPENING, _ANSWER):
            body += build.maps(version, way, mine)
    lines = [
        "add table inet hauberk_policy",
        "delete table inet hauberk_policy",
        "table inet hauberk_policy {",
        *build.sets.values(),
        *(f"  chain {name} {{\n{content}  }}" for content, name in build.chains.items()),
        *body,
        _FORWARD,
        "}",
    ]
    return "\n".join(lines) + "\n"


_FORWARD = f"""\
  chain refused {{
    meta l4proto tcp reject with tcp reset
    drop
  }}
  chain forward {{
    type filter hook forward priority filter + 10; policy drop;
    iifname {HOST_LINK} accept
    oifname {HOST_LINK} accept
    tcp sport >= {FIRST_CALLER_PORT} ip saddr vmap @from_4_opening
    tcp sport >= {FIRST_CALLER_PORT} ip6 saddr vmap @from_6_opening
    tcp flags & (syn | ack) == syn goto refused
    tcp dport >= {FIRST_CALLER_PORT} ip daddr vmap @from_4_answer
    tcp dport >= {FIRST_CALLER_PORT} ip6 daddr vmap @from_6_answer
    goto refused
  }}"""


class _Build:
    """Sets and chains of equal content are made once."""

    def __init__(self) -> None:
        self.sets: dict[tuple[int, frozenset[Address]], str] = {}
        self.chains: dict[str, str] = {}

    def maps(self, version: int, way: _Way, isolations: Mapping[Address, Isolation]) -> list[str]:
        """Where a pod as the opener, and where it as the receiver leads; and the chain between the two."""
        kind, suffix = _TYPES[version], f"{version}_{way.suffix}"
        arriving = f"arriving_{suffix}"
        opening, receiving = [], []
        for address, isolation in sorted(isolations.items(), key=lambda each: int(each[0])):
            if isolation.egress is None:
                opening.append(f"{address} : jump {arriving}")
            else:
                chain = self._chain(version, way, way.receiver, isolation.egress, f"goto {arriving}")
                opening.append(f"{address} : jump {chain}")
            if isolation.ingress is None:
                receiving.append(f"{address} : accept")
            else:
                chain = self._chain(version, way, way.opener, isolation.ingress, "accept")
                receiving.append(f"{address} : goto {chain}")
        return [
            _map(f"to_{suffix}", kind, receiving),
            f"  chain {arriving} {{ {_WORDS[version]} {way.receiver} vmap @to_{suffix}; }}",
            _map(f"from_{suffix}", kind, opening),
        ]

    def _chain(self, version: int, way: _Way, peer: str, permits: Permits, verdict: str) -> str:
        lines = sorted(
            f"    {condition}{verdict}\n"
            for permit in permits or ()
            for condition in self._conditions(version, way, peer, permit)
        )
        # Without a line the chain returns, as every chain does at its end: refused.
        content = "".join(lines)
        return self.chains.setdefault(content, f"permits_{len(self.chains)}")

    def _conditions(self, version: int, way: _Way, peer: str, permit: Permit) -> Iterable[str]:
        peers = ""
        if permit.peers is not None:
            chosen = frozenset(each for each in permit.peers if each.version == version)
            if not chosen:
                return
            peers = f"{_WORDS[version]} {peer} @{self._set(version, chosen)} "
        if permit.ports is None:
            yield peers
        elif found := _ranges(each for each in permit.ports if each.protocol == "TCP"):
            yield f"{peers}tcp {way.port} {{ {found} }} "

    def _set(self, version: int, addresses: frozenset[Address]) -> str:
        name = f"peers_{len(self.sets)}"
        elements = ", ".join(map(str, sorted(addresses, key=int)))
        made = f"  set {name} {{ type {_TYPES[version]}; elements = {{ {elements} }}; }}"
        return self.sets.setdefault((version, addresses), made).split()[1]


def _map(name: str, kind: str, elements: list[str]) -> str:
    listed = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    return f"  map {name} {{ type {kind} : verdict;{listed} }}"


def _ranges(ports: Iterable[Ports]) -> str:
    """Ranges that neither overlap nor touch, as nftables wants them."""
    merged: list[tuple[int, int]] = []
    for each in sorted(ports):
        if merged and each.first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], each.last))
        else:
            merged.append((each.first, each.last))
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in merged)

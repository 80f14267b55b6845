"""Packet filters of a gate and of the fabric, as text for `nft -f` (pure).

The pod has no rule of its own to undo: all of these lie in namespaces that it cannot enter.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
DNS_PORT = 15053
RESOLVER = IPv4Address("169.254.1.1")
"""The gate's address as its pod sees it: default route and name server."""
RESOLVER6 = IPv6Address("fd48:6175:6265:726b:1::1")
"""The same in IPv6."""
FABRIC_ROUTER = IPv4Address("169.254.2.1")
"""The fabric's address as each gate sees it."""
FABRIC_ROUTER6 = IPv6Address("fe80::2")
"""The same in IPv6."""
FIRST_CALLER_PORT = 32768
"""A proxy that calls another does so from a port at or above this one, as the fabric sees to."""
LAST_CALLER_PORT = 60999
LOCAL_MARK = 1
"""Packets for the proxy's own sockets, whatever address they carry; table 100 delivers them here."""
UPSTREAM_MARK = 2
"""What the proxy's own connections carry (SO_MARK)."""

POD_LINK = "hbk0"
FABRIC_LINK = "fab0"
HOST_LINK = "host0"


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate's rules depend on."""

    address: IPv4Address
    address6: IPv6Address | None
    """None on a machine without IPv6."""
    gateway: bool = False
    """A gateway has no pod behind it; its proxy listens on ordinary ports."""


@dataclass(frozen=True, slots=True)
class _Family:
    """What differs in the rules for the two versions of IP. They say the same otherwise."""

    word: str
    address_type: str
    resolver: str
    whole: str
    """Matches packets in one piece, and in IPv6 without extension headers before TCP or UDP."""


_IPV4 = _Family("ip", "ipv4_addr", str(RESOLVER), "ip frag-off & 0x3fff == 0")
_IPV6 = _Family("ip6", "ipv6_addr", str(RESOLVER6), "ip6 nexthdr { tcp, udp }")
_MAPPED = "::ffff:0:0/96"
"""IPv4 addresses written as IPv6 ones: no packet has them, and a proxy might take one for what it means."""


def gate(gate: Gate) -> str:
    """Rules of one gate: TCP goes to the proxy, names to its DNS listener, nothing else anywhere."""
    six = gate.address6 is not None
    tables = [_ingress(pod=not gate.gateway, six=six)]
    for family, address in ((_IPV4, gate.address), (_IPV6, gate.address6)):
        if address is not None:
            tables.append(_gateway(family) if gate.gateway else _sidecar(family, str(address)))
    return "".join(tables)


def _ingress(*, pod: bool, six: bool) -> str:
    """Frames of other protocols, and IPv6 that neighbours say to one another, go no further than the link.

    This hook comes before packets are put together from fragments.
    """
    six_rule = f"ether type ip6 {_IPV6.whole} ip6 daddr != {_MAPPED} accept" if six else ""
    chains = [("fabric", FABRIC_LINK, "ip"), *([("pod", POD_LINK, "{ arp, ip }")] if pod else [])]
    content = "".join(
        f"""
  chain {name} {{
    type filter hook ingress device {link} priority 0; policy drop;
    ether type {types} accept
    {six_rule}
  }}"""
        for name, link, types in chains
    )
    return f"\ntable netdev hauberk {{{content}\n}}\n"


# `socket transparent` finds replies to sockets that the proxy bound to addresses that are not the gate's.
# A pod that calls itself is seen by its program as 169.254.1.1: a machine drops packets from its own address.
# TCP needs no connection tracking but for names (redirected) and for a pod that calls itself (through lo).
def _sidecar(family: _Family, pod: str) -> str:
    word = family.word
    return f"""
table {word} hauberk {{
  chain untracked {{
    type filter hook prerouting priority raw; policy accept;
    iifname {FABRIC_LINK} notrack
    iifname {POD_LINK} tcp dport != 53 notrack
  }}
  chain untracked_output {{
    type filter hook output priority raw; policy accept;
    oifname {{ {POD_LINK}, {FABRIC_LINK} }} tcp sport != {DNS_PORT} notrack
  }}
  chain intercept {{
    type filter hook prerouting priority mangle; policy drop;
    iifname lo {word} saddr {family.resolver} {word} daddr {pod} meta l4proto tcp tproxy to :{INBOUND_PORT} \
meta mark set {LOCAL_MARK} accept
    iifname lo accept
    iifname {POD_LINK} {word} saddr != {pod} drop
    iifname {POD_LINK} meta l4proto {{ tcp, udp }} th dport 53 accept
    iifname {POD_LINK} meta l4proto tcp socket transparent 1 meta mark set {LOCAL_MARK} accept
    iifname {POD_LINK} meta l4proto tcp tproxy to :{OUTBOUND_PORT} meta mark set {LOCAL_MARK} accept
    iifname {FABRIC_LINK} {word} daddr != {pod} drop
    iifname {FABRIC_LINK} meta l4proto tcp socket transparent 1 meta mark set {LOCAL_MARK} accept
    iifname {FABRIC_LINK} meta l4proto tcp tproxy to :{INBOUND_PORT} meta mark set {LOCAL_MARK} accept
  }}
  chain names {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname {POD_LINK} meta l4proto {{ tcp, udp }} th dport 53 redirect to :{DNS_PORT}
  }}
  chain returned {{
    type route hook output priority mangle; policy accept;
    oifname lo {word} saddr {pod} {word} daddr {family.resolver} meta mark set {UPSTREAM_MARK}
  }}
  chain self {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname lo {word} saddr {pod} {word} daddr {pod} snat to {family.resolver}
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    meta mark {LOCAL_MARK} accept
    iifname lo accept
    iifname {POD_LINK} meta l4proto {{ tcp, udp }} th dport {DNS_PORT} ct status dnat accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
  }}
}}
"""


def _gateway(family: _Family) -> str:
    return f"""
table {family.word} hauberk {{
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname lo accept
    meta l4proto tcp accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
  }}
}}
"""


# Whole packets only: a fragment could hide the flags that policies go by (`node/policy_rules.py`). Resets are those
# that refuse a packet. Toward the host goes nothing that could open a connection: no packet with SYN and without ACK.
def _fabric(family: _Family) -> str:
    word = family.word
    return f"""
table {word} hauberk {{
  set links {{ type ifname . {family.address_type}; }}
  set gateways {{ type {family.address_type}; }}
  chain spoofing {{
    type filter hook prerouting priority raw; policy drop;
    {family.whole} iifname . {word} saddr @links meta l4proto tcp accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname {HOST_LINK} {word} daddr != @gateways drop
    oifname {HOST_LINK} {word} saddr != @gateways drop
    oifname {HOST_LINK} tcp flags & (syn | ack) == syn drop
    oifname . {word} daddr @links accept
  }}
  chain input {{ type filter hook input priority filter; policy drop; }}
  chain output {{
    type filter hook output priority filter; policy drop;
    tcp flags & rst == rst accept
  }}
}}
"""


_NO_ARP = """
table arp hauberk {
  chain input { type filter hook input priority filter; policy drop; }
  chain output { type filter hook output priority filter; policy drop; }
}
"""


def fabric(*, six: bool) -> str:
    """Rules of the fabric: TCP between gates, each link's source checked, and nothing else."""
    return _NO_ARP + _fabric(_IPV4) + (_fabric(_IPV6) if six else "")

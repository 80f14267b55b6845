"""Packet filters of a gate and of the fabric, as text for `nft -f` (pure).

The pod has no rule of its own to undo: all of these lie in namespaces that it cannot enter.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
DNS_PORT = 15053
RESOLVER = IPv4Address("169.254.1.1")
"""The gate's address as its pod sees it: default route and name server."""
FABRIC_ROUTER = IPv4Address("169.254.2.1")
"""The fabric's address as each gate sees it."""
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
    gateway: bool = False
    """A gateway has no pod behind it; its proxy listens on ordinary ports."""


def gate(gate: Gate) -> str:
    """Rules of one gate: TCP goes to the proxy, names to its DNS listener, nothing else anywhere."""
    return _GATEWAY if gate.gateway else _SIDECAR.replace("POD_ADDRESS", str(gate.address))


# `socket transparent` finds replies to sockets that the proxy bound to addresses that are not the gate's.
# A pod that calls itself is seen by its program as 169.254.1.1: a machine drops packets from its own address.
# TCP needs no connection tracking but for names (redirected) and for a pod that calls itself (through lo).
_SIDECAR = f"""
table netdev hauberk {{
  chain pod {{
    type filter hook ingress device {POD_LINK} priority 0; policy drop;
    ether type {{ arp, ip }} accept
  }}
  chain fabric {{
    type filter hook ingress device {FABRIC_LINK} priority 0; policy drop;
    ether type ip accept
  }}
}}
table ip hauberk {{
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
    iifname lo ip saddr {RESOLVER} ip daddr POD_ADDRESS meta l4proto tcp tproxy to :{INBOUND_PORT} \
meta mark set {LOCAL_MARK} accept
    iifname lo accept
    iifname {POD_LINK} ip saddr != POD_ADDRESS drop
    iifname {POD_LINK} meta l4proto {{ tcp, udp }} th dport 53 accept
    iifname {POD_LINK} meta l4proto tcp socket transparent 1 meta mark set {LOCAL_MARK} accept
    iifname {POD_LINK} meta l4proto tcp tproxy to :{OUTBOUND_PORT} meta mark set {LOCAL_MARK} accept
    iifname {FABRIC_LINK} ip daddr != POD_ADDRESS drop
    iifname {FABRIC_LINK} meta l4proto tcp socket transparent 1 meta mark set {LOCAL_MARK} accept
    iifname {FABRIC_LINK} meta l4proto tcp tproxy to :{INBOUND_PORT} meta mark set {LOCAL_MARK} accept
  }}
  chain names {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname {POD_LINK} meta l4proto {{ tcp, udp }} th dport 53 redirect to :{DNS_PORT}
  }}
  chain returned {{
    type route hook output priority mangle; policy accept;
    oifname lo ip saddr POD_ADDRESS ip daddr {RESOLVER} meta mark set {UPSTREAM_MARK}
  }}
  chain self {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname lo ip saddr POD_ADDRESS ip daddr POD_ADDRESS snat to {RESOLVER}
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

_GATEWAY = f"""
table netdev hauberk {{
  chain fabric {{
    type filter hook ingress device {FABRIC_LINK} priority 0; policy drop;
    ether type ip accept
  }}
}}
table ip hauberk {{
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
FABRIC = f"""
table arp hauberk {{
  chain input {{ type filter hook input priority filter; policy drop; }}
  chain output {{ type filter hook output priority filter; policy drop; }}
}}
table ip hauberk {{
  set links {{ type ifname . ipv4_addr; }}
  set gateways {{ type ipv4_addr; }}
  chain spoofing {{
    type filter hook prerouting priority raw; policy drop;
    ip frag-off & 0x3fff != 0 drop
    iifname . ip saddr @links meta l4proto tcp accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname {HOST_LINK} ip daddr != @gateways drop
    oifname {HOST_LINK} ip saddr != @gateways drop
    oifname {HOST_LINK} tcp flags & (syn | ack) == syn drop
    oifname . ip daddr @links accept
  }}
  chain input {{ type filter hook input priority filter; policy drop; }}
  chain output {{
    type filter hook output priority filter; policy drop;
    tcp flags & rst == rst accept
  }}
}}
"""

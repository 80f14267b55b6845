"""The IPv6 address that each pod has beside its IPv4 address, on a machine whose kernel has IPv6."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

POD_NETWORK = IPv6Network("fd48:6175:6265:726b::/96")
"""Unique local addresses (RFC 4193). The last 32 bits are the pod's IPv4 address, so they need no allocation."""


def available() -> bool:
    """Whether this machine's kernel has IPv6 (the parameter `ipv6.disable=1` takes it away)."""
    return Path("/proc/sys/net/ipv6").is_dir()


def beside(address: IPv4Address) -> IPv6Address:
    """The IPv6 address of the pod with this IPv4 address."""
    return POD_NETWORK.network_address + int(address)

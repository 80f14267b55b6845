"""IPv6 beside IPv4, on a machine whose kernel has it: whether it does, and the addresses of pods and services."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

POD_NETWORK = IPv6Network("fd48:6175:6265:726b::/96")
"""Unique local addresses (RFC 4193). The last 32 bits are the pod's IPv4 address, so they need no allocation."""
SERVICE_NETWORK = IPv6Network("fd48:6175:6265:726b:2::/112")


def available() -> bool:
    """Whether this machine's kernel has IPv6 (the parameter `ipv6.disable=1` takes it away)."""
    return Path("/proc/sys/net/ipv6").is_dir()


def beside(address: IPv4Address) -> IPv6Address:
    """The IPv6 address of the pod with this IPv4 address."""
    return POD_NETWORK.network_address + int(address)

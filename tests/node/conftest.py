"""Pods' namespaces for tests, with a relay in each gate."""

import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hauberk import ipv6
from hauberk.node import policy_rules
from hauberk.node.network import Network, PodNetwork
from hauberk.node.network_policy import Isolation

PROXY = 0x0FFF_F000
"""The user of the gates' proxies; the relays are root all the same."""
RELAY = Path(__file__).with_name("transparent_relay.py")


@dataclass(frozen=True)
class Pair:
    """Two pods on one fabric, and the network that made them."""

    network: Network
    one: PodNetwork
    two: PodNetwork


def inside(namespace: Path, *arguments: str, timeout: float = 10) -> subprocess.CompletedProcess[str]:
    """Runs a program as root with all capabilities in a pod's or gate's network namespace."""
    return subprocess.run(
        ["nsenter", f"--net={namespace}", *arguments], capture_output=True, text=True, timeout=timeout
    )


@contextmanager
def started(namespace: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a namespace that has said `ready`."""
    process = subprocess.Popen(
        ["nsenter", f"--net={namespace}", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield process
    finally:
        process.kill()
        process.wait()


async def admit_all(network: Network, block: IPv4Address) -> None:
    """No NetworkPolicy for the first addresses from `block`, whether pods have them yet or not."""
    addresses = [block + index for index in range(32)]
    admitted = {each: Isolation() for address in addresses for each in (address, ipv6.beside(address))}
    await network.put_policies(policy_rules.table(admitted))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    octet = secrets.randbelow(200) + 20
    network = Network(f"t{secrets.token_hex(3)}", IPv4Address(f"10.77.{octet}.1"))
    try:
        await network.start()
        one = network.of("one", IPv4Address(f"10.77.{octet}.5"), gateway=False, proxy_uid=PROXY)
        two = network.of("two", IPv4Address(f"10.77.{octet}.6"), gateway=False, proxy_uid=PROXY)
        await network.attach(one)
        await network.attach(two)
        await admit_all(network, IPv4Address(f"10.77.{octet}.0"))
        with (
            started(one.gate, sys.executable, str(RELAY), str(one.address), str(one.address6)),
            started(two.gate, sys.executable, str(RELAY), str(two.address), str(two.address6)),
        ):
            yield Pair(network, one, two)
    finally:
        await network.remove()

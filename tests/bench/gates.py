"""The places of two pods, as the node makes them: for each a pod's and a gate's network namespace; the fabric."""

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from tests.bench.objects import LEDGER, WEB

from hauberk.node import policy_rules
from hauberk.node.network import Network, PodNetwork
from hauberk.node.network_policy import Isolation

HOST = IPv4Address("10.66.255.253")


@dataclass(frozen=True)
class Place:
    """One pod's."""

    network: PodNetwork
    uid: int
    """The user that its proxy runs as."""

    @property
    def gate(self) -> Path:
        return self.network.gate

    @property
    def in_pod(self) -> tuple[str, ...]:
        """What a command begins with to run where the pod's program does."""
        return ("ip", "netns", "exec", self.network.pod.name)

    @property
    def in_gate(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.network.gate.name)


@contextmanager
def two_places() -> Iterator[tuple[Place, Place]]:
    """Those of `web` and of `ledger`. Raises PermissionError without root, CommandError if the kernel refuses."""
    if os.geteuid() != 0:
        raise PermissionError("the two-hop row makes network namespaces: run it as root, or name other rows")
    network = Network(f"bench{secrets.token_hex(2)}", HOST)
    web = Place(network.of("web", IPv4Address(WEB), gateway=False, proxy_uid=0x0FFF_F001), 0x0FFF_F001)
    ledger = Place(
        network.of("ledger", IPv4Address(LEDGER), gateway=False, proxy_uid=0x0FFF_F002), 0x0FFF_F002
    )
    try:
        asyncio.run(_make(network, web, ledger))
        yield web, ledger
    finally:
        asyncio.run(network.remove())


async def _make(network: Network, *places: Place) -> None:
    await network.start()
    for place in places:
        await network.attach(place.network)
    await network.put_policies(policy_rules.table({place.network.address: Isolation() for place in places}))

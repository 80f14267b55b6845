# ruff: noqa: ASYNC221, SIM117
"""Two pods, their gates and the fabric, with a relay where the proxy stands."""

import socket
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from tests.node.conftest import PROXY, RELAY, Pair, inside, started

from hauberk.node.network import PodNetwork

pytestmark = pytest.mark.root

SERVER = """
import socket
s = socket.create_server(("::", 7000), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    c, peer = s.accept()
    c.sendall(f"hello {peer[0].removeprefix('::ffff:')}\\n".encode())
    c.close()
"""
CLIENT = """
import socket, sys
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
print(c.makefile().read().strip())
"""


Address = IPv4Address | IPv6Address


def own(pod: PodNetwork, version: int) -> Address:
    """The pod's address of this version of IP."""
    assert pod.address6 is not None, "this machine has no IPv6"
    return pod.address if version == 4 else pod.address6


def call(namespace: Path, address: Address, port: int = 7000) -> str:
    done = inside(namespace, sys.executable, "-c", CLIENT, str(address), str(port))
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("version", [4, 6])
async def test_a_call_crosses_both_gates_and_the_server_sees_the_true_caller(
    pair: Pair, version: int
) -> None:
    with started(pair.two.pod, sys.executable, "-c", SERVER):
        assert call(pair.one.pod, own(pair.two, version)) == f"hello {own(pair.one, version)}"


@pytest.mark.parametrize(("version", "seen"), [(4, "169.254.1.1"), (6, "fd48:6175:6265:726b:1::1")])
async def test_a_pod_can_call_itself_through_its_own_gate(pair: Pair, version: int, seen: str) -> None:
    family, level, option = ("2", 0, 19) if version == 4 else ("10", 41, 75)
    address = own(pair.one, version)
    outbound = (
        f"import socket\ns=socket.socket({family})\ns.setsockopt({level},{option},1)\ns.setsockopt(1,36,2)\n"
        f"s.settimeout(3)\ns.bind(('{address}',0))\ns.connect(('{address}',7000))\n"
        "print(s.makefile().read().strip())"
    )
    with started(pair.one.pod, sys.executable, "-c", SERVER):
        done = inside(pair.one.gate, sys.executable, "-c", outbound)
    assert done.stdout.strip() == f"hello {seen}", done.stderr


async def test_names_are_answered_by_the_gate_whatever_server_is_asked(pair: Pair) -> None:
    ask = (
        "import socket,sys\ns=socket.socket(10 if ':' in sys.argv[1] else 2,socket.SOCK_DGRAM)\ns.settimeout(3)\n"
        "s.connect((sys.argv[1],53))\ns.send(b'q')\nprint(s.recv(100).decode())"
    )
    for server in ("169.254.1.1", "192.0.2.53", "fd48:6175:6265:726b:1::1", "2001:db8::53"):
        assert inside(pair.one.pod, sys.executable, "-c", ask, server).stdout.strip() == "answer to q"


@pytest.mark.parametrize("version", [4, 6])
async def test_a_gateway_is_reached_from_the_host_and_cannot_call_it(pair: Pair, version: int) -> None:
    gateway = pair.network.of("gateway", pair.one.address + 10, gateway=True, proxy_uid=PROXY)
    address, host = own(gateway, version), own(pair.one, version) - 4
    await pair.network.attach(gateway)
    with started(gateway.gate, sys.executable, "-c", SERVER):
        with socket.create_connection((str(address), 7000), 3) as connection:
            assert connection.makefile().read().strip() == f"hello {host}"
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.create_server((str(host), 0), family=family) as listener:
        assert call(gateway.gate, host, listener.getsockname()[1]) == "TimeoutError: timed out"
    await pair.network.detach(gateway)
    show = ["ip", f"-{version}", "route", "show", str(address)]
    assert subprocess.run(show, capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize("version", [4, 6])
async def test_a_gateway_calls_a_pod_through_its_gate(pair: Pair, version: int) -> None:
    gateway = pair.network.of("gateway", pair.one.address + 10, gateway=True, proxy_uid=PROXY)
    await pair.network.attach(gateway)
    with started(pair.two.pod, sys.executable, "-c", SERVER):
        assert call(gateway.gate, own(pair.two, version)) == f"hello {own(gateway, version)}"


async def test_when_the_relay_is_gone_nothing_passes_and_when_it_is_back_everything_does(pair: Pair) -> None:
    third = pair.network.of("three", pair.one.address + 3, gateway=False, proxy_uid=PROXY)
    await pair.network.attach(third)
    with started(pair.two.pod, sys.executable, "-c", SERVER):
        assert call(third.pod, pair.two.address) == "TimeoutError: timed out"
        with started(third.gate, sys.executable, str(RELAY), str(third.address)):
            assert call(third.pod, pair.two.address) == f"hello {third.address}"


async def test_detached_pods_leave_nothing(pair: Pair) -> None:
    instance = pair.one.gate.name.removesuffix("gate-one")
    fabric = pair.one.gate.with_name(f"{instance}fabric")
    # Of the second pod the kernel took the namespace, and with it the link, before the first look.
    await pair.network.detach(pair.one)
    subprocess.run(["ip", "netns", "delete", pair.two.gate.name], check=True)
    await pair.network.detach(pair.two)
    await pair.network.detach(pair.two)
    assert pair.network.uids() == set()
    assert not pair.one.gate.exists()
    for word, start in (("ip", "10."), ("ip6", "fd48:")):
        permitted = inside(fabric, "nft", "list", "set", word, "hauberk", "links").stdout
        assert permitted.count(f" . {start}") == permitted.count(f'"host0" . {start}') == 1

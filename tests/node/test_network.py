# ruff: noqa: ASYNC221, SIM117
"""Two pods, their gates and the fabric, with a relay where the proxy stands."""

import socket
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from tests.node.conftest import PROXY, RELAY, Pair, inside, started

pytestmark = pytest.mark.root

SERVER = """
import socket
s = socket.create_server(("0.0.0.0", 7000))
print("ready", flush=True)
while True:
    c, peer = s.accept()
    c.sendall(f"hello {peer[0]}\\n".encode())
    c.close()
"""
CLIENT = """
import socket, sys
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
print(c.makefile().read().strip())
"""


def call(namespace: Path, address: IPv4Address, port: int = 7000) -> str:
    done = inside(namespace, sys.executable, "-c", CLIENT, str(address), str(port))
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


async def test_a_call_crosses_both_gates_and_the_server_sees_the_true_caller(pair: Pair) -> None:
    with started(pair.two.pod, sys.executable, "-c", SERVER):
        assert call(pair.one.pod, pair.two.address) == f"hello {pair.one.address}"


async def test_a_pod_can_call_itself_through_its_own_gate(pair: Pair) -> None:
    outbound = (
        f"import socket\ns=socket.socket()\ns.setsockopt(0,19,1)\ns.setsockopt(1,36,2)\ns.settimeout(3)\n"
        f"s.bind(('{pair.one.address}',0))\ns.connect(('{pair.one.address}',7000))\n"
        "print(s.makefile().read().strip())"
    )
    with started(pair.one.pod, sys.executable, "-c", SERVER):
        done = inside(pair.one.gate, sys.executable, "-c", outbound)
    assert done.stdout.strip() == "hello 169.254.1.1", done.stderr


async def test_names_are_answered_by_the_gate_whatever_server_is_asked(pair: Pair) -> None:
    ask = (
        "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.settimeout(3)\n"
        "s.connect((sys.argv[1],53))\ns.send(b'q')\nprint(s.recv(100).decode())"
    )
    for server in ("169.254.1.1", "192.0.2.53"):
        assert inside(pair.one.pod, sys.executable, "-c", ask, server).stdout.strip() == "answer to q"


async def test_a_gateway_is_reached_from_the_host_and_cannot_call_it(pair: Pair) -> None:
    address = pair.one.address + 10
    gateway = pair.network.of("gateway", address, gateway=True, proxy_uid=PROXY)
    await pair.network.attach(gateway)
    with started(gateway.gate, sys.executable, "-c", SERVER):
        with socket.create_connection((str(address), 7000), 3) as connection:
            assert connection.makefile().read().startswith("hello 10.77.")
    host = str(pair.one.address - 4)
    with socket.create_server((host, 0)) as listener:
        assert call(gateway.gate, IPv4Address(host), listener.getsockname()[1]) == "TimeoutError: timed out"
    await pair.network.detach(gateway)
    routes = subprocess.run(["ip", "route", "show", str(address)], capture_output=True, text=True).stdout
    assert routes == ""


async def test_a_gateway_calls_a_pod_through_its_gate(pair: Pair) -> None:
    gateway = pair.network.of("gateway", pair.one.address + 10, gateway=True, proxy_uid=PROXY)
    await pair.network.attach(gateway)
    with started(pair.two.pod, sys.executable, "-c", SERVER):
        assert call(gateway.gate, pair.two.address) == f"hello {gateway.address}"


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
    permitted = inside(fabric, "nft", "list", "set", "ip", "hauberk", "links").stdout
    assert permitted.count(" . 10.") == permitted.count('"host0" . 10.') == 1

# ruff: noqa: ASYNC110
"""NetworkPolicies between real pods: their connections, also those of captured proxies, and what a change cuts."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from ipaddress import IPv4Address
from typing import Any

import pytest
from tests.node.conftest import PROXY, RELAY, admit_all, inside, started
from tests.node.memory_client import MemoryClient
from tests.node.test_escape import PREAMBLE

from hauberk.model.kinds import NAMESPACE, NETWORK_POLICY
from hauberk.node.network import Network, PodNetwork
from hauberk.node.network_policies import NetworkPolicies
from hauberk.node.pod_record import PodRecord

pytestmark = pytest.mark.root
SERVER = """
import socket, sys, threading
def serve(c):
    try:
        while data := c.recv(100): c.sendall(data)
    except OSError: pass
def listen(port):
    s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
for port in (7000, 7001): threading.Thread(target=listen, args=(port,), daemon=True).start()
import time; time.sleep(0.2)
print("ready", flush=True); threading.Event().wait()
"""
CLIENT = """
import socket, sys
for target in sys.argv[1:]:
    address, _, port = target.rpartition(":")
    try:
        with socket.create_connection((address, int(port)), 3) as c:
            c.settimeout(3); c.sendall(b"x"); print(target if c.recv(1) else "", flush=True)
    except OSError: pass
"""
# Connects straight from the gate as its proxy would, past any rule that the gate may have had.
CAPTURED = """
import socket, sys, subprocess
subprocess.run(["nft", "flush", "ruleset"], check=True)
for own in sys.argv[1].split(","):
    subprocess.run(["ip", "address", "replace", own + ("/128" if ":" in own else "/32"), "dev", "lo"], check=True)
for target in sys.argv[2:]:
    address, _, port = target.rpartition(":")
    six = ":" in address
    s = socket.socket(10 if six else 2); s.setsockopt(*((41, 75) if six else (0, 19)), 1); s.setsockopt(1, 36, 2)
    s.settimeout(2); s.bind((sys.argv[1].split(",")[six], 0))
    try:
        s.connect((address, int(port))); print(target)
    except OSError as error: print(type(error).__name__)
"""
LIVE = """
import socket, sys
c = socket.create_connection((sys.argv[1], 7000), 3); c.settimeout(8)
c.sendall(b"x"); assert c.recv(1) == b"x"
print("ready", flush=True)
try: print("ended" if c.recv(1) == b"" else "data", flush=True)
except TimeoutError: print("still there", flush=True)
except OSError: print("ended", flush=True)
"""


class Town:
    """Three pods of two namespaces and the policies between them: `web` and `db` in bank, `spy` in shop."""

    def __init__(self, network: Network, block: IPv4Address) -> None:
        self.client = MemoryClient()
        self.network = network
        self.policies = NetworkPolicies(self.client, network)
        self.pods: dict[str, PodNetwork] = {}
        self.block = block
        for name in ("bank", "shop"):
            self.client.put(NAMESPACE, {"metadata": {"name": name, "labels": {"name": name}}})

    async def add(self, namespace: str, name: str) -> PodNetwork:
        index = len(self.pods) + 5
        record = PodRecord(
            uid=name, namespace=namespace, name=name, index=index, address=str(self.block + index)
        )
        pod = {
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "main", "containerPort": 7000}]}]},
        }
        self.policies.put(record, pod)
        found = self.pods[name] = self.network.of(name, record.ip, gateway=False, proxy_uid=PROXY)
        await self.network.attach(found)
        return found

    async def put(self, name: str, spec: dict[str, Any], namespace: str = "bank") -> None:
        metadata = {"name": name, "namespace": namespace}
        self.client.put(NETWORK_POLICY, {"metadata": metadata, "spec": spec})
        await self._heard()

    async def remove(self, name: str) -> None:
        await self.client.delete(NETWORK_POLICY, "bank", name)
        await self._heard()

    async def _heard(self) -> None:
        informer = self.policies._policies
        async with asyncio.timeout(5):
            # The informer has no event of its own for one object.
            while len(informer.cache) != sum(
                key[0] == "networkpolicies" for key in self.client.objects
            ) or any(
                obj["metadata"]["resourceVersion"]
                != self.client.objects["networkpolicies", *key]["metadata"]["resourceVersion"]
                for key, obj in informer.cache.items()
            ):
                await asyncio.sleep(0.01)
        await self.policies.applied()

    def target(self, name: str, port: int = 7000, version: int = 4) -> str:
        pod = self.pods[name]
        return f"{pod.address if version == 4 else pod.address6}:{port}"

    async def reached(self, source: str) -> set[str]:
        """`name:port` of all that a program in the pod reaches, by IPv4 and IPv6 alike."""
        four, six = await self._reached(source, 4), await self._reached(source, 6)
        assert four == six
        return four

    async def _reached(self, source: str, version: int) -> set[str]:
        names = {
            self.target(name, port, version): f"{name}:{port}" for name in self.pods for port in (7000, 7001)
        }
        others = [target for target, name in names.items() if not name.startswith(source)]
        done = await asyncio.to_thread(
            inside, self.pods[source].pod, sys.executable, "-c", CLIENT, *others, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return {names[line] for line in done.stdout.split()}


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    block = IPv4Address(f"10.78.{secrets.randbelow(200) + 20}.0")
    network = Network(f"t{secrets.token_hex(3)}", block + 1)
    made = Town(network, block)
    try:
        await network.start()
        async with AsyncExitStack() as stack:
            for namespace, name in (("bank", "web"), ("bank", "db"), ("shop", "spy")):
                pod = await made.add(namespace, name)
                stack.enter_context(
                    started(pod.gate, sys.executable, str(RELAY), str(pod.address), str(pod.address6))
                )
                stack.enter_context(started(pod.pod, sys.executable, "-c", SERVER))
            running = asyncio.create_task(made.policies.run())
            await made.policies.applied()
            yield made
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    finally:
        await network.remove()


EVERYTHING = {
    name: {f"{other}:{port}" for other in ("web", "db", "spy") if other != name for port in (7000, 7001)}
    for name in ("web", "db", "spy")
}


async def reaching(town: Town) -> dict[str, set[str]]:
    return {name: await town.reached(name) for name in town.pods}


async def test_connections_follow_the_policies_as_they_come_and_go(town: Town) -> None:
    assert await reaching(town) == EVERYTHING
    await town.put("deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    assert await reaching(town) == {"web": set(), "db": set(), "spy": set()}
    web, db = ({"podSelector": {"matchLabels": {"app": name}}} for name in ("web", "db"))
    await town.put("out", {**web, "policyTypes": ["Egress"], "egress": [{"to": [db]}]})
    assert await reaching(town) == {"web": set(), "db": set(), "spy": set()}, "one side alone is not enough"
    await town.put("in", {**db, "ingress": [{"from": [web], "ports": [{"port": "main"}]}]})
    assert await reaching(town) == {"web": {"db:7000"}, "db": set(), "spy": set()}
    from_shop = {"namespaceSelector": {"matchLabels": {"name": "shop"}}}
    await town.put(
        "in", {**db, "ingress": [{"from": [from_shop], "ports": [{"port": 7001, "endPort": 7002}]}]}
    )
    assert await reaching(town) == {"web": set(), "db": set(), "spy": {"db:7001"}}
    spy = town.pods["spy"]
    blocks = [
        {"ipBlock": {"cidr": "10.78.0.0/16", "except": [f"{spy.address}/32"]}},
        {"ipBlock": {"cidr": "fd00::/8", "except": [f"{spy.address6}/128"]}},
    ]
    await town.put("in", {**db, "ingress": [{"from": blocks}]})
    assert await reaching(town) == {"web": {"db:7000", "db:7001"}, "db": set(), "spy": set()}
    for name in ("deny", "in", "out"):
        await town.remove(name)
    assert await reaching(town) == EVERYTHING


async def test_a_captured_proxy_gets_nowhere_that_its_pods_policies_forbid(town: Town) -> None:
    """It is root in its gate, flushes the rules there and connects by itself; so does the one that is called."""
    spy, db, web = town.pods["spy"], town.pods["db"], town.pods["web"]
    await town.put(
        "deny", {"podSelector": {"matchLabels": {"app": "spy"}}, "policyTypes": ["Egress"]}, "shop"
    )
    await town.put(
        "in", {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"ports": [{"port": 7001}]}]}
    )

    def captured(pod: PodNetwork, *targets: str) -> list[str]:
        done = inside(
            pod.gate, sys.executable, "-c", CAPTURED, f"{pod.address},{pod.address6}", *targets, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    refused = "ConnectionRefusedError"
    for version in (4, 6):
        right = town.target("db", 7001, version)
        assert captured(spy, right, town.target("web", version=version)) == [refused, refused]
        assert captured(web, town.target("db", version=version), right) == [refused, right]
    # The called one's proxy is captured as well, and answers at every port.
    answering = (
        "import socket\ns=socket.create_server(('0.0.0.0',7003))\nprint('ready',flush=True)\ns.accept()"
    )
    inside(db.gate, "nft", "flush", "ruleset")
    inside(db.gate, "ip", "address", "replace", f"{db.address}/32", "dev", "lo")
    with started(db.gate, sys.executable, "-c", answering):
        assert captured(web, town.target("db", 7003)) == [refused]
        await town.remove("in")
        assert captured(web, town.target("db", 7003)) == [town.target("db", 7003)], (
            "it would have been reached"
        )


async def test_a_captured_proxy_cannot_begin_without_a_syn_nor_hide_one_in_a_fragment(town: Town) -> None:
    """db may be called by web at 7000, so packets from db's 7000 may be answers; none of them opens a connection."""
    db, web = town.pods["db"], town.pods["web"]
    await town.put("deny", {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"]})
    program = PREAMBLE.replace("ME", str(db.address)).replace("OTHER", str(web.address)).replace(
        "40000", "7000"
    ) + (
        """
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("fab0", 0))
head = b"\\x02\\x04" + socket.inet_aton(me) + b"\\x02\\x03" + socket.inet_aton(me) + b"\\x08\\0"
def fabric(packet): s.send(head + packet)
def fragment(payload, offset):
    p = bytearray(ip(me, other, 6, payload)); p[6:8] = struct.pack("!H", offset); p[10:12] = b"\\0\\0"
    total = sum(struct.unpack("!10H", p[:20])); total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16); p[10:12] = struct.pack("!H", ~total & 0xFFFF)
    return bytes(p)
fabric(ip(me, other, 6, tcp(2, 7001)))       # SYN: refused
def low(packet): return packet[:20] + struct.pack("!H", 7000) + packet[22:]
fabric(low(ip(me, other, 6, tcp(2, 7001))))
fabric(ip(me, other, 6, tcp(3, 7001)))       # SYN and FIN
fabric(ip(me, other, 6, tcp(0xC2, 7001)))    # SYN with ECE and CWR
syn = low(ip(me, other, 6, tcp(2, 40000)))[20:]
fabric(fragment(syn[:8], 0x2000)); fabric(fragment(syn[8:], 1))
fabric(low(ip(me, other, 6, tcp(2, 40000)))) # from a port where one is called
fabric(low(ip(me, other, 6, tcp(0x10, 40000)))) # ACK: crosses as an answer would, and means nothing there
"""
    )
    watch = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("fab0", 0)); s.settimeout(5)
print("ready", flush=True)
while True:
    frame, address = s.recvfrom(65536)
    if address[2] != 4 and frame[26:30] == socket.inet_aton(sys.argv[1]):
        print(hex(frame[47]), flush=True)
        if frame[47] == 0x10: break
"""
    with started(web.gate, sys.executable, "-c", watch, str(db.address)) as process:
        done = inside(db.gate, sys.executable, "-c", program)
        assert done.returncode == 0, done.stderr
        assert process.stdout is not None
        assert process.stdout.read().split() == ["0x10"]


async def test_a_change_ends_the_live_connections_that_it_forbids_and_no_other(town: Town) -> None:
    """Both ends wait for bytes, so that no packet would tell either."""
    db, web, spy = town.pods["db"], town.pods["web"], town.pods["spy"]
    served = (
        "import socket\ns=socket.create_server(('0.0.0.0',7009))\nprint('ready',flush=True)\nc=s.accept()[0]\n"
        + (
            "c.settimeout(8)\ntry: print('ended' if not c.recv(1) else 'data', flush=True)\n"
            "except TimeoutError: print('still there', flush=True)\nexcept OSError: print('ended', flush=True)"
        )
    )
    calling = LIVE.replace("7000", "7009").replace('c.sendall(b"x"); assert c.recv(1) == b"x"', "")
    with (
        started(spy.pod, sys.executable, "-c", LIVE, str(db.address)) as forbidden,
        started(db.pod, sys.executable, "-c", served) as called,
        started(spy.pod, sys.executable, "-c", calling, str(db.address)) as silent,
        started(spy.pod, sys.executable, "-c", LIVE, str(db.address6)) as forbidden6,
        started(web.pod, sys.executable, "-c", LIVE, str(db.address)) as kept,
    ):
        assert kept.stdout and forbidden.stdout and called.stdout and silent.stdout
        only = {"from": [{"podSelector": {}}]}
        await town.put("in", {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [only]})
        for process in (forbidden, called, silent, forbidden6):
            assert process.stdout
            assert await asyncio.to_thread(process.stdout.readline) == "ended\n"
        assert kept.poll() is None
    assert await town.reached("web") >= {"db:7000"}


async def test_a_pod_that_no_policy_table_knows_is_reached_by_nobody(town: Town) -> None:
    """As one whose address another had before it."""
    spy = town.pods["spy"]
    town.policies.drop("spy")
    await town.policies.applied()
    assert await town.reached("spy") == set()
    assert await town.reached("web") == {"db:7000", "db:7001"}
    await admit_all(town.network, town.block)
    assert await town.reached("web") == EVERYTHING["web"], spy


async def test_what_the_kernel_refuses_leaves_the_rules_that_were_there(town: Town) -> None:
    from hauberk.node.command import CommandError

    with pytest.raises(CommandError):
        await town.network.put_policies(
            "add table inet hauberk_policy\ndelete table inet hauberk_policy\nnonsense\n"
        )
    assert await town.reached("web") == EVERYTHING["web"]

# ruff: noqa: E501
"""Root with every capability in a pod's network namespace tries to get around the proxy; the fabric watches.

The pod has no relay in its gate here: any frame at all on its fabric link is one that got around it.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.node.conftest import PROXY, Pair, inside, started

from hauberk.node import netns
from hauberk.node.network import PodNetwork
from hauberk.node.rules import RESOLVER6

pytestmark = pytest.mark.root

WATCH = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((sys.argv[1], 0))
s.settimeout(20)
print("ready", flush=True)
while True:
    frame, address = s.recvfrom(65536)
    if address[2] != 4:  # not what the fabric itself sends
        print(frame.hex(), flush=True)
        if b"fence" in frame: break
"""
FENCE = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("fab0", 0))
s.send(b"\\x02" * 12 + b"\\x08\\x00" + b"fence" * 12)
"""
PREAMBLE = """
import socket, struct, os
me, other, gate = "ME", "OTHER", "169.254.1.1"
def ip(source, destination, protocol, payload, ihl=5):
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | ihl, 0, 20 + len(payload), 7, 0, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(destination)) + payload[:4 * ihl - 20]
    total = sum(struct.unpack(f"!{ihl * 2}H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + payload[4 * ihl - 20:]
def tcp(flags=2, port=7000):
    return struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, flags, 1000, 0, 0)
def udp(port, data=b"x" * 20):
    return struct.pack("!HHHH", 40000, port, 8 + len(data), 0) + data
def frames(*all, mac=bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(("eth0", 0))
    for kind, payload in all:
        for target in (b"\\xff" * 6, b"\\x02\\x02" + socket.inet_aton(me), b"\\x02\\x03" + socket.inet_aton(other)):
            s.send(target + mac + struct.pack("!H", kind) + payload.ljust(46, b"\\0"))
def raw(protocol, packet, destination):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    s.sendto(packet, (destination, 0))
"""
PREAMBLE6 = """
me6, other6, gate6 = (socket.inet_pton(10, text) for text in ("ME6", "OTHER6", "fd48:6175:6265:726b:1::1"))
all_nodes, all_routers = socket.inet_pton(10, "ff02::1"), socket.inet_pton(10, "ff02::2")
def six(source, destination, protocol, payload, hops=255):
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + source + destination + payload
def checked(source, destination, protocol, payload, at):
    pseudo = source + destination + struct.pack("!II", len(payload), protocol) + payload + b"\\0" * (len(payload) % 2)
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16: total = (total & 0xFFFF) + (total >> 16)
    return payload[:at] + struct.pack("!H", ~total & 0xFFFF) + payload[at + 2:]
def icmp(kind, body, source=None, destination=None, code=0):
    source, destination = source or me6, destination or all_nodes
    return six(source, destination, 58, checked(source, destination, 58, bytes([kind, code, 0, 0]) + body, 2))
def tcp6(source, destination, flags=2, port=7000):
    return checked(source, destination, 6, tcp(flags, port), 16)
def options(next): return bytes([next, 0, 1, 4, 0, 0, 0, 0])
def fragment(next, offset=0, more=1): return struct.pack("!BBHI", next, 0, offset << 3 | more, 7)
def mapped(text): return b"\\0" * 10 + b"\\xff\\xff" + socket.inet_aton(text)
def frames6(*all): frames(*[(0x86DD, packet) for packet in all])
t = tcp6(me6, other6)
"""
ATTEMPTS6 = {
    "udp": "socket.socket(10, 2).sendto(b'x', ('OTHER6', 9000))",
    "udp to the gate": "socket.socket(10, 2).sendto(b'x', ('fd48:6175:6265:726b:1::1', 9000))",
    "multicast": "s = socket.socket(10, 2); s.setsockopt(41, 17, socket.if_nametoindex('eth0')); s.sendto(b'x', ('ff02::fb', 5353))",
    "echo, and errors": "frames6(*[icmp(kind, bytes(60), destination=to) for kind in (1, 2, 3, 4, 128, 129) for to in (other6, gate6)])",
    "neighbours asked for and claimed": (
        "option = b'\\2\\1\\2\\3' + bytes(4); frames6(*[icmp(kind, (b'\\xe0\\0\\0\\0' if kind == 136 else bytes(4)) + target + option,"
        " destination=to) for kind in (135, 136) for target in (me6, other6, gate6) for to in (all_nodes, other6, gate6)])"
    ),
    "router advertised, asked for, redirected": (
        "link = socket.inet_pton(10, 'fe80::1'); frames6(icmp(133, bytes(4), destination=all_routers),"
        " *[icmp(134, struct.pack('!BBHII', 64, 0, 1800, 0, 0) + b'\\3\\4@\\xc0' + b'\\xff' * 8 + bytes(4) + other6, source, to)"
        " for source in (me6, link) for to in (all_nodes, gate6)], icmp(137, bytes(4) + other6 + other6, link, gate6))"
    ),
    "multicast listener reports": "frames6(six(me6, all_nodes, 0, options(58) + bytes([143, 0, 0, 0, 0, 0, 0, 0])), icmp(131, bytes(20)))",
    "spoofed": (
        "frames6(*[six(source, other6, 6, tcp6(source, other6)) for source in (other6, gate6, bytes(16), bytes(15) + b'\\1',"
        " socket.inet_pton(10, 'fe80::2'), mapped('ME'), mapped('OTHER'), all_nodes)])"
    ),
    "to addresses that are nobody's": (
        "frames6(*[six(me6, to, 6, tcp6(me6, to)) for to in (all_nodes, bytes(16), bytes(15) + b'\\1', mapped('OTHER'), mapped('ME'),"
        " socket.inet_pton(10, 'fe80::2'))])"
    ),
    "extension headers": (
        "frames6(*[six(me6, other6, kind, options(6) + t) for kind in (0, 43, 60, 135, 140, 253)],"
        " six(me6, other6, 0, options(60) + options(60) + options(6) + t), six(me6, other6, 51, b'\\6\\4' + bytes(22) + t))"
    ),
    "a routing header": "frames6(six(me6, gate6, 43, bytes([6, 2, 0, 1, 0, 0, 0, 0]) + other6 + t))",
    "fragments": (
        "frames6(six(me6, other6, 44, fragment(6, 0, 0) + t), six(me6, other6, 44, fragment(6) + t[:8]),"
        " six(me6, other6, 44, fragment(6, 1, 0) + t[8:]), six(me6, other6, 44, fragment(60) + options(6)),"
        " six(me6, other6, 44, fragment(60, 1, 0) + t))"
    ),
    "other protocols": "frames6(*[six(me6, other6, kind, bytes(40)) for kind in (4, 41, 47, 50, 59, 103, 132, 136, 254)])",
    "ipv6 in ipv4, ipv4 in ipv6": "raw(41, ip(me, other, 41, six(me6, other6, 6, t)), other); frames6(six(me6, other6, 4, ip(me, other, 6, tcp())))",
    "a version that is not 6": "frames6(b'\\x40' + six(me6, other6, 6, t)[1:], ip(me, other, 6, tcp())); frames((0x0800, six(me6, other6, 6, t)))",
    "acks without a connection": "frames6(six(me6, other6, 6, tcp6(me6, other6, 0x10)), six(me6, other6, 6, tcp6(me6, other6, 4)))",
    "dns port, to another pod": "socket.socket(10, 2).sendto(b'fenc', ('OTHER6', 53))",
    "a program's own mapped address": "s = socket.socket(10, 2); s.sendto(b'x', ('::ffff:OTHER', 9000))",
}
ATTEMPTS = {
    "udp": "socket.socket(2, 2).sendto(b'x', (other, 9000))",
    "udp to the gate": "socket.socket(2, 2).sendto(b'x', (gate, 9000))",
    "udp broadcast": "s=socket.socket(2,2); s.setsockopt(1,6,1); s.sendto(b'x', ('255.255.255.255', 67))",
    "multicast": "socket.socket(2, 2).sendto(b'x', ('224.0.0.251', 5353))",
    "icmp": "raw(1, ip(me, other, 1, b'\\x08\\0\\xf7\\xff' + bytes(4)), other)",
    "sctp": "raw(132, ip(me, other, 132, bytes(32)), other)",
    "ip in ip": "raw(4, ip(me, other, 4, ip(me, other, 6, tcp())), other)",
    "gre": "raw(47, ip(me, other, 47, bytes(4) + ip(me, other, 6, tcp())), other)",
    "spoofed tcp": "raw(6, ip(other, me, 6, tcp()), other); raw(6, ip('10.66.0.1', other, 6, tcp()), other)",
    "spoofed as the fabric": "frames((0x0800, ip('169.254.2.1', other, 6, tcp())))",
    "frames to other machines": "frames((0x0800, ip(me, other, 17, udp(9000))), (0x0800, ip(me, other, 6, tcp())))",
    "frames from another mac": "frames((0x0800, ip(me, other, 6, tcp())), mac=b'\\x02\\x03' + bytes(4))",
    "tcp fragments": "p=ip(me, other, 6, tcp()[:8]); frames((0x0800, p[:6] + b'\\x20\\0' + p[8:10] + struct.pack('!H',"
    " (struct.unpack('!H', p[10:12])[0] - 0x2000) % 0xFFFF) + p[12:]))",
    "options with a source route": (
        "frames((0x0800, ip(me, gate, 6, b'\\x83\\x07\\x04' + socket.inet_aton(other) + b'\\0' + tcp(), ihl=7)))"
    ),
    "acks without a connection": "raw(6, ip(me, other, 6, tcp(0x10)), other); raw(6, ip(me, other, 6, tcp(4)), other)",
    "ipv6": "frames((0x86DD, bytes.fromhex('6000000000003a40') + b'\\xfe\\x80' + bytes(14) + b'\\xff\\x02' + bytes(14)))",
    "arp for others": (
        "frames((0x0806, bytes.fromhex('0001080006040002020101010101') + socket.inet_aton(other) + bytes(6)"
        " + socket.inet_aton(other)))"
    ),
    "vlan": "frames((0x8100, b'\\0\\x05\\x08\\0' + ip(me, other, 17, udp(9000))))",
    "double vlan": "frames((0x88A8, b'\\0\\x05\\x81\\0\\0\\x05\\x08\\0' + ip(me, other, 17, udp(9000))))",
    "mpls, pppoe, lldp, loopback, unknown": (
        "frames(*[(kind, ip(me, other, 17, udp(9000))) for kind in (0x8847, 0x8864, 0x88CC, 0x9000, 0x1234, 0x0026)])"
    ),
    "dns port from a strange port, to another pod": "socket.socket(2, 2).sendto(b'fenc', (other, 53))",
}
SHELL_ATTEMPTS = {
    "rules flushed, routes added": (
        "nft flush ruleset; ip route add OTHER dev eth0; ip neigh add OTHER lladdr 02:03:00:00:00:00 dev eth0;"
        "ip addr add 10.99.0.1/24 dev eth0; echo x >/dev/udp/OTHER/9000; timeout 0.3 bash -c 'echo x >/dev/tcp/OTHER/7000'"
    ),
    "address and mac changed": (
        "ip addr flush dev eth0; ip link set eth0 address 02:03:11:11:11:11; ip addr add OTHER2/32 dev eth0;"
        "ip route add default dev eth0; echo x >/dev/udp/OTHER/9000; timeout 0.3 bash -c 'echo x >/dev/tcp/OTHER/7000'"
    ),
    "ipv6 turned on": (
        "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip -6 addr add fd00::1/64 dev eth0 nodad;"
        "echo x >/dev/udp/fd00::2/9000; ip -6 route add default dev eth0; echo x >/dev/udp/2001:db8::1/53;"
        "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; echo 0 >/proc/sys/net/ipv6/conf/eth0/addr_gen_mode;"
        "ip link set eth0 down; ip link set eth0 up; ip -6 neigh flush dev eth0; echo x >/dev/udp/OTHER6/9000;"
        "ip -6 addr add OTHER6/128 dev eth0; ip -6 route add default dev eth0; timeout 0.3 bash -c 'echo x >/dev/tcp/2001:db8::1/7000'"
    ),
    "forwarding between devices of its own": (
        "ip link add v type veth peer name w; ip link add br0 type bridge; ip link set eth0 master br0; ip link set br0 up;"
        "ip link add vx type vxlan id 7 remote OTHER dstport 4789 dev eth0; ip link set vx up; echo x >/dev/udp/OTHER/4789"
    ),
}


@dataclass(frozen=True)
class Lonely:
    """A pod whose gate has no relay, beside a whole one."""

    pod: PodNetwork
    other: PodNetwork
    fabric: Path


@pytest.fixture
async def lonely(pair: Pair) -> AsyncIterator[Lonely]:
    pod = pair.network.of("lonely", pair.one.address + 4, gateway=False, proxy_uid=PROXY)
    await pair.network.attach(pod)
    fabric = netns.path(pod.gate.name.replace("gate-lonely", "fabric"))
    yield Lonely(pod, pair.two, fabric)


@contextmanager
def watched(lonely: Lonely) -> Iterator[list[str]]:
    """What came over the pod's link into the fabric while the block ran, in hexadecimal."""
    link = f"g{int(lonely.pod.address):08x}"
    seen: list[str] = []
    with started(lonely.fabric, sys.executable, "-c", WATCH, link) as process:
        yield seen
        assert inside(lonely.pod.gate, sys.executable, "-c", FENCE).returncode == 0
        assert process.stdout is not None
        seen += [line.strip() for line in process.stdout]
    assert seen, "the watcher sees the fence, so it would have seen an escape"
    seen.pop()


def attempt(lonely: Lonely, code: str) -> subprocess.CompletedProcess[str]:
    program = PREAMBLE + (PREAMBLE6 if lonely.pod.address6 else "") + code
    for name, pod in (("ME", lonely.pod), ("OTHER", lonely.other)):
        program = program.replace(f"{name}6", str(pod.address6)).replace(name, str(pod.address))
    return inside(lonely.pod.pod, sys.executable, "-c", program)


async def test_no_frame_of_any_kind_gets_around_the_proxy(lonely: Lonely) -> None:
    with watched(lonely) as seen:
        for name, code in ATTEMPTS.items():
            done = attempt(lonely, code)
            assert done.returncode == 0, f"{name}: {done.stderr}"
    assert seen == []


async def test_no_packet_of_ipv6_gets_around_the_proxy(lonely: Lonely) -> None:
    with watched(lonely) as seen:
        for name, code in ATTEMPTS6.items():
            done = attempt(lonely, code)
            assert done.returncode == 0, f"{name}: {done.stderr}"
    assert seen == []


@pytest.mark.parametrize("name", SHELL_ATTEMPTS)
async def test_no_change_to_the_pods_own_network_gets_around_the_proxy(lonely: Lonely, name: str) -> None:
    script = SHELL_ATTEMPTS[name].replace("OTHER2", str(lonely.other.address + 1))
    script = script.replace("OTHER6", str(lonely.other.address6))
    with watched(lonely) as seen:
        inside(lonely.pod.pod, "bash", "-c", script.replace("OTHER", str(lonely.other.address)))
    assert seen == []


LISTEN = """
import socket
t = socket.create_server(("::", 9999), family=10, dualstack_ipv6=True); t.setblocking(False)
u = socket.socket(10, 2); u.bind(("::", 9999)); u.setblocking(False)
print("ready", flush=True)
import select
while True:
    select.select([t, u], [], [])
    print("reached", flush=True); break
"""


async def test_a_pod_reaches_no_port_of_its_gate_and_none_of_the_machine(lonely: Lonely) -> None:
    host_address = str(lonely.pod.address - 8)
    machine = Path("/run/netns/../../proc/self/ns/net")
    targets = ["169.254.1.1", "169.254.2.1", host_address, str(lonely.pod.address), "127.0.0.1"]
    if lonely.pod.address6:
        targets += [str(RESOLVER6), str(lonely.pod.address6 - 8), str(lonely.pod.address6), "::1"]
    tries = "".join(
        f"(echo x >/dev/udp/{target}/9999; timeout 0.2 bash -c 'echo x >/dev/tcp/{target}/9999') 2>/dev/null;"
        for target in targets
    )
    with (
        started(lonely.pod.gate, sys.executable, "-c", LISTEN) as gate,
        started(machine, sys.executable, "-c", LISTEN) as host,
    ):
        inside(lonely.pod.pod, "bash", "-c", tries)
        for process in (gate, host):
            assert process.poll() is None
            process.terminate()
            assert process.stdout is not None
            assert process.stdout.read() == ""


async def test_a_captured_proxy_speaks_as_its_own_pod_only(lonely: Lonely) -> None:
    """Root in the gate can send frames to the fabric; the fabric passes none that is not that pod's TCP."""
    link = f"g{int(lonely.other.address):08x}"
    spoof = """
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("fab0", 0))
target = b"\\x02\\x04" + socket.inet_aton(me)
def fabric(kind, packet): s.send(target + b"\\x02\\x03" + socket.inet_aton(me) + struct.pack("!H", kind) + packet)
for source, protocol, payload in (("10.77.250.250", 6, tcp()), (other, 6, tcp()), (me, 17, udp(9000)), (me, 1, bytes(8))):
    fabric(0x0800, ip(source, other, protocol, payload))
link, strange = socket.inet_pton(10, "fe80::2"), socket.inet_pton(10, "2001:db8::1")
for source in (other6, gate6, link, strange, mapped(me), mapped(other), bytes(16)):
    fabric(0x86DD, six(source, other6, 6, tcp6(source, other6)))
    fabric(0x86DD, icmp(136, b"\\xe0\\0\\0\\0" + other6 + b"\\2\\1\\2\\3" + bytes(4), source, other6))
    fabric(0x86DD, icmp(134, bytes(12), source, all_nodes))
for packet in (six(me6, other6, 17, udp(9000)), six(me6, other6, 0, options(6) + t), six(me6, other6, 60, options(6) + t),
               six(me6, other6, 43, options(6) + t), six(me6, other6, 44, fragment(6, 0, 0) + t), icmp(128, bytes(4), me6, other6),
               six(me6, other6, 44, fragment(6) + t[:8]), six(me6, other6, 44, fragment(6, 1, 0) + t[8:]),
               six(me6, mapped(other), 6, tcp6(me6, mapped(other)))):
    fabric(0x86DD, packet)
fabric(0x86DD, six(me6, other6, 6, tcp6(me6, other6)))
fabric(0x0800, ip(me, other, 6, tcp(2, 7001)))
"""
    spoof = PREAMBLE + PREAMBLE6 + spoof
    for name, pod in (("ME", lonely.pod), ("OTHER", lonely.other)):
        spoof = spoof.replace(f"{name}6", str(pod.address6)).replace(name, str(pod.address))
    watch = WATCH.replace("address[2] != 4", "address[2] == 4").replace(
        'b"fence" in frame', "frame[36:38] == b'\\x1b\\x59'"
    )
    with started(lonely.fabric, sys.executable, "-c", watch, link) as process:
        done = inside(lonely.pod.gate, sys.executable, "-c", spoof)
        assert done.returncode == 0, done.stderr
        assert process.stdout is not None
        sent = [line.strip() for line in process.stdout]
    assert len(sent) == 2, "only the last two, the pod's own TCP, cross"
    assert lonely.pod.address6 is not None
    assert lonely.pod.address6.packed.hex() in sent[0]
    assert lonely.pod.address.packed.hex() in sent[1]

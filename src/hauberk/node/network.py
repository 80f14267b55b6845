"""The fabric of an instance, and for each pod its two namespaces, links, routes and rules.

Everything is found again by name in the kernel: `hbk-INSTANCE-fabric`, `hbk-INSTANCE-gate-UID`,
`hbk-INSTANCE-pod-UID`. Nothing here is remembered between runs.
"""

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from zlib import crc32

from hauberk import ipv6
from hauberk.node import netns, policy_rules, rules
from hauberk.node.command import CommandError, run
from hauberk.node.rules import (
    FABRIC_LINK,
    FABRIC_ROUTER,
    FABRIC_ROUTER6,
    HOST_LINK,
    LOCAL_MARK,
    POD_LINK,
    RESOLVER,
    RESOLVER6,
    UPSTREAM_MARK,
)


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """The namespaces of one pod. A gateway pod has a gate only."""

    uid: str
    address: IPv4Address
    address6: IPv6Address | None
    """None on a machine without IPv6."""
    gateway: bool
    proxy_uid: int
    """The one user id in the user namespace that the gate belongs to."""
    gate: Path
    pod: Path
    """For a gateway the same as `gate`: its proxy is all there is."""


class Network:
    """What one instance has in the kernel's network stack."""

    def __init__(self, instance: str, host_address: IPv4Address) -> None:
        """`host_address` is the machine's own address on its link to gateway pods."""
        self._prefix = f"hbk-{instance}-"
        self._host_link = _host_link(instance)
        self._host_address = host_address
        self._fabric = f"{self._prefix}fabric"
        self._fabric_lock = asyncio.Lock()
        self._six = ipv6.available()

    async def start(self) -> None:
        """Makes the fabric unless it is there."""
        if netns.path(self._fabric).exists():
            return
        building = f"{self._fabric}~"
        if netns.path(building).exists():
            await run("ip", "netns", "delete", building)
        await run("ip", "netns", "add", building)
        await netns.call(netns.path(building), _set_fabric_parameters)
        await _nft(building, rules.fabric(six=self._six))
        await _nft(building, policy_rules.table({}))
        await _ip(building, ["link set lo up"])
        await self._connect_host(building)
        # The finished namespace gets its name last: whoever finds the name finds all of it.
        await run("touch", str(netns.path(self._fabric)))
        await run("mount", "--bind", str(netns.path(building)), str(netns.path(self._fabric)))
        await run("ip", "netns", "delete", building)

    def of(self, uid: str, address: IPv4Address, gateway: bool, *, proxy_uid: int) -> PodNetwork:
        """Where the namespaces of a pod are, made or not."""
        gate = netns.path(f"{self._prefix}gate-{uid}")
        pod = gate if gateway else netns.path(f"{self._prefix}pod-{uid}")
        return PodNetwork(
            uid=uid,
            address=address,
            address6=ipv6.beside(address) if self._six else None,
            gateway=gateway,
            proxy_uid=proxy_uid,
            gate=gate,
            pod=pod,
        )

    def uids(self) -> set[str]:
        """UIDs of the pods that have a namespace here."""
        found = set()
        for side in ("gate", "pod"):
            prefix = f"{self._prefix}{side}-"
            found |= {name.removeprefix(prefix) for name in netns.names(prefix)}
        return found

    async def attach(self, network: PodNetwork) -> None:
        """Makes a pod's namespaces, links and rules from nothing; what was there under its name goes first.

        Raises:
            CommandError: the kernel refused a step.
        """
        await self.detach(network)
        address, gate, pod = network.address, network.gate.name, network.pod.name
        link = _fabric_link(address)
        links = [
            f"link add {FABRIC_LINK} netns {gate} address {_mac(3, address)} type veth "
            f"peer name {link} netns {self._fabric} address {_mac(4, address)}",
        ]
        if not network.gateway:
            links += [
                f"netns add {pod}",
                f"link add {POD_LINK} netns {gate} address {_mac(2, address)} type veth "
                f"peer name eth0 netns {pod} address {_mac(1, address)}",
            ]
        await netns.add_owned(network.gate, network.proxy_uid)
        await run("ip", "-batch", "-", text="\n".join(links))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._connect_gate(network))
            if not network.gateway:
                group.create_task(_connect_pod(network))
            group.create_task(self._connect_fabric(network))
        if network.gateway:
            await run("ip", "-batch", "-", text="\n".join(self._host_routes(network)))

    async def detach(self, network: PodNetwork) -> None:
        """Removes a pod's namespaces and links; what is gone already is no error."""
        link = _fabric_link(network.address)
        for space in (network.pod, network.gate):
            netns.kill_all(space)
        batch = [f"netns delete {space.name}" for space in {network.pod, network.gate} if space.exists()]
        if batch:
            await run("ip", "-batch", "-", text="\n".join(batch))
        if network.gateway:
            # The link, and every route over it, may have gone already.
            for address in _addresses(network):
                family = f"-{address.version}"
                await run(
                    "ip", family, "route", "flush", str(address), "dev", self._host_link, allowed=(0, 1)
                )
        async with self._fabric_lock:
            fabric = netns.path(self._fabric)
            if fabric.exists():
                # The kernel takes the link away with the gate's namespace, at a moment of its own.
                await run("ip", "-n", self._fabric, "link", "delete", link, allowed=(0, 1))
                if link in await self._links():
                    raise CommandError(f"ip -n {self._fabric} link delete {link}: the link is still there")
                # nft refuses to delete what is absent, and adds what is there without a word.
                both = [self._elements(verb, network) for verb in ("add", "delete")]
                await _nft(self._fabric, "\n".join(both))

    async def detach_unknown(self, uid: str) -> None:
        """Removes the namespaces of a pod of which no more than its UID is known."""
        for side in ("gate", "pod"):
            name = f"{self._prefix}{side}-{uid}"
            if netns.path(name).exists():
                netns.kill_all(netns.path(name))
                await run("ip", "netns", "delete", name)

    async def remove(self) -> None:
        """Removes all that this instance has; nothing left is no error."""
        if _exists(self._host_link):
            await run("ip", "link", "delete", self._host_link)
        for name in netns.names(self._prefix):
            netns.kill_all(netns.path(name))
            await run("ip", "netns", "delete", name)

    async def put_policies(self, table: str) -> None:
        """Takes `policy_rules.table` for what the fabric permits from now on.

        Raises:
            CommandError: the kernel refused it; what was permitted before still holds.
        """
        await _nft(self._fabric, table)

    async def _links(self) -> set[str]:
        return await netns.call(netns.path(self._fabric), _link_names)

    async def _connect_host(self, fabric: str) -> None:
        address = self._host_address
        if _exists(self._host_link):
            # Its namespace is going, or it is going by itself already.
            await run("ip", "link", "delete", self._host_link, allowed=(0, 1))
        batch = [
            f"link add {self._host_link} address {_mac(5, address)} type veth "
            f"peer name {HOST_LINK} netns {fabric} address {_mac(6, address)}",
            f"address add {address}/32 dev {self._host_link}",
            f"link set {self._host_link} up",
        ]
        if self._six:
            batch.append(f"address add {ipv6.beside(address)}/128 dev {self._host_link} nodad")
        await run("ip", "-batch", "-", text="\n".join(batch))
        inside = [f"link set {HOST_LINK} up"]
        for each in (address, ipv6.beside(address)) if self._six else (address,):
            inside += [
                f"neighbour replace {each} lladdr {_mac(5, address)} nud permanent dev {HOST_LINK}",
                f"route add {each} dev {HOST_LINK}",
            ]
            await _nft(fabric, f"add element {_word(each)} hauberk links {{ {HOST_LINK} . {each} }}")
        await _ip(fabric, inside)

    async def _connect_gate(self, network: PodNetwork) -> None:
        gate, address, six = network.gate.name, network.address, network.address6
        await netns.call(network.gate, _set_gate_parameters)
        batch = [
            "link set lo up",
            f"link set {FABRIC_LINK} up",
            f"neighbour replace {FABRIC_ROUTER} lladdr {_mac(4, address)} nud permanent dev {FABRIC_LINK}",
            f"rule add fwmark {LOCAL_MARK} lookup 100",
            "route add local 0.0.0.0/0 dev lo table 100",
        ]
        if network.gateway:
            batch += [f"address add {address}/32 dev lo"]
        else:
            batch += [
                f"link set {POD_LINK} up",
                f"address add {RESOLVER}/32 dev {POD_LINK}",
                f"route add {address}/32 dev {POD_LINK}",
                f"neighbour replace {address} lladdr {_mac(1, address)} nud permanent dev {POD_LINK}",
                f"rule add from {address} to {address} fwmark {UPSTREAM_MARK} lookup 101",
                f"route add local {address}/32 dev lo table 101",
            ]
        batch += [f"route add default via {FABRIC_ROUTER} dev {FABRIC_LINK} onlink"]
        # Rules before addresses: there is no moment at which a packet could pass.
        await _nft(gate, rules.gate(rules.Gate(address, six, network.gateway)))
        await _ip(gate, batch)
        if six is not None:
            await _ip(gate, _gate_links6(six, address, gateway=network.gateway), "-6")

    async def _connect_fabric(self, network: PodNetwork) -> None:
        address, link = network.address, _fabric_link(network.address)
        async with self._fabric_lock:
            await _nft(self._fabric, self._elements("add", network))
            batch = [f"link set {link} up", f"address add {FABRIC_ROUTER}/32 dev {link}"]
            for each in _addresses(network):
                batch += [
                    f"neighbour replace {each} lladdr {_mac(3, address)} nud permanent dev {link}",
                    f"route replace {each} dev {link}",
                ]
            await _ip(self._fabric, batch)

    def _elements(self, verb: str, network: PodNetwork) -> str:
        lines = []
        for address in _addresses(network):
            table = f"{verb} element {_word(address)} hauberk"
            lines.append(f"{table} links {{ {_fabric_link(network.address)} . {address} }}")
            if network.gateway:
                lines.append(f"{table} gateways {{ {address} }}")
        return "\n".join(lines)

    def _host_routes(self, network: PodNetwork) -> list[str]:
        """Also the fabric's end as the neighbour, so that nobody needs to be asked for it."""
        lines = []
        for address in _addresses(network):
            ours = self._host_address if address.version == 4 else ipv6.beside(self._host_address)
            lines += [
                f"neighbour replace {address} lladdr {_mac(6, self._host_address)} nud permanent dev {self._host_link}",
                f"route replace {address} dev {self._host_link} src {ours}",
            ]
        return lines


def _addresses(network: PodNetwork) -> list[IPv4Address | IPv6Address]:
    return [network.address] if network.address6 is None else [network.address, network.address6]


def _word(address: IPv4Address | IPv6Address) -> str:
    """The family's name in nftables."""
    return "ip" if address.version == 4 else "ip6"


async def _connect_pod(network: PodNetwork) -> None:
    await netns.call(network.pod, _set_quiet_ipv6)
    await _ip(network.pod.name, _pod_links(network.address))
    if network.address6 is not None:
        await _ip(network.pod.name, _pod_links6(network.address6, network.address), "-6")


def _gate_links6(six: IPv6Address, address: IPv4Address, *, gateway: bool) -> list[str]:
    """As in IPv4: neighbours are known beforehand, and no address is looked for by others before it is used."""
    batch = [
        f"neighbour replace {FABRIC_ROUTER6} lladdr {_mac(4, address)} nud permanent dev {FABRIC_LINK}",
        f"rule add fwmark {LOCAL_MARK} lookup 100",
        "route add local ::/0 dev lo table 100",
    ]
    if gateway:
        batch += [f"address add {six}/128 dev lo nodad"]
    else:
        batch += [
            f"address add {RESOLVER6}/128 dev {POD_LINK} nodad",
            f"route add {six}/128 dev {POD_LINK}",
            f"neighbour replace {six} lladdr {_mac(1, address)} nud permanent dev {POD_LINK}",
            f"rule add from {six} to {six} fwmark {UPSTREAM_MARK} lookup 101",
            f"route add local {six}/128 dev lo table 101",
        ]
    return [*batch, f"route add default via {FABRIC_ROUTER6} dev {FABRIC_LINK} onlink"]


def _pod_links6(six: IPv6Address, address: IPv4Address) -> list[str]:
    return [
        f"address add {six}/128 dev eth0 nodad",
        f"neighbour replace {RESOLVER6} lladdr {_mac(2, address)} nud permanent dev eth0",
        f"route add {RESOLVER6}/128 dev eth0",
        f"route add default via {RESOLVER6} dev eth0 src {six}",
    ]


def _pod_links(address: IPv4Address) -> list[str]:
    return [
        "link set lo up",
        "link set eth0 up",
        f"address add {address}/32 dev eth0",
        f"neighbour replace {RESOLVER} lladdr {_mac(2, address)} nud permanent dev eth0",
        f"route add {RESOLVER}/32 dev eth0 scope link",
        f"route add default via {RESOLVER} dev eth0 src {address}",
    ]


def _host_link(instance: str) -> str:
    name = f"hbk-{instance}"
    return name if len(name) <= 15 else f"hbk-{crc32(instance.encode()):08x}"


def _fabric_link(address: IPv4Address) -> str:
    return f"g{int(address):08x}"


def _mac(role: int, address: IPv4Address) -> str:
    """A locally administered address that follows from the pod's: neighbours need not ask for it."""
    return ":".join(f"{byte:02x}" for byte in (0x02, role, *address.packed))


def _set_quiet_ipv6() -> None:
    """No link-local addresses, no router's word taken, no redirects: everything is told, nothing is learned."""
    if not ipv6.available():
        return
    for path in Path("/proc/sys/net/ipv6/conf").iterdir():
        for name, value in (
            ("addr_gen_mode", "1"),
            ("accept_ra", "0"),
            ("accept_redirects", "0"),
            ("autoconf", "0"),
        ):
            _set(f"{path.relative_to('/proc/sys')}/{name}", value)


def _set_gate_parameters() -> None:
    _set_quiet_ipv6()
    for name, value in (("all", "0"), ("default", "1"), (FABRIC_LINK, "1"), ("lo", "0")):
        _set(f"net/ipv4/conf/{name}/rp_filter", value)
    if Path(f"/proc/sys/net/ipv4/conf/{POD_LINK}").exists():
        _set(f"net/ipv4/conf/{POD_LINK}/rp_filter", "1")
        _set(f"net/ipv4/conf/{POD_LINK}/arp_ignore", "1")
        _set("net/ipv4/conf/lo/accept_local", "1")
    _set("net/ipv4/conf/all/send_redirects", "0")
    _set("net/ipv4/ip_local_port_range", f"{rules.FIRST_CALLER_PORT} {rules.LAST_CALLER_PORT}")
    # A gateway's proxy listens at 80 and 443 too, and has no more right than any other.
    _set("net/ipv4/ip_unprivileged_port_start", "0")


def _set_fabric_parameters() -> None:
    _set_quiet_ipv6()
    if ipv6.available():
        _set("net/ipv6/conf/all/forwarding", "1")
        _set("net/ipv6/conf/default/forwarding", "1")
    _set("net/ipv4/ip_forward", "1")
    _set("net/ipv4/conf/all/send_redirects", "0")


def _set(parameter: str, value: str) -> None:
    Path("/proc/sys", parameter).write_text(value)


def _exists(link: str) -> bool:
    return Path(f"/sys/class/net/{link}").exists()


def _link_names() -> set[str]:
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    return {line.partition(":")[0].strip() for line in lines}


async def _ip(namespace: str, lines: list[str], *options: str) -> None:
    await run("ip", *options, "-n", namespace, "-batch", "-", text="\n".join(lines))


async def _nft(namespace: str, text: str) -> None:
    await run("nsenter", f"--net={netns.path(namespace)}", "nft", "-f", "-", text=text)

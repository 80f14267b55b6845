"""Connections that a change of policies forbids are ended at both ends, by the kernel (sock_diag(7), SOCK_DESTROY).

Their packets are refused by the fabric already, which tells the end that sends; this tells the one that only waits.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from hauberk.node.command import CommandError, run
from hauberk.node.network import Network
from hauberk.node.network_policy import Address, Isolation, Permit, Permits, Ports, permitted
from hauberk.node.pod_record import PodRecord
from hauberk.node.rules import FIRST_CALLER_PORT

log = logging.getLogger(__name__)


async def sever(
    network: Network,
    records: Sequence[PodRecord],
    before: Mapping[Address, Isolation],
    after: Mapping[Address, Isolation],
) -> None:
    """Ends what is forbidden now at both ends; only pods that lost a permit are looked at."""
    by_address: dict[Address, PodRecord] = {
        address: record for record in records for address in record.addresses
    }
    less = [record for record in records if any(_lost(a, before, after) for a in record.addresses)]
    for record in less:
        gate = network.of(record.uid, record.ip, record.gateway, proxy_uid=record.proxy_uid).gate
        if not gate.exists():
            continue
        try:
            listed = await run("nsenter", f"--net={gate}", "ss", "-tnH")
            for local, remote in forbidden(listed, after):
                for end in (local[0], remote[0]):
                    await _destroy(network, by_address[end], local, remote)
        except CommandError as error:
            log.warning("%s/%s: ending connections: %s", record.namespace, record.name, error)


End = tuple[Address, int]


def forbidden(listed: str, isolations: Mapping[Address, Isolation]) -> Iterator[tuple[End, End]]:
    """The connections between two pods in the output of `ss -tnH` that neither may have opened to the other (pure)."""
    for line in listed.splitlines():
        words = line.split()
        local, remote = _end(words[3]), _end(words[4])
        if local[0] == remote[0] or local[0] not in isolations or remote[0] not in isolations:
            continue
        if not _may_have_opened(isolations, local, remote) and not _may_have_opened(
            isolations, remote, local
        ):
            yield local, remote


def _may_have_opened(isolations: Mapping[Address, Isolation], caller: End, called: End) -> bool:
    return caller[1] >= FIRST_CALLER_PORT and permitted(isolations, caller[0], called[0], "TCP", called[1])


async def _destroy(network: Network, record: PodRecord, one: End, other: End) -> None:
    gate = network.of(record.uid, record.ip, record.gateway, proxy_uid=record.proxy_uid).gate
    ends = [f"src {_written(a)} dst {_written(b)}" for a, b in ((one, other), (other, one))]
    if gate.exists():
        await run("nsenter", f"--net={gate}", "ss", "-K", "-tnH", f"( {ends[0]} ) or ( {ends[1]} )")


def _end(text: str) -> End:
    address, _, port = text.rpartition(":")
    parsed = ip_address(address.strip("[]").partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed, int(port)


def _written(end: End) -> str:
    return f"[{end[0]}]:{end[1]}" if end[0].version == 6 else f"{end[0]}:{end[1]}"


def _lost(address: Address, before: Mapping[Address, Isolation], after: Mapping[Address, Isolation]) -> bool:
    was, is_now = before.get(address, Isolation()), after.get(address, Isolation())
    return _less(was.ingress, is_now.ingress) or _less(was.egress, is_now.egress)


def _less(before: Permits, after: Permits) -> bool:
    if after is None:
        return False
    return before is None or not _flat(before) <= _flat(after)


def _flat(permits: frozenset[Permit]) -> set[tuple[Address | None, Ports | None]]:
    return {
        (peer, ports) for each in permits for peer in each.peers or (None,) for ports in each.ports or (None,)
    }

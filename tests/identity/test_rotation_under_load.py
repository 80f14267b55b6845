"""SVIDs, intermediates and the root change under load between real proxies, and nobody notices.

Every pair of {Envoy, ours} as client and server, Envoys by both variants of SDS. The root lives 84 s and a
third of them are over when the proxies start, so that all stages of the overlap pass within a minute.
"""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from identity_testing import proxies
from identity_testing.load import Calls, echo_program, http_program
from identity_testing.resources import client_tls, cluster, listener, resources, server_tls
from identity_testing.workload import Workload, utc_now, workload

from hauberk.identity.authority import CertificateAuthority, Lifetimes
from hauberk.identity.spiffe_id import TrustDomain
from hauberk.store.encryption import generate_sealer

DOMAIN = TrustDomain("cluster.local")
LIFETIMES = Lifetimes(
    root=timedelta(seconds=84), intermediate=timedelta(seconds=10), svid=timedelta(seconds=6)
)
BEGUN = timedelta(seconds=28)
"""Of the root's life, before the proxies start."""
PROXIES = {"envoy": proxies.envoy, "hauberk": proxies.hauberk_proxy}

ONE_ROOT, NEW_PUBLISHED, NEW_ISSUES, OLD_WITHDRAWN, BETWEEN = (
    "one root", "new root published", "new root issues", "old root withdrawn", "between",
)  # fmt: skip


@dataclass
class Pair:
    """A client's proxy and a server's, and the calls between them."""

    http: int
    tcp: int
    requests: Calls = field(default_factory=Calls)
    talk: Calls = field(default_factory=Calls)


@dataclass
class Mesh:
    pairs: dict[tuple[str, str], Pair]
    workloads: dict[str, Workload]
    seen: dict[str, Path]
    """By kind of server: where it writes down whom it has seen."""


@asynccontextmanager
async def mesh(folder: Path, authority: CertificateAuthority) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        http_port, echo_port = await enter(http_program()), await enter(echo_program())
        workloads, seen = {}, {}
        ports = {kind: (proxies.free_port(), proxies.free_port()) for kind in PROXIES}

        async def start(name: str, kind: str, told) -> Path:  # type: ignore[no-untyped-def]
            identity = DOMAIN.workload("bank", name)
            socket = folder / f"{name}.xds"
            workloads[name] = await enter(workload(socket, authority, identity, told, LIFETIMES.svid))
            return await enter(PROXIES[kind](name, socket, folder))

        for kind, (http, tcp) in ports.items():
            tls = server_tls(str(DOMAIN), delta=kind == "envoy")
            told = resources(
                [
                    listener("http", http, "program", http=True, tls=tls),
                    listener("tcp", tcp, "echo", http=False, tls=tls),
                ],
                [cluster("program", http_port), cluster("echo", echo_port)],
            )
            seen[kind] = await start(f"{kind}-server", kind, told)
        pairs: dict[tuple[str, str], Pair] = {}
        for kind in PROXIES:
            listeners, clusters = [], []
            for server, (http, tcp) in ports.items():
                pair = pairs[kind, server] = Pair(proxies.free_port(), proxies.free_port())
                tls = client_tls(str(DOMAIN.workload("bank", f"{server}-server")), delta=False)
                clusters += [
                    cluster(f"{server}-http", http, tls),
                    cluster(f"{server}-tcp", tcp, tls),
                ]
                listeners += [
                    listener(f"{server}-http", pair.http, f"{server}-http", http=True, tls=None),
                    listener(f"{server}-tcp", pair.tcp, f"{server}-tcp", http=False, tls=None),
                ]
            await start(f"{kind}-client", kind, resources(listeners, clusters))
        yield Mesh(pairs, workloads, seen)


async def test_no_connection_breaks_at_any_stage_of_rotation(tmp_path: Path) -> None:
    sealer = generate_sealer()

    def open_authority(back: timedelta = timedelta()) -> CertificateAuthority:
        return CertificateAuthority.open(
            tmp_path, sealer, lambda: utc_now() - back, trust_domain=DOMAIN, lifetimes=LIFETIMES
        )

    open_authority(BEGUN)
    authority = open_authority()
    first_root = authority.bundles.own.x509_authorities[0]
    passed: Counter[str] = Counter()
    serials: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory(prefix="hbk-") as folder:
        async with mesh(Path(folder), authority) as running, asyncio.TaskGroup() as group:
            tasks = [group.create_task(authority.run())]
            for pair in running.pairs.values():
                tasks += [
                    group.create_task(pair.requests.request_for_ever(pair.http)),
                    group.create_task(pair.talk.talk_for_ever(pair.tcp)),
                ]
            done = 0
            async with asyncio.timeout(120):
                while passed[OLD_WITHDRAWN] < 100 and not failures(running):
                    for name, each in running.workloads.items():
                        serials.setdefault(name, set()).add(each.source.current.svid.serial_hex)
                    before, done = done, sum(pair.requests.done for pair in running.pairs.values())
                    passed[stage(running, first_root)] += done - before
                    await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
        assert failures(running) == {}, passed
        refused = {name: each.refused for name, each in running.workloads.items()}
        presented = {kind: peers(kind, file) for kind, file in running.seen.items()}

    for names, pair in running.pairs.items():
        assert pair.requests.done > 200, names
        assert pair.talk.done > 200, names
    assert all(not reasons for reasons in refused.values()), refused
    assert all(passed[each] > 20 for each in (ONE_ROOT, NEW_PUBLISHED, NEW_ISSUES, OLD_WITHDRAWN)), passed
    assert all(len(found) >= 8 for found in serials.values()), serials
    for kind, found in presented.items():
        for client in ("envoy-client", "hauberk-client"):
            assert len(serials[client] & found) >= 8, f"a new connection to {kind} proves a new SVID"


def failures(running: Mesh) -> dict[tuple[str, str], list[str]]:
    found = {names: pair.requests.failures + pair.talk.failures for names, pair in running.pairs.items()}
    return {names: each for names, each in found.items() if each}


def stage(running: Mesh, first_root) -> str:  # type: ignore[no-untyped-def]
    """How far the overlap is, in every workload's hands."""
    identities = [each.source.current for each in running.workloads.values()]
    trusted = [each.bundles.own.x509_authorities for each in identities]
    by_first = [each.svid.chain[1].issuer == first_root.subject for each in identities]
    if all(roots == (first_root,) for roots in trusted):
        return ONE_ROOT
    if not any(first_root in roots for roots in trusted):
        return OLD_WITHDRAWN
    if not all(len(roots) == 2 and roots[0] == first_root for roots in trusted):
        return BETWEEN
    return NEW_PUBLISHED if all(by_first) else BETWEEN if any(by_first) else NEW_ISSUES


def peers(kind: str, file: Path) -> set[str]:
    """Serial numbers of the clients that a server has seen."""
    lines = file.read_text().splitlines()
    if kind == "envoy":
        return {line.lstrip("0") for line in lines}
    records = [json.loads(line) for line in lines]
    return {each["source"]["serial"].lstrip("0") for each in records if each["type"] == "connection"}

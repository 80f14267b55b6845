"""A source keeps what it has while the CA fails, says so, and renews when it can."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.identity.svid import IssuanceError, SvidSource
from hauberk.store.encryption import generate_sealer

DOMAIN = TrustDomain("cluster.local")


class Signing:
    """An issuer that asks the CA and counts; `enough` is set once `wanted` were signed."""

    def __init__(
        self, authority: CertificateAuthority, clock: Callable[[], datetime], wanted: int = 1
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._wanted = wanted
        self.signed: list[datetime] = []
        self.enough = asyncio.Event()

    async def sign(
        self, csr_pem: bytes, spiffe_id: SpiffeId, pod_uid: str, ttl: timedelta
    ) -> tuple[x509.Certificate, ...]:
        self.signed.append(self._clock())
        if len(self.signed) >= self._wanted:
            self.enough.set()
        return self._authority.sign_workload(csr_pem, spiffe_id, ttl).chain

    async def sign_jwt(self, spiffe_id: SpiffeId, pod_uid: str, audience: Sequence[str]) -> str:
        raise IssuanceError("away")


async def test_a_failing_issuer_leaves_the_old_svid(tmp_path: Path) -> None:
    time = [datetime(2030, 1, 1, tzinfo=UTC)]
    authority = CertificateAuthority.open(tmp_path, generate_sealer(), lambda: time[0], trust_domain=DOMAIN)
    calls: list[float] = []
    failed = asyncio.Event()

    class Issuer:
        failing = False

        async def sign(
            self, csr_pem: bytes, spiffe_id: SpiffeId, pod_uid: str, ttl: timedelta
        ) -> tuple[x509.Certificate, ...]:
            if self.failing:
                failed.set()
                raise IssuanceError("away")
            return authority.sign_workload(csr_pem, spiffe_id, ttl).chain

        async def sign_jwt(self, spiffe_id: SpiffeId, pod_uid: str, audience: Sequence[str]) -> str:
            raise IssuanceError("away")

    issuer = Issuer()

    async def sleep(seconds: float) -> None:
        calls.append(seconds)
        time[0] += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    source = SvidSource(
        issuer, DOMAIN.workload("bank", "web"), "uid", authority.watched_bundles, lambda: time[0], sleep=sleep
    )
    task = asyncio.ensure_future(source.run())
    try:
        async with asyncio.timeout(20):
            first = await source.ready()
            issuer.failing = True
            await failed.wait()
            assert source.failure == "away"
            assert source.current == first
            assert "PrivateKey" not in repr(first)
            issuer.failing = False
            async for identity in source.changes():
                if identity.svid.serial_hex != first.svid.serial_hex:
                    break
            assert source.failure is None
            assert max(calls) <= 60
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def running(source: SvidSource, until: asyncio.Event) -> None:
    task = asyncio.create_task(source.run())
    try:
        async with asyncio.timeout(20):
            await until.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_short_life_is_renewed_at_its_half_and_never_without_a_pause(tmp_path: Path) -> None:
    time = [datetime(2030, 1, 1, tzinfo=UTC)]
    authority = CertificateAuthority.open(tmp_path, generate_sealer(), lambda: time[0], trust_domain=DOMAIN)

    async def sleep(seconds: float) -> None:
        time[0] += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    async def gaps(lifetime: timedelta) -> list[float]:
        issuer = Signing(authority, lambda: time[0], wanted=20)
        source = SvidSource(
            issuer,
            DOMAIN.workload("bank", "web"),
            "uid",
            authority.watched_bundles,
            lambda: time[0],
            lifetime=lifetime,
            sleep=sleep,
        )
        await running(source, issuer.enough)
        return [(after - before).total_seconds() for before, after in itertools.pairwise(issuer.signed)]

    found = await gaps(timedelta(seconds=10))
    assert all(2.9 <= gap <= 5.1 for gap in found), found
    assert len({round(gap, 3) for gap in found}) > 10, "no two renewals at the same part of the life"
    assert min(await gaps(timedelta(seconds=1))) >= 0.5


async def test_an_svid_that_is_not_valid_by_this_clock_is_refused_and_asked_for_with_back_off(
    tmp_path: Path,
) -> None:
    time = datetime(2030, 1, 1, tzinfo=UTC)
    authority = CertificateAuthority.open(tmp_path, generate_sealer(), lambda: time, trust_domain=DOMAIN)
    issuer = Signing(authority, lambda: time, wanted=9)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    source = SvidSource(
        issuer,
        DOMAIN.workload("bank", "web"),
        "uid",
        authority.watched_bundles,
        lambda: time + timedelta(hours=2),
        sleep=sleep,
        jitter=lambda: 1.0,
    )
    await running(source, issuer.enough)
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert source.current is None
    assert source.failure is not None
    assert "clocks" in source.failure


@pytest.mark.parametrize("step", [timedelta(hours=7), timedelta(hours=-7), timedelta(minutes=-5)])
async def test_a_clock_that_is_set_is_followed_within_seconds(tmp_path: Path, step: timedelta) -> None:
    """In either direction: an SVID of another time proves nothing to anybody."""
    time = [datetime(2030, 1, 1, tzinfo=UTC)]
    slept = 0.0
    authority = CertificateAuthority.open(tmp_path, generate_sealer(), lambda: time[0], trust_domain=DOMAIN)
    time[0] += timedelta(days=1)  # the CA is older than the step

    async def sleep(seconds: float) -> None:
        nonlocal slept
        time[0] += timedelta(seconds=seconds)
        slept += seconds
        await asyncio.sleep(0)

    issuer = Signing(authority, lambda: time[0], wanted=2)
    source = SvidSource(
        issuer, DOMAIN.workload("bank", "web"), "uid", authority.watched_bundles, lambda: time[0], sleep=sleep
    )
    task = asyncio.create_task(source.run())
    try:
        first = (await source.ready()).svid
        slept = 0.0
        time[0] += step
        assert not first.validity.contains(time[0])
        async with asyncio.timeout(20):
            await issuer.enough.wait()
            while (await source.ready()).svid is first:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert slept <= 11
        assert (await source.ready()).svid.validity.contains(time[0])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

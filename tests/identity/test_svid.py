"""A source keeps what it has while the CA fails, says so, and renews when it can."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.identity.svid import IssuanceError, SvidSource
from hauberk.store.encryption import generate_sealer

DOMAIN = TrustDomain("cluster.local")


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

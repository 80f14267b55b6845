"""A node's side of the CA: an `Issuer` over gRPC, and the trust bundles kept current."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import grpc
from cryptography import x509

from hauberk.identity.bundle import InvalidBundleError, TrustBundle, TrustBundles
from hauberk.identity.protocol import identity_pb2, identity_pb2_grpc, istio_ca_pb2, istio_ca_pb2_grpc
from hauberk.identity.spiffe_id import InvalidSpiffeIdError, SpiffeId, TrustDomain
from hauberk.identity.svid import IssuanceError
from hauberk.identity.watched import Watched

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for one answer of the CA."""
LONGEST_RETRY = 30.0


class CaClient:
    """Asks `hauberkd` over `channel` (`grpc.aio`, mutual TLS with the node's client certificate)."""

    def __init__(self, channel: Any, jitter: Callable[[], float] = random.random) -> None:
        self.bundles: Watched[TrustBundles] = Watched()
        """Current as long as `run` runs; the last known while the CA is away."""
        self._certificates: Any = istio_ca_pb2_grpc.IstioCertificateServiceStub(channel)  # type: ignore[no-untyped-call]
        self._identity: Any = identity_pb2_grpc.IdentityServiceStub(channel)  # type: ignore[no-untyped-call]
        self._jitter = jitter

    async def sign(
        self, csr_pem: bytes, spiffe_id: SpiffeId, pod_uid: str, ttl: timedelta
    ) -> tuple[x509.Certificate, ...]:
        """The chain, leaf first, without the root. Raises `IssuanceError`."""
        request = istio_ca_pb2.IstioCertificateRequest(
            csr=csr_pem.decode(), validity_duration=int(ttl.total_seconds())
        )
        request.metadata.update({"ImpersonatedIdentity": str(spiffe_id), "PodUID": pod_uid})
        try:
            response = await self._certificates.CreateCertificate(request, timeout=TIMEOUT)
            chain = [x509.load_pem_x509_certificate(each.encode()) for each in response.cert_chain]
        except grpc.aio.AioRpcError as error:
            raise IssuanceError(_reason(error)) from error
        except ValueError as error:
            raise IssuanceError(f"the CA answered with a malformed certificate: {error}") from error
        return tuple(each for each in chain if each.issuer != each.subject)

    async def sign_jwt(self, spiffe_id: SpiffeId, pod_uid: str, audience: Sequence[str]) -> str:
        """A JWT-SVID. Raises `IssuanceError`."""
        request = identity_pb2.SignJwtSvidRequest(
            spiffe_id=str(spiffe_id), pod_uid=pod_uid, audience=list(audience)
        )
        try:
            response = await self._identity.SignJwtSvid(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise IssuanceError(_reason(error)) from error
        return str(response.token)

    async def run(self) -> None:
        """Follow the trust bundles until cancelled; while the CA is away, try again ever more slowly."""
        pause = 1.0
        while True:
            try:
                async for message in self._identity.WatchTrustBundles(
                    identity_pb2.WatchTrustBundlesRequest()
                ):
                    self.bundles.set(_read_bundles(message))
                    pause = 1.0
            except grpc.aio.AioRpcError as error:
                log.warning("trust bundles: %s; keeping those known", _reason(error))
            except (InvalidBundleError, InvalidSpiffeIdError) as error:
                log.warning("trust bundles: the CA sent a malformed one: %s; keeping those known", error)
            await asyncio.sleep(pause * (0.5 + self._jitter() / 2))
            pause = min(pause * 2, LONGEST_RETRY)


def _read_bundles(message: Any) -> TrustBundles:
    return TrustBundles(_read_bundle(message.own), tuple(_read_bundle(each) for each in message.federated))


def _read_bundle(message: Any) -> TrustBundle:
    return TrustBundle.parse(TrustDomain(message.trust_domain), message.jwks)


def _reason(error: grpc.aio.AioRpcError) -> str:
    return f"the CA answered {error.code().name}: {error.details()}"

"""A workload's socket as a node makes it: fixed ADS resources, and SDS and Workload API of a real CA."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.secret.v3 import sds_pb2_grpc

from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.sds import SecretDiscovery
from hauberk.identity.spiffe_id import SpiffeId
from hauberk.identity.svid import Identity, SvidSource
from hauberk.identity.workload_server import add_workload_services
from identity_testing.resources import Resources

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"


def utc_now() -> datetime:
    return datetime.now(UTC)


class DirectIssuer:
    """The CA without gRPC between."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._authority = authority

    async def sign(
        self, csr_pem: bytes, spiffe_id: SpiffeId, pod_uid: str, ttl: timedelta
    ) -> tuple[x509.Certificate, ...]:
        return self._authority.sign_workload(csr_pem, spiffe_id, ttl).chain

    async def sign_jwt(self, spiffe_id: SpiffeId, pod_uid: str, audience: Sequence[str]) -> str:
        return self._authority.sign_jwt(spiffe_id, audience)


@dataclass
class Workload:
    """`refused` are the reasons of all NACKs."""

    socket: Path
    source: SvidSource
    refused: list[str] = field(default_factory=list)


@asynccontextmanager
async def workload(
    socket: Path,
    authority: CertificateAuthority,
    spiffe_id: SpiffeId,
    resources: Resources,
    lifetime: timedelta = timedelta(hours=1),
) -> AsyncIterator[Workload]:
    source = SvidSource(
        DirectIssuer(authority), spiffe_id, "uid", authority.watched_bundles, utc_now, lifetime=lifetime
    )
    made = Workload(socket, source)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_discovery(resources, made.refused),))
    add_workload_services(server, source)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    renewing = asyncio.create_task(source.run())
    try:
        await asyncio.wait_for(source.ready(), 10)
        yield made
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await server.stop(None)


class _Fixed:
    """A source whose identity never changes."""

    failure: str | None = None

    def __init__(self, identity: Identity) -> None:
        self.current = identity

    async def changes(self) -> AsyncIterator[Identity]:
        yield self.current
        await asyncio.Event().wait()


@asynccontextmanager
async def served_secrets(socket: Path, identity: Identity, resources: Resources) -> AsyncIterator[None]:
    """ADS and SDS under an identity that never changes."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_discovery(resources, []),))
    sds_pb2_grpc.add_SecretDiscoveryServiceServicer_to_server(SecretDiscovery(_Fixed(identity)), server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def _discovery(resources: Resources, refused: list[str]) -> Any:
    async def delta(requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            if request.HasField("error_detail"):
                refused.append(request.error_detail.message)
            if request.response_nonce or request.type_url not in resources:
                continue
            response = discovery_pb2.DeltaDiscoveryResponse(type_url=request.type_url, nonce="1")
            for name, resource in resources[request.type_url].items():
                response.resources.add(name=name, version="1", resource=resource)
            yield response

    handler = grpc.stream_stream_rpc_method_handler(
        delta,
        request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
        response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(ADS, {"DeltaAggregatedResources": handler})

"""ADS and SDS for one Envoy on a Unix socket: our discovery, and a secret server with a test CA."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from hauberk.mesh.ads import Discovery
from hauberk.mesh.proxy import proxy_from_metadata
from hauberk.mesh.registry import Registry


class TestAuthority:
    """Signs SVIDs for tests."""

    __test__ = False

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test root")])
        now = datetime.datetime.now(datetime.UTC)
        self._root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.bundle = self._root.public_bytes(serialization.Encoding.PEM)

    def svid(self, identity: str) -> tuple[bytes, bytes]:
        """PEM of a certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True
            )
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True
            )
            .sign(self._key, hashes.SHA256())
        )
        return (
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


class ControlPlane:
    """`discovery` for the test to look at and to publish to; `path` is the socket."""

    def __init__(self, registry: Registry, path: Path, authority: TestAuthority, identity: str) -> None:
        self.discovery = Discovery(registry, lambda _context, node: proxy_from_metadata(node))
        self.path = path
        self._authority = authority
        self._identity = identity
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        secrets = grpc.method_handlers_generic_handler(
            "envoy.service.secret.v3.SecretDiscoveryService",
            {
                "StreamSecrets": grpc.stream_stream_rpc_method_handler(
                    self._secrets,
                    request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
                    response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
                )
            },
        )
        self._server.add_generic_rpc_handlers((self.discovery.handler(), secrets))
        self._server.add_insecure_port(f"unix:{self.path}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server:
            await self._server.stop(grace=0.1)

    async def _secrets(
        self, requests: AsyncIterator[discovery_pb2.DiscoveryRequest], _context: object
    ) -> AsyncIterator[discovery_pb2.DiscoveryResponse]:
        async for request in requests:
            if request.response_nonce:
                continue
            response = discovery_pb2.DiscoveryResponse(version_info="1", type_url=request.type_url, nonce="1")
            for name in request.resource_names:
                packed = any_pb2.Any()
                packed.Pack(self._secret(name))
                response.resources.append(packed)
            yield response

    def _secret(self, name: str) -> secret_pb2.Secret:
        if name == "ROOTCA":
            return secret_pb2.Secret(
                name=name, validation_context={"trusted_ca": {"inline_bytes": self._authority.bundle}}
            )
        certificate, key = self._authority.svid(self._identity)
        return secret_pb2.Secret(
            name=name,
            tls_certificate={
                "certificate_chain": {"inline_bytes": certificate},
                "private_key": {"inline_bytes": key},
            },
        )


@asynccontextmanager
async def control_plane(
    registry: Registry,
    folder: Path,
    authority: TestAuthority | None = None,
    identity: str = "spiffe://cluster.local/ns/default/sa/default",
) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(registry, folder / "xds.sock", authority or TestAuthority(), identity)
    await plane.start()
    try:
        yield plane
    finally:
        await plane.stop()


async def eventually(condition, seconds: float = 15.0):  # type: ignore[no-untyped-def]
    """Wait until `condition()` gives something true, and give it; fails after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.02)

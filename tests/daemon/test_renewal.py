"""Certificates are replaced while connections live."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from hauberk.daemon.credentials import ServingTls, client_credential, serving_credential
from hauberk.daemon.grpc_port import GrpcPort
from hauberk.daemon.options import Listen
from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.spiffe_id import TrustDomain
from hauberk.store.encryption import generate_sealer


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.open(tmp_path, generate_sealer(), trust_domain=TrustDomain("cluster.local"))


async def test_the_api_port_serves_a_new_certificate_to_new_connections(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    tls = ServingTls(serving_credential(authority, "127.0.0.1"), authority.roots_pem, tmp_path)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=tls.context)
    port = server.sockets[0].getsockname()[1]
    trust = ssl.create_default_context(cadata=authority.roots_pem.decode())

    async def connect() -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        return reader, writer, writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]

    reader, old, first = await connect()
    tls.use(serving_credential(authority, "127.0.0.1"))
    _, new, second = await connect()
    assert first != second
    old.write(b"alive\n")
    assert await reader.readline() == b"alive\n"
    for writer in (old, new):
        writer.close()
    server.close()
    assert not list(tmp_path.glob("*.pem"))  # noqa: ASYNC240 (a test may block)


async def test_the_grpc_port_does_too(authority: CertificateAuthority) -> None:
    first = serving_credential(authority, "127.0.0.1")
    port = GrpcPort(Listen("127.0.0.1", 0), first, authority.roots_pem)
    at = await port.start([])
    seen = [await _served(authority, at)]
    port.renew(second := serving_credential(authority, "127.0.0.1"), authority.roots_pem)
    seen.append(await _served(authority, at))
    await port.stop()
    assert seen == [x509.load_pem_x509_certificate(each.chain).serial_number for each in (first, second)]


async def _served(authority: CertificateAuthority, at: Listen) -> int:
    node = client_credential(authority, "system:node:one", ("system:nodes",))
    trusted = ssl.create_default_context(cadata=authority.roots_pem.decode())
    trusted.set_alpn_protocols(["h2"])

    def shake() -> bytes:
        import socket
        import tempfile

        with tempfile.NamedTemporaryFile() as file:
            file.write(node.key + node.chain)
            file.flush()
            trusted.load_cert_chain(file.name)
        with (
            socket.create_connection((at.host, at.port), timeout=5) as plain,
            trusted.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""

    return x509.load_der_x509_certificate(await asyncio.to_thread(shake)).serial_number


async def test_the_grpc_port_refuses_a_stranger(authority: CertificateAuthority) -> None:
    port = GrpcPort(Listen("127.0.0.1", 0), serving_credential(authority, "127.0.0.1"), authority.roots_pem)
    at = await port.start([])
    credentials = grpc.ssl_channel_credentials(authority.roots_pem)
    async with grpc.aio.secure_channel(str(at), credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/any/Thing")(b"", timeout=3)
    await port.stop()
    assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

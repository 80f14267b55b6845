"""A real API server for the tests, over SQLite and over PostgreSQL."""

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import psycopg
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.store.postgres_server import postgres

from hauberk.model.kinds import ALL
from hauberk.store.bootstrap import bootstrap
from hauberk.store.database import Database, open_database
from hauberk.store.encryption import generate_sealer
from hauberk.store.http_client import HttpClient
from hauberk.store.kubeconfig import Connection, format_kubeconfig
from hauberk.store.server import ApiServer

CURRENT_KUBECTL = Path("build/kubectl/kubectl")
"""Where `make kubectl-current` puts it."""

Kubectl = Callable[..., Awaitable[str]]
"""Runs kubectl with these arguments, expects `code` (0), and gives what it printed."""


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.certificate = self._sign(self.name, self.key.public_key(), authority=True)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, user: str, *groups: str) -> tuple[bytes, bytes]:
        """Certificate and key as PEM, good for serving on loopback and as a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
        names += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        certificate = self._sign(x509.Name(names), key.public_key(), authority=False)
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, authority, authority, False, False),
                critical=True,
            )
        )
        if not authority:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(
                    [x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")]
                ),
                critical=False,
            )
        return builder.sign(self.key, hashes.SHA256())

    def server_context(self, directory: Path) -> ssl.SSLContext:
        certificate, key = self.issue("server")
        file = directory / "server.pem"
        file.write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.pem().decode())
        return context

    def connection(self, port: int, user: str = "admin", *groups: str) -> Connection:
        certificate, key = self.issue(user, *groups)
        return Connection(f"https://127.0.0.1:{port}", self.pem(), certificate, key)


@contextlib.asynccontextmanager
async def listening(app: web.Application, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve `app` on a free port of loopback."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        await web.SockSite(runner, bound, ssl_context=context).start()
        try:
            yield bound.getsockname()[1]
        finally:
            await runner.cleanup()


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store of the test's own is: a path or a URL."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("postgresql_url")
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture
def database(location: str) -> Iterator[Database]:
    found = open_database(location)
    yield found
    found.close()


@pytest.fixture
async def server(database: Database) -> AsyncIterator[ApiServer]:
    async with ApiServer.open(
        database,
        ALL,
        sealer=generate_sealer(),
    ) as opened:
        await bootstrap(opened.objects)
        controllers = asyncio.create_task(opened.run())
        yield opened
        controllers.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await controllers


@pytest.fixture
async def port(server: ApiServer, authority: Authority, tmp_path: Path) -> AsyncIterator[int]:
    async with listening(server.app(), authority.server_context(tmp_path)) as found:
        yield found


@pytest.fixture
async def client(port: int, authority: Authority) -> AsyncIterator[HttpClient]:
    async with HttpClient(authority.connection(port, "admin", "system:masters")) as found:
        yield found


@pytest.fixture(scope="session", params=["installed", "debian", "current"])
def kubectl_program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The one on this machine; Debian's, unpacked beside it; a current one, if it was built."""
    if request.param == "installed":
        if not shutil.which("kubectl"):
            pytest.skip("no kubectl is installed here")
        return "kubectl"
    if request.param == "current":
        if not CURRENT_KUBECTL.exists():
            pytest.skip(f"no current kubectl at {CURRENT_KUBECTL}: `make kubectl-current` builds it")
        return str(CURRENT_KUBECTL.absolute())
    directory = tmp_path_factory.mktemp("debian")
    got = subprocess.run(["apt-get", "download", "kubernetes-client"], cwd=directory, capture_output=True)
    packages = list(directory.glob("*.deb"))
    if got.returncode or not packages:
        pytest.skip(f"Debian's kubernetes-client cannot be had here: {got.stderr.decode().strip()}")
    subprocess.run(["dpkg", "-x", packages[0], directory], check=True)
    return str(directory / "usr/bin/kubectl")


@pytest.fixture
def kubectl(kubectl_program: str, port: int, authority: Authority, tmp_path: Path) -> Kubectl:
    """kubectl as an administrator; what it writes to standard error comes with the rest."""
    config = tmp_path / "kubeconfig"
    config.write_text(format_kubeconfig(authority.connection(port, "admin", "system:masters")))
    environment = {**os.environ, "KUBECONFIG": str(config), "HOME": str(tmp_path)}

    async def run(*arguments: str, stdin: str = "", code: int = 0, editor: str = "") -> str:
        process = await asyncio.create_subprocess_exec(
            kubectl_program,
            *arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, "EDITOR": editor},
            cwd=tmp_path,
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate(stdin.encode())
        assert process.returncode == code, out.decode()
        return out.decode()

    return run

"""What is almost an X.509-SVID is refused: by our verifier in Python, and in a handshake by the proxies."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from identity_testing import proxies, vectors
from identity_testing.load import ANSWER, http_program
from identity_testing.resources import client_tls, cluster, listener, resources, server_tls
from identity_testing.vectors import Chain
from identity_testing.workload import served_secrets

from hauberk.identity.bundle import TrustBundle, TrustBundles, chain_pem
from hauberk.identity.certificate import Signer, Validity, make_intermediate, make_root
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.identity.svid import Identity, InvalidSvidError, X509Svid
from hauberk.identity.verification import verify_svid

DOMAIN = TrustDomain("cluster.local")
NOW = datetime.now(UTC)
VALIDITY = Validity(NOW - 3 * vectors.HOUR, NOW + 3 * vectors.HOUR)


def authority(domain: TrustDomain = DOMAIN) -> tuple[Signer, Signer]:
    root = make_root(domain, VALIDITY, 1)
    return root, make_intermediate(root, "workloads", domain, VALIDITY, 2)


ROOT, INTERMEDIATE = authority()
STRANGER, _ = authority()
BAD = vectors.bad(ROOT, INTERMEDIATE, STRANGER)
BUNDLES = TrustBundles(TrustBundle(DOMAIN, (ROOT.certificate,)))


def test_a_good_one_is_accepted() -> None:
    assert str(verify_svid(vectors.good(INTERMEDIATE).certificates, BUNDLES, NOW)) == vectors.ID


@pytest.mark.parametrize("wrong", BAD)
def test_our_verifier_refuses(wrong: str) -> None:
    with pytest.raises(InvalidSvidError):
        verify_svid(BAD[wrong]().certificates, BUNDLES, NOW)


def test_another_trust_domain_is_believed_by_its_own_bundle_alone() -> None:
    """Federation: B is accepted once B's bundle is here, and B's root speaks for nobody of A."""
    other = TrustDomain("other")
    root, intermediate = authority(other)
    chain = good_of(other, intermediate)
    with pytest.raises(InvalidSvidError, match="not trusted here"):
        verify_svid(chain.certificates, BUNDLES, NOW)
    federated = TrustBundles(BUNDLES.own, (TrustBundle(other, (root.certificate,)),))
    assert verify_svid(chain.certificates, federated, NOW).trust_domain == other
    with pytest.raises(InvalidSvidError, match="trusted root"):
        verify_svid(good_of(DOMAIN, intermediate).certificates, federated, NOW)


def good_of(domain: TrustDomain, intermediate: Signer) -> Chain:
    key = vectors.generate_key()
    leaf = vectors.of(f"spiffe://{domain}/ns/bank/sa/web").sign(intermediate, key)
    return Chain((leaf, intermediate.certificate), key)


ENVOY_ACCEPTS = {
    *("leaf: " + each for each in (
        "a CA", "a fragment", "a query", "a relative segment", "a root path", "a space", "a trailing slash",
        "an empty segment", "an empty subject and names that are not critical", "cRLSign", "keyCertSign",
        "no key usage", "over 2048 bytes", "percent encoding", "the same URI name twice", "two URI names",
        "clientAuth alone", "serverAuth alone",
    )),
    "intermediate: of another trust domain", "intermediate: with a path",
}  # fmt: skip
"""Rules of SPIFFE's own that an Envoy does not check (docs/limits.md). Ours checks all of them."""


@dataclass
class Guarded:
    """A proxy before a program (`server`), and before callers (`client`) to a server of the test at `upstream`."""

    server: int
    client: int
    upstream: int


@asynccontextmanager
async def guarded(kind: str) -> AsyncIterator[Guarded]:
    run = {"envoy": proxies.envoy, "hauberk": proxies.hauberk_proxy}[kind]
    ports = Guarded(proxies.free_port(), proxies.free_port(), proxies.free_port())
    chain = vectors.good(INTERMEDIATE)
    identity = Identity(X509Svid(SpiffeId.parse(vectors.ID), chain.certificates, chain.key), BUNDLES)
    with tempfile.TemporaryDirectory(prefix="hbk-") as folder:
        async with http_program() as program:
            told = resources(
                [
                    listener(
                        "server", ports.server, "program", http=True, tls=server_tls(str(DOMAIN), delta=False)
                    ),
                    listener("client", ports.client, "upstream", http=True, tls=None),
                ],
                [
                    cluster("program", program),
                    cluster("upstream", ports.upstream, client_tls(f"spiffe://{DOMAIN}/", delta=False)),
                ],
            )
            socket = Path(folder) / "xds"
            async with served_secrets(socket, identity, told), run(kind, socket, Path(folder)):
                yield ports


@pytest.mark.parametrize("kind", ["envoy", "hauberk"])
async def test_a_proxy_refuses_them_in_the_handshake(kind: str) -> None:
    async with guarded(kind) as ports:
        assert await calls(ports, vectors.good(INTERMEDIATE)), "a good client is served"
        assert await serves(ports, vectors.good(INTERMEDIATE)), "a good server is called"
        clients = {wrong for wrong, make in BAD.items() if await calls(ports, make())}
        servers = {wrong for wrong, make in BAD.items() if await serves(ports, make())}
    accepted = clients | servers
    assert accepted <= ENVOY_ACCEPTS if kind == "envoy" else not accepted, accepted


async def calls(ports: Guarded, chain: Chain) -> bool:
    """Whether a client with this chain is let through to the program."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _load(context, chain)
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", ports.server, ssl=context)
            writer.write(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
            answer = await reader.read(100)
            writer.close()
            return answer.startswith(b"HTTP/1.1 200")
    except (ssl.SSLError, ConnectionError):
        return False


async def serves(ports: Guarded, chain: Chain) -> bool:
    """Whether a server with this chain is called."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, chain)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", ports.upstream, ssl=context)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{ports.client}/") as response,
        ):
            return response.status == 200
    finally:
        server.close()


def _load(context: ssl.SSLContext, chain: Chain) -> None:
    key = chain.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.NamedTemporaryFile() as file:
        file.write(key + chain_pem(chain.certificates))
        file.flush()
        context.load_cert_chain(file.name)

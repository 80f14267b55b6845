"""The certificates of hauberkd itself and of those who start with it: the API's, the administrator's, the node's."""

import ssl
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hauberk.daemon.files import private_folder, replace_file
from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.bundle import chain_pem
from hauberk.identity.certificate import generate_key
from hauberk.store.kubeconfig import Connection, format_kubeconfig

SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "hauberkd")


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate chain and its key, PEM."""

    chain: bytes
    key: bytes = field(repr=False)

    @property
    def renew_at(self) -> datetime:
        """When two thirds of its life are over."""
        leaf = x509.load_pem_x509_certificate(self.chain)
        lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        return leaf.not_valid_before_utc + lifetime * 2 / 3

    def is_due(self, now: datetime) -> bool:
        """Whether to renew it: its time is nearly over, or has not come yet since the clock was set back."""
        leaf = x509.load_pem_x509_certificate(self.chain)
        return now >= self.renew_at or now < leaf.not_valid_before_utc


def serving_credential(authority: CertificateAuthority, host: str) -> Credential:
    """For the API's and the gRPC port, at `host` and under the names that pods know it by."""
    names = tuple(dict.fromkeys((*SERVER_NAMES, host, "127.0.0.1")))
    key = generate_key()
    return Credential(chain_pem(authority.sign_api_server(key.public_key(), names).chain), _key_pem(key))


def client_credential(
    authority: CertificateAuthority, common_name: str, organizations: tuple[str, ...]
) -> Credential:
    """A client certificate of the API and its fresh key."""
    key = generate_key()
    issued = authority.sign_api_client(key.public_key(), common_name, organizations)
    return Credential(chain_pem(issued.chain), _key_pem(key))


def write_kubeconfig(
    path: Path, server: str, authority: CertificateAuthority, credential: Credential, user: str
) -> None:
    """A kubeconfig that only its owner can read.

    Raises:
        OSError: it could not be written.
    """
    private_folder(path.parent)
    connection = Connection(server, authority.roots_pem, credential.chain, credential.key)
    replace_file(path, format_kubeconfig(connection, user=user).encode())


class ServingTls:
    """The API port's TLS: its certificate can be replaced while it serves, without a connection lost."""

    def __init__(self, credential: Credential, client_roots: bytes, scratch: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.set_alpn_protocols(["http/1.1"])
        self._scratch = scratch
        self.trust(client_roots)
        self.use(credential)

    def use(self, credential: Credential) -> None:
        """Serve this certificate from the next handshake on."""
        _load(self.context, credential, self._scratch)

    def trust(self, client_roots: bytes) -> None:
        """Accept client certificates under these as well."""
        self.context.load_verify_locations(cadata=client_roots.decode())


class ClientTls:
    """TLS towards nodes' own APIs, under hauberkd's client certificate; renewed as `ServingTls` is."""

    def __init__(self, credential: Credential, roots: bytes, scratch: Path) -> None:
        self.context = ssl.create_default_context(cadata=roots.decode())
        self._scratch = scratch
        self.use(credential)

    def use(self, credential: Credential) -> None:
        """Show this certificate from the next handshake on."""
        _load(self.context, credential, self._scratch)

    def trust(self, roots: bytes) -> None:
        """Accept nodes' serving certificates under these as well."""
        self.context.load_verify_locations(cadata=roots.decode())


def _load(context: ssl.SSLContext, credential: Credential, scratch: Path) -> None:
    # OpenSSL's interface reads files; this one is private and gone at once.
    path = scratch / "credential.pem"
    replace_file(path, credential.key + credential.chain)
    try:
        context.load_cert_chain(path)
    finally:
        path.unlink()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

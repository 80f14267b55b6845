"""Making certificates: roots, issuing intermediates, X.509-SVIDs, and the API's own (RFC 5280; X509-SVID, 3-5)."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hauberk.identity.spiffe_id import SpiffeId, TrustDomain

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
RandomBytes = Callable[[int], bytes]
Clock = Callable[[], datetime]
"""The time now, in UTC, with its zone."""

CLOCK_SKEW = timedelta(minutes=1)
"""A certificate is valid from this long before it is made, for peers whose clocks are behind; a tenth of its life
if that is less, so that half of a short life is not over when it begins."""

WORKLOADS, API = "workloads", "api"
"""What an issuing intermediate is for; its common name says it."""

MAXIMUM_REQUEST_BYTES = 16 * 1024
ACCEPTED_CURVES = ("secp256r1", "secp384r1")


class RefusedRequestError(ValueError):
    """A certificate signing request cannot be signed; the message says why."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when something may be used."""

    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Self:
        """A certificate's own."""
        return cls(certificate.not_valid_before_utc, certificate.not_valid_after_utc)

    @classmethod
    def starting(cls, now: datetime, lifetime: timedelta, *, until: datetime | None = None) -> Self:
        """`lifetime` from `now`, but never beyond `until` (the issuer's end), whole seconds as X.509 has them."""
        now = now.replace(microsecond=0)
        end = now + lifetime
        before = (now - min(CLOCK_SKEW, lifetime / 10)).replace(microsecond=0)
        return cls(before, end if until is None else min(end, until))

    @property
    def lifetime(self) -> timedelta:
        return self.not_after - self.not_before

    def contains(self, now: datetime) -> bool:
        return self.not_before <= now <= self.not_after


@dataclass(frozen=True, slots=True)
class Signer:
    """A signing certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)


def generate_key() -> PrivateKey:
    """A new ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def random_serial(random_bytes: RandomBytes) -> int:
    """A random serial number of 16 bytes, whose two highest bits are 01.

    So it is positive without a padding byte, and every program prints it as the same 32 hex digits.
    """
    return int.from_bytes(random_bytes(16), "big") & ~(1 << 127) | (1 << 126)


def serial_hex(certificate: x509.Certificate) -> str:
    """The serial number as call records and the command line show it: lower-case hex."""
    return f"{certificate.serial_number:x}"


def make_root(trust_domain: TrustDomain, validity: Validity, serial: int) -> Signer:
    """A self-signed root for one layer of intermediates."""
    key = generate_key()
    name = _authority_name("root", trust_domain, key.public_key())
    builder = _authority(name, trust_domain, key.public_key(), validity, serial, path_length=1)
    return Signer(_sign(builder, name, key.public_key(), key), key)


def make_intermediate(
    root: Signer, purpose: str, trust_domain: TrustDomain, validity: Validity, serial: int
) -> Signer:
    """An issuing intermediate. It can sign leaves only: its path length is zero."""
    key = generate_key()
    name = _authority_name(purpose, trust_domain, key.public_key())
    builder = _authority(name, trust_domain, key.public_key(), validity, serial, path_length=0)
    return Signer(_issue(builder, root), key)


def is_issued_for(certificate: x509.Certificate, purpose: str) -> bool:
    """Whether a certificate is by one of our intermediates for this purpose (`WORKLOADS` or `API`).

    For certificates whose chain to our root was verified, which makes the issuer's name as good as the root's word.
    """
    names = [str(each.value) for each in certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names == [authority_common_name(purpose)]


def authority_common_name(purpose: str) -> str:
    """The common name of our authorities for a purpose."""
    return f"hauberk {purpose}"


def make_svid(
    issuer: Signer, public_key: PublicKey, spiffe_id: SpiffeId, validity: Validity, serial: int
) -> x509.Certificate:
    """An X.509-SVID. Its only name is the SPIFFE ID: the subject is empty, so the SAN is critical.

    Raises `ValueError` for an ID without a path, which is a trust domain's and never a workload's.
    """
    if not spiffe_id.path:
        raise ValueError(f"{spiffe_id} has no path: it names a trust domain, not a workload")
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _leaf(x509.Name([]), public_key, validity, serial, usages)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id))])
    return _issue(builder.add_extension(names, critical=True), issuer)


def make_api_client(
    issuer: Signer,
    public_key: PublicKey,
    common_name: str,
    organizations: Sequence[str],
    validity: Validity,
    serial: int,
) -> x509.Certificate:
    """A client certificate for the API: the user is the common name, the groups are the organizations."""
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return _issue(_leaf(subject, public_key, validity, serial, [ExtendedKeyUsageOID.CLIENT_AUTH]), issuer)


def make_api_server(
    issuer: Signer, public_key: PublicKey, names: Sequence[str], validity: Validity, serial: int
) -> x509.Certificate:
    """A serving certificate for DNS names and IP addresses, of which there must be at least one."""
    if not names:
        raise ValueError("a serving certificate needs at least one DNS name or IP address")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = _leaf(subject, public_key, validity, serial, [ExtendedKeyUsageOID.SERVER_AUTH])
    san = x509.SubjectAlternativeName([_server_name(each) for each in names])
    return _issue(builder.add_extension(san, critical=False), issuer)


def make_request(key: PrivateKey) -> bytes:
    """A signing request in PEM that proves possession of `key` and names nobody: the CA decides the name."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


def read_request(pem: bytes) -> PublicKey:
    """The key of a signing request, after checking its signature. Every name in it is ignored.

    Raises:
        RefusedRequestError: too large, malformed, badly signed, or a key of another kind than we sign.
    """
    if len(pem) > MAXIMUM_REQUEST_BYTES:
        raise RefusedRequestError(
            f"signing request: expected at most {MAXIMUM_REQUEST_BYTES} bytes, found {len(pem)}"
        )
    try:
        request = x509.load_pem_x509_csr(pem)
        public_key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise RefusedRequestError(f"signing request: expected PKCS #10 in PEM: {error}") from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name not in ACCEPTED_CURVES:
        raise RefusedRequestError(
            f"signing request: expected an ECDSA key on P-256 or P-384, found {_kind_of(public_key)}"
        )
    if not signed:
        raise RefusedRequestError("signing request: its signature is not by its own key")
    return public_key


def _kind_of(public_key: object) -> str:
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return f"curve {public_key.curve.name}"
    return type(public_key).__name__.removesuffix("PublicKey").lstrip("_")


def _authority_name(purpose: str, trust_domain: TrustDomain, public_key: PublicKey) -> x509.Name:
    """No two authorities share a name, so that a verifier never tries the wrong one of an overlap."""
    key_id = x509.SubjectKeyIdentifier.from_public_key(public_key).digest.hex()
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain.name[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, authority_common_name(purpose)),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, key_id[:16]),
        ]
    )


def _server_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority(
    name: x509.Name,
    trust_domain: TrustDomain,
    public_key: PublicKey,
    validity: Validity,
    serial: int,
    path_length: int,
) -> x509.CertificateBuilder:
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(trust_domain.id))])
    return (
        _base(name, public_key, validity, serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(san, critical=False)
    )


def _leaf(
    subject: x509.Name,
    public_key: PublicKey,
    validity: Validity,
    serial: int,
    usages: Sequence[x509.ObjectIdentifier],
) -> x509.CertificateBuilder:
    return (
        _base(subject, public_key, validity, serial)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )


def _base(
    subject: x509.Name, public_key: PublicKey, validity: Validity, serial: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(validity.not_before)
        .not_valid_after(validity.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issue(builder: x509.CertificateBuilder, issuer: Signer) -> x509.Certificate:
    return _sign(builder, issuer.certificate.subject, issuer.key.public_key(), issuer.key)


def _sign(
    builder: x509.CertificateBuilder, issuer: x509.Name, issuer_key: PublicKey, key: PrivateKey
) -> x509.Certificate:
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    return builder.issuer_name(issuer).add_extension(authority_key, critical=False).sign(key, hashes.SHA256())

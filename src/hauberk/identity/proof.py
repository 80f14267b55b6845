"""Checking afterwards, offline and at a given time, that an SVID proved an identity."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from hauberk.identity.bundle import TrustBundle, TrustBundles
from hauberk.identity.certificate import serial_hex
from hauberk.identity.spiffe_id import InvalidSpiffeIdError, SpiffeId
from hauberk.identity.svid import InvalidSvidError
from hauberk.identity.verification import verify_svid


@dataclass(frozen=True, slots=True)
class ProvenIdentity:
    """What a verified SVID says."""

    spiffe_id: str
    serial: str
    not_after: datetime
    issuer: str


class UnprovenIdentityError(Exception):
    """The certificate does not prove the identity; the message has the field and both values."""


def prove(chain: bytes, roots: bytes, *, at: datetime, spiffe_id: str, serial: str) -> ProvenIdentity:
    """Checks that the PEM `chain` (leaf first) leads to the PEM `roots` at the time `at` and is that identity's.

    Raises:
        UnprovenIdentityError: it does not.
    """
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        trusted = x509.load_pem_x509_certificates(roots)
    except ValueError as error:
        raise UnprovenIdentityError(f"the certificates are not PEM: {error}") from error
    leaf = certificates[0]
    try:
        claimed = SpiffeId.parse(spiffe_id)
        bundle = TrustBundle(claimed.trust_domain, tuple(trusted))
        found = verify_svid(certificates, TrustBundles(bundle), at)
    except (InvalidSpiffeIdError, InvalidSvidError) as error:
        raise UnprovenIdentityError(str(error)) from error
    if found != claimed:
        raise UnprovenIdentityError(f"SPIFFE ID: the call recorded {claimed}, the certificate has {found}")
    if serial_hex(leaf).lstrip("0") != serial.lstrip("0"):
        raise UnprovenIdentityError(
            f"serial: the call recorded {serial}, the certificate has {serial_hex(leaf)}"
        )
    return ProvenIdentity(spiffe_id, serial, leaf.not_valid_after_utc, _called(leaf.issuer))


def _called(name: x509.Name) -> str:
    """An authority as people call it: its common name and its serial number."""
    parts = [
        str(attribute.value)
        for oid in (NameOID.COMMON_NAME, NameOID.SERIAL_NUMBER)
        for attribute in name.get_attributes_for_oid(oid)
    ]
    return " ".join(parts) or name.rfc4514_string()

"""Checking afterwards, offline and at a given time, that an SVID proved an identity."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from hauberk.identity.certificate import serial_hex


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
    leaf, intermediates = certificates[0], certificates[1:]
    verifier = PolicyBuilder().store(Store(trusted)).time(at.astimezone(UTC)).build_client_verifier()
    try:
        verifier.verify(leaf, intermediates)
    except VerificationError as error:
        raise UnprovenIdentityError(
            f"the chain does not lead to a trusted root at {at.isoformat()}: {error}"
        ) from error
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = names.get_values_for_type(x509.UniformResourceIdentifier)
    if found != [spiffe_id]:
        raise UnprovenIdentityError(f"SPIFFE ID: the call recorded {spiffe_id}, the certificate has {found}")
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

"""Who is at the other end of a gRPC call: read from the certificate that the handshake has verified."""

from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from hauberk.identity.certificate import API, WORKLOADS, is_issued_for


@dataclass(frozen=True, slots=True)
class Peer:
    """A verified client certificate's names. An SVID has only the SPIFFE ID, a node only the other two."""

    common_name: str = ""
    organizations: tuple[str, ...] = ()
    spiffe_id: str = ""


def peer_of(context: Any) -> Peer:
    """The peer of a `grpc.aio.ServicerContext`; without a certificate it has no name."""
    found = context.auth_context().get("x509_pem_cert") or ()
    return peer_of_certificate(x509.load_pem_x509_certificate(found[0])) if found else Peer()


def peer_of_certificate(certificate: x509.Certificate) -> Peer:
    """A verified certificate's names: a user's if it was issued for the API, a SPIFFE ID if for workloads.

    More than one URI is no SVID (X509-SVID, 2).
    """
    if not is_issued_for(certificate, API):
        return Peer(spiffe_id=_spiffe_id(certificate)) if is_issued_for(certificate, WORKLOADS) else Peer()
    subject = certificate.subject
    common_names = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    organizations = tuple(
        str(each.value) for each in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    )
    return Peer(common_names[0] if len(common_names) == 1 else "", organizations)


def _spiffe_id(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if len(uris) == 1 else ""

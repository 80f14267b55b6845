"""Whether a chain is an X.509-SVID of a trust domain that is trusted here (X509-SVID, 2-5)."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from hauberk.identity.bundle import TrustBundles
from hauberk.identity.spiffe_id import InvalidSpiffeIdError, SpiffeId
from hauberk.identity.svid import InvalidSvidError, check_svid


def verify_svid(chain: Sequence[x509.Certificate], bundles: TrustBundles, at: datetime) -> SpiffeId:
    """Who the bearer of `chain` (leaf first) is, by the bundle of its own trust domain and no other.

    Raises:
        InvalidSvidError: it proves nothing; the message says which rule it breaks.
    """
    if not chain:
        raise InvalidSvidError("expected a chain, found no certificate")
    leaf, intermediates = chain[0], list(chain[1:])
    spiffe_id = check_svid(leaf)
    bundle = bundles.of(spiffe_id.trust_domain)
    if bundle is None or not bundle.x509_authorities:
        raise InvalidSvidError(f"trust domain {spiffe_id.trust_domain} is not trusted here")
    policy = PolicyBuilder().store(Store(list(bundle.x509_authorities))).time(at.astimezone(UTC))
    try:
        verified = policy.build_client_verifier().verify(leaf, intermediates)
    except VerificationError as error:
        raise InvalidSvidError(
            f"the chain of {spiffe_id} does not lead to a trusted root at {at.isoformat()}: {error}"
        ) from error
    for authority in verified.chain[1:-1]:
        check_authority(authority, spiffe_id)
    return spiffe_id


def check_authority(certificate: x509.Certificate, signed: SpiffeId) -> None:
    """That an intermediate may sign for the trust domain of `signed`, as far as its names and usages say.

    Raises:
        InvalidSvidError: it is of another trust domain, or no signing certificate.
    """
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise InvalidSvidError("a signing certificate must have a key usage") from error
    if not usage.key_cert_sign:
        raise InvalidSvidError("a signing certificate must have keyCertSign")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        try:
            authority = SpiffeId.parse(uri)
        except InvalidSpiffeIdError as error:
            raise InvalidSvidError(f"signing certificate: {error}") from error
        if authority.path or authority.trust_domain != signed.trust_domain:
            raise InvalidSvidError(
                f"expected a signing certificate of {signed.trust_domain.id}, found one of {authority}"
            )

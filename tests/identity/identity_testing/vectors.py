"""Chains that are almost X.509-SVIDs, each wrong in one way (SPIFFE X.509-SVID and SPIFFE-ID standards)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hauberk.identity.certificate import PrivateKey, Signer, generate_key

ID = "spiffe://cluster.local/ns/bank/sa/web"
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Made:
    """What a certificate is made of; the defaults make a good SVID."""

    uris: tuple[str, ...] = (ID,)
    subject: str = ""
    names_critical: bool = True
    ca: bool | None = False
    usages: frozenset[str] | None = frozenset({"digital_signature"})
    extended: Sequence[x509.ObjectIdentifier] | None = BOTH
    begins: timedelta = -HOUR
    ends: timedelta = HOUR
    unknown: bool = False
    constraints: x509.NameConstraints | None = None
    path_length: int | None = None

    def sign(self, issuer: Signer, key: PrivateKey) -> x509.Certificate:
        now = datetime.now(UTC)
        name = [x509.NameAttribute(NameOID.COMMON_NAME, self.subject)] if self.subject else []
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(name))
            .issuer_name(issuer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + self.begins)
            .not_valid_after(now + self.ends)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if self.uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in self.uris])
            builder = builder.add_extension(names, critical=self.names_critical)
        if self.ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(self.ca, self.path_length), critical=True)
        if self.usages is not None:
            flags = {each: each in self.usages for each in USAGES}
            builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
        if self.extended is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.extended), critical=False)
        if self.unknown:
            builder = builder.add_extension(UNKNOWN, critical=True)
        if self.constraints is not None:
            builder = builder.add_extension(self.constraints, critical=True)
        return builder.sign(issuer.key, hashes.SHA256())


USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip
SVID = Made()
AUTHORITY = Made(
    uris=("spiffe://cluster.local",),
    subject="intermediate",
    names_critical=False,
    ca=True,
    path_length=0,
    usages=frozenset({"key_cert_sign", "crl_sign"}),
    extended=None,
)


def of(uri: str) -> Made:
    return replace(SVID, uris=(uri,))


LEAVES = {
    "two URI names": replace(SVID, uris=(ID, "spiffe://cluster.local/ns/bank/sa/admin")),
    "the same URI name twice": replace(SVID, uris=(ID, ID)),
    "no name": replace(SVID, uris=(), subject="web"),
    "an empty subject and names that are not critical": replace(SVID, names_critical=False),
    "a CA": replace(SVID, ca=True),
    "keyCertSign": replace(SVID, usages=frozenset({"digital_signature", "key_cert_sign"})),
    "cRLSign": replace(SVID, usages=frozenset({"digital_signature", "crl_sign"})),
    "no digitalSignature": replace(SVID, usages=frozenset({"key_agreement"})),
    "no key usage": replace(SVID, usages=None),
    "serverAuth alone": replace(SVID, extended=BOTH[:1]),
    "clientAuth alone": replace(SVID, extended=BOTH[1:]),
    "expired": replace(SVID, begins=-2 * HOUR, ends=-HOUR),
    "not yet valid": replace(SVID, begins=HOUR, ends=2 * HOUR),
    "an unknown critical extension": replace(SVID, unknown=True),
    "no path": of("spiffe://cluster.local"),
    "a root path": of("spiffe://cluster.local/"),
    "a trailing slash": of(ID + "/"),
    "an empty segment": of("spiffe://cluster.local/ns//sa/web"),
    "a relative segment": of("spiffe://cluster.local/ns/bank/sa/../sa/web"),
    "percent encoding": of("spiffe://cluster.local/ns/bank/sa/w%65b"),
    "a query": of(ID + "?x"),
    "a fragment": of(ID + "#x"),
    "a space": of(ID + " "),
    "a port": of("spiffe://cluster.local:443/ns/bank/sa/web"),
    "a user": of("spiffe://root@cluster.local/ns/bank/sa/web"),
    "an upper-case trust domain": of("spiffe://Cluster.local/ns/bank/sa/web"),
    "an upper-case scheme": of("SPIFFE://cluster.local/ns/bank/sa/web"),
    "another scheme": of("https://cluster.local/ns/bank/sa/web"),
    "another trust domain": of("spiffe://other/ns/bank/sa/web"),
    "over 2048 bytes": of("spiffe://cluster.local/" + "a" * 2048),
}
AUTHORITIES = {
    "of another trust domain": replace(AUTHORITY, uris=("spiffe://other",)),
    "with a path": replace(AUTHORITY, uris=(ID,)),
    "no CA": replace(AUTHORITY, ca=False, path_length=None),
    "without basic constraints": replace(AUTHORITY, ca=None, path_length=None),
    "without keyCertSign": replace(AUTHORITY, usages=frozenset({"digital_signature"})),
    "expired": replace(AUTHORITY, begins=-2 * HOUR, ends=-HOUR),
    "not yet valid": replace(AUTHORITY, begins=HOUR, ends=2 * HOUR),
    "with an unknown critical extension": replace(AUTHORITY, unknown=True),
    "with name constraints that exclude the trust domain": replace(
        AUTHORITY,
        constraints=x509.NameConstraints(None, [x509.UniformResourceIdentifier("cluster.local")]),
    ),
    "with name constraints that permit another trust domain only": replace(
        AUTHORITY,
        constraints=x509.NameConstraints([x509.UniformResourceIdentifier("other.local")], None),
    ),
}


@dataclass(frozen=True)
class Chain:
    """`certificates` without the root, leaf first."""

    certificates: tuple[x509.Certificate, ...]
    key: PrivateKey


def good(intermediate: Signer) -> Chain:
    key = generate_key()
    return Chain((SVID.sign(intermediate, key), intermediate.certificate), key)


def bad(root: Signer, intermediate: Signer, stranger: Signer) -> dict[str, Callable[[], Chain]]:
    """Every wrong chain by what is wrong with it. `stranger` is a root that nobody trusts."""

    def leaf(made: Made) -> Callable[[], Chain]:
        def make() -> Chain:
            key = generate_key()
            return Chain((made.sign(intermediate, key), intermediate.certificate), key)

        return make

    def under(made: Made, above: Signer = root) -> Callable[[], Chain]:
        def make() -> Chain:
            key, own = generate_key(), generate_key()
            signer = Signer(made.sign(above, own), own)
            return Chain((SVID.sign(signer, key), signer.certificate), key)

        return make

    def too_deep() -> Chain:
        key, own = generate_key(), generate_key()
        signer = Signer(AUTHORITY.sign(intermediate, own), own)
        return Chain((SVID.sign(signer, key), signer.certificate, intermediate.certificate), key)

    def signed_by_a_leaf() -> Chain:
        first = good(intermediate)
        key = generate_key()
        return Chain((SVID.sign(Signer(first.certificates[0], first.key), key), *first.certificates), key)

    return {
        **{f"leaf: {name}": leaf(made) for name, made in LEAVES.items()},
        **{f"intermediate: {name}": under(made) for name, made in AUTHORITIES.items()},
        "chain: another root": under(AUTHORITY, stranger),
        "chain: deeper than the intermediate's path length": too_deep,
        "chain: signed by a leaf": signed_by_a_leaf,
    }

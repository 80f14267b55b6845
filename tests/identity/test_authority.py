"""Rotation over years of an injected clock, with chains verified at every stage."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store

from hauberk.identity.authority import AuthorityError, CertificateAuthority, Issued, Lifetimes
from hauberk.identity.bundle import TrustBundle
from hauberk.identity.certificate import RefusedRequestError, generate_key, make_request, serial_hex
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.identity.svid import check_svid
from hauberk.store.encryption import generate_sealer

DOMAIN = TrustDomain("cluster.local")
WEB = DOMAIN.workload("bank", "web")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def accepts(bundle: TrustBundle, issued: Issued, now: datetime) -> bool:
    policy = PolicyBuilder().store(Store(list(bundle.x509_authorities))).time(now)
    return bool(policy.build_client_verifier().verify(issued.leaf, list(issued.chain[1:])).chain)


def test_every_holder_of_an_old_or_new_bundle_accepts_every_live_svid(tmp_path: Path) -> None:
    clock = Clock()
    lifetimes = Lifetimes(root=timedelta(days=40), intermediate=timedelta(days=4))
    authority = CertificateAuthority.open(
        tmp_path, generate_sealer(), clock, trust_domain=DOMAIN, lifetimes=lifetimes
    )
    bundles, svids = [authority.bundles.own], [authority.sign_workload(make_request(generate_key()), WEB)]
    intermediates, roots = set(), set()
    for _ in range(24 * 2 * 70):
        clock.now += timedelta(minutes=30)
        authority.rotate()
        bundles = [*bundles[-1:], authority.bundles.own]
        svids = [*svids[-1:], authority.sign_workload(make_request(generate_key()), WEB)]
        for bundle in bundles:
            for svid in svids:
                assert accepts(bundle, svid, clock.now)
        intermediates.add(svids[-1].chain[1].serial_number)
        roots.add(svids[-1].chain[1].issuer.rfc4514_string())
    assert len(intermediates) > 15
    assert len(roots) >= 2


def test_the_root_key_may_be_taken_away_until_an_intermediate_is_due(tmp_path: Path) -> None:
    clock, key = Clock(), generate_sealer()
    CertificateAuthority.open(tmp_path, key, clock, trust_domain=DOMAIN)
    (tmp_path / "root").rename(tmp_path / "safe")
    authority = CertificateAuthority.open(tmp_path, key, clock, trust_domain=DOMAIN)
    clock.now += timedelta(days=70)
    authority.sign_workload(make_request(generate_key()), WEB)
    assert authority.warning is not None
    assert "bring it back" in authority.warning
    (tmp_path / "root").rmdir()
    (tmp_path / "safe").rename(tmp_path / "root")
    authority.rotate()
    assert authority.warning is None


def test_it_survives_a_restart_and_a_wrong_key_is_refused(tmp_path: Path) -> None:
    key = generate_sealer()
    before = CertificateAuthority.open(tmp_path, key, Clock(), trust_domain=DOMAIN)
    after = CertificateAuthority.open(tmp_path, key, Clock(), trust_domain=DOMAIN)
    assert after.bundles == before.bundles
    with pytest.raises(AuthorityError, match="key file"):
        CertificateAuthority.open(tmp_path, generate_sealer(), Clock(), trust_domain=DOMAIN)
    for path in tmp_path.rglob("*.sealed"):
        assert path.stat().st_mode & 0o077 == 0
        assert b"PRIVATE" not in path.read_bytes()


def test_abused_requests(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path, generate_sealer(), Clock(), trust_domain=DOMAIN)
    wrong = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    bent = x509.load_pem_x509_csr(make_request(generate_key())).public_bytes(Encoding.DER)
    bent = bent[:-1] + bytes([bent[-1] ^ 1])
    for request in (
        b"",
        b"x" * 20_000,
        builder.sign(wrong, SHA256()).public_bytes(Encoding.PEM),
        builder.sign(ec.generate_private_key(ec.SECP256K1()), SHA256()).public_bytes(Encoding.PEM),
        ssl.DER_cert_to_PEM_cert(bent).replace("CERTIFICATE", "CERTIFICATE REQUEST").encode(),
    ):
        with pytest.raises(RefusedRequestError):
            authority.sign_workload(request, WEB)
    admin = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://cluster.local/admin")])
    claiming = builder.add_extension(admin, critical=True).sign(generate_key(), SHA256())
    issued = authority.sign_workload(claiming.public_bytes(Encoding.PEM), WEB)
    assert check_svid(issued.leaf) == WEB
    assert len(serial_hex(issued.leaf)) == 32
    with pytest.raises(AuthorityError):
        authority.sign_workload(make_request(generate_key()), SpiffeId.parse("spiffe://other/x"))

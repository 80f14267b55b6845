from datetime import timedelta
from pathlib import Path

import pytest

from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.certificate import generate_key, make_request, serial_hex
from hauberk.identity.proof import UnprovenIdentityError, prove
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.store.encryption import generate_sealer

DOMAIN = TrustDomain("cluster.local")
WEB = SpiffeId.parse("spiffe://cluster.local/ns/bank/sa/web")


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory):
    authority = CertificateAuthority.open(
        tmp_path_factory.mktemp("ca"), generate_sealer(), trust_domain=DOMAIN
    )
    svid = authority.sign_workload(make_request(generate_key()), WEB)
    return authority, svid


def arguments(issued, **changes):
    authority, svid = issued
    told = {
        "chain": svid.pem,
        "roots": authority.roots_pem,
        "at": svid.leaf.not_valid_before_utc + timedelta(minutes=5),
        "spiffe_id": str(WEB),
        "serial": serial_hex(svid.leaf),
    } | changes
    return told.pop("chain"), told.pop("roots"), told


def test_an_svid_proves_its_identity_at_the_time_of_the_call(issued) -> None:
    chain, roots, told = arguments(issued)
    proven = prove(chain, roots, **told)
    assert proven.spiffe_id == str(WEB)


def test_it_proves_nothing_after_its_end(issued) -> None:
    _, svid = issued
    chain, roots, told = arguments(issued, at=svid.leaf.not_valid_after_utc + timedelta(seconds=1))
    with pytest.raises(UnprovenIdentityError, match="trusted root"):
        prove(chain, roots, **told)


def test_another_root_does_not_vouch_for_it(issued, tmp_path: Path) -> None:
    stranger = CertificateAuthority.open(tmp_path, generate_sealer(), trust_domain=DOMAIN)
    chain, roots, told = arguments(issued, roots=stranger.roots_pem)
    with pytest.raises(UnprovenIdentityError, match="trusted root"):
        prove(chain, roots, **told)


def test_another_identity_or_serial_is_refused_with_both_values(issued) -> None:
    chain, roots, told = arguments(issued, spiffe_id="spiffe://cluster.local/ns/bank/sa/front")
    with pytest.raises(UnprovenIdentityError, match=r"sa/front.*sa/web"):
        prove(chain, roots, **told)
    chain, roots, told = arguments(issued, serial="0badcafe")
    with pytest.raises(UnprovenIdentityError, match=r"serial.*0badcafe"):
        prove(chain, roots, **told)


@pytest.mark.parametrize("chain", [b"", b"no certificate"])
def test_what_is_no_certificate_is_refused(issued, chain: bytes) -> None:
    _, roots, told = arguments(issued)
    with pytest.raises(UnprovenIdentityError, match="PEM"):
        prove(chain, roots, **told)

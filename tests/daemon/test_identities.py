"""Who may have which identity: each refusal names what was expected and what was found."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hauberk.daemon.admission import Refusal, may_have_svid, may_speak_for
from hauberk.daemon.options import parse_listen, parse_network, parse_node_name
from hauberk.daemon.signing_request import (
    CLIENT_SIGNER,
    SERVING_SIGNER,
    Granted,
    is_open,
    judge,
    with_condition,
)
from hauberk.identity.spiffe_id import TrustDomain

DOMAIN = TrustDomain("cluster.local")
WEB = "spiffe://cluster.local/ns/bank/sa/web"


def pod(**changes: Any) -> dict[str, Any]:
    spec = {"nodeName": "one", "serviceAccountName": "web", **changes}
    return {"metadata": {"namespace": "bank", "name": "web-1", "uid": "u"}, "spec": spec, "status": {}}


def test_a_node_obtains_the_identity_of_its_own_pod() -> None:
    assert may_have_svid("one", WEB, pod(), "u", DOMAIN) is None


@pytest.mark.parametrize(
    ("node", "wanted", "found", "why"),
    [
        ("two", WEB, pod(), "bound to node one, not to two"),
        ("one", "spiffe://cluster.local/ns/bank/sa/db", pod(), "not as spiffe://cluster.local/ns/bank/sa/db"),
        ("one", "spiffe://other/ns/bank/sa/web", pod(), "not as spiffe://other"),
        ("one", WEB, pod(nodeName=""), "(none)"),
        ("one", WEB, None, "no pod has UID"),
        ("one", WEB, {**pod(), "status": {"phase": "Failed"}}, "has ended"),
    ],
)
def test_and_no_other(node: str, wanted: str, found: Any, why: str) -> None:
    refusal = may_have_svid(node, wanted, found, "u", DOMAIN)
    assert refusal
    assert why in refusal.reason


def test_only_the_pods_account_speaks_for_it() -> None:
    assert may_speak_for(WEB, pod(), "bank", "web-1", DOMAIN) is None
    for peer, found in ((WEB + "x", pod()), ("", pod()), (WEB, None), (WEB, pod(nodeName=""))):
        assert isinstance(may_speak_for(peer, found, "bank", "web-1", DOMAIN), Refusal)


def request(
    *,
    common_name: str = "system:node:one",
    organization: str = "system:nodes",
    names: tuple[x509.GeneralName, ...] = (),
    key: Any = None,
    **spec: Any,
) -> dict[str, Any]:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return {
        "metadata": {"name": "csr"},
        "spec": {
            "request": base64.b64encode(signed.public_bytes(Encoding.PEM)).decode(),
            "signerName": CLIENT_SIGNER,
            "username": "system:node:one",
            "groups": ["system:nodes", "system:authenticated"],
            "usages": ["client auth", "digital signature"],
            **spec,
        },
    }


def serving(*names: x509.GeneralName, **spec: Any) -> dict[str, Any]:
    return request(
        names=names, signerName=SERVING_SIGNER, usages=["server auth", "digital signature"], **spec
    )


LOOPBACK = x509.DNSName("localhost")


def test_a_node_renews_its_own_client_certificate() -> None:
    granted = judge(request(), frozenset())
    assert isinstance(granted, Granted)
    assert (granted.node, granted.names) == ("one", ())


def test_a_node_obtains_a_serving_certificate_for_its_own_addresses() -> None:
    granted = judge(serving(LOOPBACK, x509.DNSName("one")), frozenset({"localhost"}))
    assert isinstance(granted, Granted)
    assert granted.names == ("localhost", "one")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (request(username="alice"), "a node to ask in its own name"),
        (request(groups=["system:authenticated"]), "a node to ask in its own name"),
        (request(common_name="system:node:two"), "CN=system:node:one"),
        (request(common_name="hauberk-admin", organization="system:masters"), "O=system:nodes"),
        (request(organization="system:masters"), "O=system:nodes"),
        (request(usages=["client auth", "server auth"]), "expected usages"),
        (request(usages=["client auth", "cert sign"]), "expected usages"),
        (request(names=(LOOPBACK,)), "no subject alternative name"),
        (serving(), "at least one DNS name"),
        (serving(x509.DNSName("kubernetes.default.svc")), "has not the address kubernetes.default.svc"),
        (serving(x509.UniformResourceIdentifier(WEB)), "DNS names and IP addresses only"),
        (request(key=rsa.generate_private_key(65537, 2048)), "ECDSA key"),
        (request(request="bm90IHBlbQ=="), "PKCS #10"),
        (request(request="%%%"), "PKCS #10"),
    ],
)
def test_and_nothing_else(asked: Any, why: str) -> None:
    refusal = judge(asked, frozenset({"localhost"}))
    assert isinstance(refusal, Refusal)
    assert why in refusal.reason


def test_a_decided_request_is_left_alone() -> None:
    asked = request()
    assert is_open(asked)
    assert not is_open(with_condition(asked, "Denied", "r", "m", datetime.now(UTC)))
    assert not is_open({**asked, "status": {"certificate": "x"}})
    assert not is_open(request(signerName="example.com/other"))


@pytest.mark.parametrize("text", ["", "1.2.3.4", "host:80", "127.0.0.1:99999", "127.0.0.1:x", "[::1]:80"])
def test_listen_addresses_are_parsed_strictly(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_listen(text)


@pytest.mark.parametrize("text", ["10.0.0.0/30", "10.0.0.1/16", "nonsense"])
def test_networks_are_parsed_strictly(text: str) -> None:
    with pytest.raises(ValueError, match="expected a network"):
        parse_network(text)


def test_node_names_are_parsed_strictly() -> None:
    assert parse_node_name("one.local") == "one.local"
    with pytest.raises(ValueError, match="expected a name"):
        parse_node_name("../one")

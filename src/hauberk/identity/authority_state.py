"""All that the CA must not forget, and its encrypted form on disk."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from hauberk.identity.bundle import TrustBundle, TrustBundles
from hauberk.identity.certificate import PrivateKey, Signer, Validity
from hauberk.identity.jwt_svid import JwtKey
from hauberk.identity.rotation import Succession
from hauberk.identity.spiffe_id import TrustDomain

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AuthorityState:
    """The CA at one moment. Roots are certificates only: their keys are kept apart."""

    trust_domain: TrustDomain
    roots: Succession[x509.Certificate]
    svid: Succession[Signer]
    api: Succession[Signer]
    jwt: Succession[JwtKey]
    sequence: int = 1
    federated: tuple[TrustBundle, ...] = ()

    @property
    def bundles(self) -> TrustBundles:
        """What verifiers are to trust now: successors already, retired authorities still."""
        keys = {each.key_id: each.key.public_key() for each in self.jwt.all}
        own = TrustBundle(self.trust_domain, self.roots.all, keys, self.sequence)
        return TrustBundles(own, self.federated)

    def with_next_sequence(self) -> "AuthorityState":
        return replace(self, sequence=self.sequence + 1)


class _Line(msgspec.Struct):
    current: list[str]
    following: list[str] | None
    retired: list[list[str]]


class _Document(msgspec.Struct):
    trust_domain: str
    sequence: int
    roots: _Line
    svid: _Line
    api: _Line
    jwt: _Line
    federated: dict[str, str]


def encode(state: AuthorityState) -> bytes:
    """To be encrypted before it is written: it holds private keys."""
    document = _Document(
        str(state.trust_domain),
        state.sequence,
        _encode_line(state.roots, lambda each: [_text(each.public_bytes(Encoding.DER))]),
        _encode_line(state.svid, _encode_signer),
        _encode_line(state.api, _encode_signer),
        _encode_line(state.jwt, _encode_jwt_key),
        {str(each.trust_domain): each.jwks().decode() for each in state.federated},
    )
    return msgspec.json.encode(document)


def decode(content: bytes) -> AuthorityState:
    """The inverse. Raises `ValueError` (`msgspec.ValidationError` is one) on anything `encode` did not write."""
    document = msgspec.json.decode(content, type=_Document)
    return AuthorityState(
        TrustDomain(document.trust_domain),
        _decode_line(document.roots, lambda fields: x509.load_der_x509_certificate(_bytes(fields[0]))),
        _decode_line(document.svid, _decode_signer),
        _decode_line(document.api, _decode_signer),
        _decode_line(document.jwt, _decode_jwt_key),
        document.sequence,
        tuple(
            TrustBundle.parse(TrustDomain(name), jwks.encode()) for name, jwks in document.federated.items()
        ),
    )


def encode_key(key: PrivateKey) -> bytes:
    """PKCS #8, DER, not encrypted."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def decode_key(content: bytes) -> PrivateKey:
    """The inverse. Raises `ValueError`."""
    key = load_der_private_key(content, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"expected an ECDSA key, found {type(key).__name__}")
    return key


def _encode_line(line: Succession[T], encode_one: Callable[[T], list[str]]) -> _Line:
    following = None if line.following is None else encode_one(line.following)
    return _Line(encode_one(line.current), following, [encode_one(each) for each in line.retired])


def _decode_line(line: _Line, decode_one: Callable[[list[str]], T]) -> Succession[T]:
    following = None if line.following is None else decode_one(line.following)
    return Succession(decode_one(line.current), following, tuple(decode_one(each) for each in line.retired))


def _encode_signer(signer: Signer) -> list[str]:
    return [_text(signer.certificate.public_bytes(Encoding.DER)), _text(encode_key(signer.key))]


def _decode_signer(fields: list[str]) -> Signer:
    return Signer(x509.load_der_x509_certificate(_bytes(fields[0])), decode_key(_bytes(fields[1])))


def _encode_jwt_key(key: JwtKey) -> list[str]:
    validity = key.validity
    return [
        key.key_id,
        _text(encode_key(key.key)),
        validity.not_before.isoformat(),
        validity.not_after.isoformat(),
    ]


def _decode_jwt_key(fields: list[str]) -> JwtKey:
    validity = Validity(datetime.fromisoformat(fields[2]), datetime.fromisoformat(fields[3]))
    return JwtKey(fields[0], decode_key(_bytes(fields[1])), validity)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)

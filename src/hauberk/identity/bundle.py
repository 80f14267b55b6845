"""Trust bundles: whose signatures count in which trust domain, and the SPIFFE bundle document (JWKS)."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from hauberk.identity.spiffe_id import TrustDomain

JwtPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class InvalidBundleError(ValueError):
    """A bundle document is malformed; the message says where."""


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The authorities of one trust domain (SPIFFE Trust Domain and Bundle, 4)."""

    trust_domain: TrustDomain
    x509_authorities: tuple[x509.Certificate, ...]
    jwt_authorities: Mapping[str, JwtPublicKey] = field(default_factory=dict)
    """By key ID."""
    sequence: int = 0
    """Grows with every change."""
    refresh_hint: timedelta = timedelta(minutes=5)

    @property
    def pem(self) -> bytes:
        """The X.509 authorities, one PEM block after another."""
        return chain_pem(self.x509_authorities)

    @property
    def der(self) -> bytes:
        """The X.509 authorities, DER without padding, as the Workload API carries them."""
        return chain_der(self.x509_authorities)

    def jwks(self) -> bytes:
        """The bundle document, X.509 and JWT authorities both."""
        keys = [_x509_entry(each) for each in self.x509_authorities] + self._jwt_entries()
        hint = int(self.refresh_hint.total_seconds())
        return _json({"spiffe_sequence": self.sequence, "spiffe_refresh_hint": hint, "keys": keys})

    def jwt_jwks(self) -> bytes:
        """JWT authorities only, as `FetchJWTBundles` carries them."""
        return _json({"keys": self._jwt_entries()})

    def _jwt_entries(self) -> list[dict[str, Any]]:
        return [
            {**_jwk(key), "use": "jwt-svid", "kid": key_id}
            for key_id, key in sorted(self.jwt_authorities.items())
        ]

    @classmethod
    def parse(cls, trust_domain: TrustDomain, document: bytes) -> Self:
        """Read a bundle document. Entries of an unknown `use` are ignored, as the standard says.

        Raises:
            InvalidBundleError: it is no JWKS, or an entry that we would trust is malformed.
        """
        where = f"trust bundle of {trust_domain}"
        try:
            content = json.loads(document)
        except ValueError as error:
            raise InvalidBundleError(f"{where}: expected JSON: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("keys"), list):
            raise InvalidBundleError(f'{where}: expected an object with a list "keys"')
        certificates: list[x509.Certificate] = []
        jwt_keys: dict[str, JwtPublicKey] = {}
        for index, entry in enumerate(content["keys"]):
            if not isinstance(entry, dict):
                raise InvalidBundleError(f"{where}: keys[{index}]: expected an object")
            try:
                if entry.get("use") == "x509-svid":
                    certificates.append(_read_x509_entry(entry))
                elif entry.get("use") == "jwt-svid":
                    key_id, key = _read_jwt_entry(entry)
                    jwt_keys[key_id] = key
            except (ValueError, TypeError, KeyError, jwt.PyJWTError) as error:
                raise InvalidBundleError(f"{where}: keys[{index}]: {error}") from error
        return cls(
            trust_domain,
            tuple(certificates),
            jwt_keys,
            _whole_number(content, "spiffe_sequence", 0, where),
            timedelta(seconds=_whole_number(content, "spiffe_refresh_hint", 300, where)),
        )


@dataclass(frozen=True, slots=True)
class TrustBundles:
    """What a workload trusts: its own trust domain's bundle, and those federated with it."""

    own: TrustBundle
    federated: tuple[TrustBundle, ...] = ()

    def of(self, trust_domain: TrustDomain) -> TrustBundle | None:
        """The bundle of one trust domain, None if it is not trusted."""
        return next((each for each in (self.own, *self.federated) if each.trust_domain == trust_domain), None)


def chain_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """PEM blocks, in order."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def chain_der(certificates: Sequence[x509.Certificate]) -> bytes:
    """DER, one directly after another."""
    return b"".join(each.public_bytes(Encoding.DER) for each in certificates)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _jwk(key: JwtPublicKey) -> dict[str, Any]:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return dict(ECAlgorithm.to_jwk(key, as_dict=True))
    return {
        "kty": "RSA",
        **{k: v for k, v in RSAAlgorithm.to_jwk(key, as_dict=True).items() if k in {"n", "e"}},
    }


def _x509_entry(certificate: x509.Certificate) -> dict[str, Any]:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise InvalidBundleError(f"expected an EC or RSA authority, found {type(key).__name__}")
    x5c = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
    return {**_jwk(key), "use": "x509-svid", "x5c": x5c}


def _read_x509_entry(entry: dict[str, Any]) -> x509.Certificate:
    chain = entry.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1:
        raise ValueError('expected "x5c" to hold exactly one certificate')
    return x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))


def _read_jwt_entry(entry: dict[str, Any]) -> tuple[str, JwtPublicKey]:
    key_id = entry.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise ValueError('expected a key ID in "kid"')
    key = jwt.PyJWK(entry, algorithm=_any_algorithm(entry)).key
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise TypeError("expected a public key, EC or RSA")
    return key_id, key


def _any_algorithm(entry: dict[str, Any]) -> str:
    return (
        "RS256"
        if entry.get("kty") == "RSA"
        else {"P-384": "ES384", "P-521": "ES512"}.get(entry.get("crv", ""), "ES256")
    )


def _whole_number(content: dict[str, Any], name: str, default: int, where: str) -> int:
    value = content.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidBundleError(f"{where}: {name}: expected a whole number, found {value!r}")
    return value

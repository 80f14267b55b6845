"""A workload's identity as Envoy's `Secret` messages: `default`, `ROOTCA`, `ALL`."""

import hashlib
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_spiffe_validator_config_pb2
from google.protobuf import any_pb2

from hauberk.identity.bundle import TrustBundles
from hauberk.identity.svid import Identity, X509Svid

TYPE_URL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
OWN = "default"
"""The workload's chain and key."""
OWN_BUNDLE = "ROOTCA"
"""The bundle of its own trust domain."""
ALL_BUNDLES = "ALL"
"""All bundles, each for its own trust domain only (`envoy.tls.cert_validator.spiffe`)."""


def secrets(identity: Identity) -> dict[str, Any]:
    """The `Secret` messages by name."""
    return {
        OWN: _own(identity.svid),
        OWN_BUNDLE: secret_pb2.Secret(
            name=OWN_BUNDLE,
            validation_context=common_pb2.CertificateValidationContext(
                trusted_ca=_inline(identity.bundles.own.pem)
            ),
        ),
        ALL_BUNDLES: secret_pb2.Secret(name=ALL_BUNDLES, validation_context=_all_bundles(identity.bundles)),
    }


def packed(secret: Any) -> Any:
    """A message in `Any`, as discovery responses carry it."""
    wrapping = any_pb2.Any()
    wrapping.Pack(secret, deterministic=True)
    return wrapping


def version_of(secret: Any) -> str:
    """A version that changes with the secret's content and says nothing of it."""
    return hashlib.sha256(secret.SerializeToString(deterministic=True)).hexdigest()[:16]


def _own(svid: X509Svid) -> Any:
    return secret_pb2.Secret(
        name=OWN,
        tls_certificate=common_pb2.TlsCertificate(
            certificate_chain=_inline(svid.chain_pem), private_key=_inline(svid.key_pem())
        ),
    )


def _all_bundles(bundles: TrustBundles) -> Any:
    config = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig(
        trust_domains=[
            {"name": str(each.trust_domain), "trust_bundle": _inline(each.pem)}
            for each in (bundles.own, *bundles.federated)
        ]
    )
    return common_pb2.CertificateValidationContext(
        custom_validator_config={"name": "envoy.tls.cert_validator.spiffe", "typed_config": packed(config)}
    )


def _inline(content: bytes) -> Any:
    return base_pb2.DataSource(inline_bytes=content)

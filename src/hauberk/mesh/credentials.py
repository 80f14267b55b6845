"""Credentials of Secrets as resources of SDS, and the names by which gateways ask for them."""

from __future__ import annotations

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from hauberk.mesh.registry import Key
from hauberk.model.credential import KeyPair

PREFIX = "kubernetes://"
"""What a proxy asks ADS for; all other secrets are the node's."""


def key_pair_name(secret: Key) -> str:
    """The SDS name of a Secret's key pair."""
    return f"{PREFIX}{secret[0]}/{secret[1]}"


def trust_name(secret: Key) -> str:
    """The SDS name of what a Secret says is to be trusted."""
    return f"{PREFIX}{secret[0]}/{secret[1]}-cacert"


def key_pair_secret(name: str, pair: KeyPair) -> secret_pb2.Secret:
    """The SDS resource of a key pair."""
    return secret_pb2.Secret(
        name=name,
        tls_certificate={
            "certificate_chain": {"inline_bytes": pair.chain},
            "private_key": {"inline_bytes": pair.private_key},
        },
    )


def trust_secret(name: str, trusted: bytes) -> secret_pb2.Secret:
    """The SDS resource of certificates to trust."""
    return secret_pb2.Secret(name=name, validation_context={"trusted_ca": {"inline_bytes": trusted}})

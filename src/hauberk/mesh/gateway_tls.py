"""The TLS of a gateway's server: the Secrets that it shows and trusts, and the socket made of them.

A server whose Secrets are not there, or that asks for a check that no proxy here makes, is not served at all: to come
up without the check, or never, would both be worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from hauberk.mesh import tls
from hauberk.mesh.credentials import key_pair_name, key_pair_secret, trust_name, trust_secret
from hauberk.mesh.registry import Key, Mesh
from hauberk.model.credential import Credential

Spec = Mapping[str, Any]
Credentials = Mapping[Key, Credential]

PLAIN_MODES = frozenset({"PASSTHROUGH", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL"})
"""Modes that need no Secret."""
_UNCHECKED = (
    "verifyCertificateSpki",
    "verifyCertificateHash",
    "caCrl",
    "serverCertificate",
    "tlsCertificates",
)
"""Settings that our proxy does not honour: files of its machine, pinned hashes, revocation lists."""


@dataclass(frozen=True, slots=True)
class ServerSecrets:
    """What a server shows, and whom it trusts if it asks for its callers' certificates."""

    shown: tuple[Key, ...]
    trusted: Key | None


def named_secrets(told: Spec, namespace: str) -> tuple[Key, ...]:
    """Every Secret that a server may need; `namespace` is that of the gateway's pod."""
    shown = _shown(told, namespace)
    return (*shown, *_trust_candidates(told, namespace, shown))


def find_secrets(told: Spec, namespace: str, credentials: Credentials) -> ServerSecrets | None:
    """The Secrets of a server, None if it cannot be served."""
    shown = _shown(told, namespace)
    pairs = [credentials.get(key) for key in shown]
    if not shown or any(pair is None or pair.key_pair is None for pair in pairs):
        return None
    if any(told.get(name) for name in _UNCHECKED):
        return None
    if not _asks_callers(told):
        return ServerSecrets(shown, None)
    for key in _trust_candidates(told, namespace, shown):
        found = credentials.get(key)
        if found is not None and found.trusted:
            return ServerSecrets(shown, key)
    return None


def secret_resources(secrets: ServerSecrets, credentials: Credentials) -> Iterator[secret_pb2.Secret]:
    """The SDS resources of a server's Secrets."""
    for key in secrets.shown:
        pair = credentials[key].key_pair
        if pair is not None:
            yield key_pair_secret(key_pair_name(key), pair)
    if secrets.trusted is not None:
        yield trust_secret(trust_name(secrets.trusted), credentials[secrets.trusted].trusted)


def server_socket(
    told: Spec, secrets: ServerSecrets | None, mesh: Mesh, alpn: Sequence[str]
) -> base_pb2.TransportSocket:
    """The socket of a server that ends TLS; without Secrets it shows the gateway's own identity (ISTIO_MUTUAL)."""
    if secrets is None:
        return tls.downstream_socket(mesh)
    common = tls_pb2.CommonTlsContext(alpn_protocols=alpn)
    common.tls_params.tls_minimum_protocol_version = tls.protocol_version(
        told.get("minProtocolVersion") or "", "TLSv1_2"
    )
    common.tls_params.tls_maximum_protocol_version = tls.protocol_version(
        told.get("maxProtocolVersion") or "", "TLSv1_3"
    )
    for key in secrets.shown:
        common.tls_certificate_sds_secret_configs.append(tls.ads_secret(key_pair_name(key)))
    if secrets.trusted is not None:
        common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(
            tls.ads_secret(trust_name(secrets.trusted))
        )
        common.combined_validation_context.default_validation_context.match_typed_subject_alt_names.extend(
            _names(told)
        )
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=common,
        require_client_certificate={"value": told.get("mode") == "MUTUAL"},
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=tls.packed(context))


def _shown(told: Spec, namespace: str) -> tuple[Key, ...]:
    if told.get("secret"):  # of the Gateway API: any namespace that grants it
        return (tuple(told["secret"]),)
    names = told.get("credentialNames") or ([told["credentialName"]] if told.get("credentialName") else [])
    return tuple((namespace, name) for name in names)


def _asks_callers(told: Spec) -> bool:
    return told.get("mode") in ("MUTUAL", "OPTIONAL_MUTUAL")


def _trust_candidates(told: Spec, namespace: str, shown: Sequence[Key]) -> list[Key]:
    """Where the certificates to trust may lie, the first first (Istio, "Gateway": `credentialName`)."""
    if not _asks_callers(told):
        return []
    if told.get("caCertCredentialName"):
        return [(namespace, told["caCertCredentialName"])]
    return [*((namespace, f"{name}-cacert") for _, name in shown), *shown]


def _names(told: Spec) -> Iterator[common_pb2.SubjectAltNameMatcher]:
    for name in told.get("subjectAltNames") or ():
        kind = "URI" if "://" in name else "DNS"
        yield common_pb2.SubjectAltNameMatcher(san_type=kind, matcher=string_pb2.StringMatcher(exact=name))

"""TLS between proxies: version 1.3 only, hybrid key exchange first, identities checked on both sides, no resumption.

Private keys never pass through the control plane: contexts name SDS secrets, which the node serves on
the proxy's own socket (`default`: key and chain, `ROOTCA`: trust bundle).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import any_pb2, wrappers_pb2

from hauberk.mesh.registry import Mesh

CURVES = ("X25519MLKEM768", "X25519", "P-256")
XDS_CLUSTER = "xds-grpc"
"""The static cluster of a proxy's bootstrap that leads to its `xds.sock`."""


def packed(message: Any) -> any_pb2.Any:
    """A message in an Any, with map keys in order."""
    encoded = any_pb2.Any()
    encoded.Pack(message, deterministic=True)
    return encoded


def sds(name: str) -> secret_pb2.SdsSecretConfig:
    """A secret that the node serves on the proxy's own socket."""
    source = config_source_pb2.ConfigSource(
        resource_api_version="V3",
        initial_fetch_timeout={"seconds": 0},
        api_config_source=config_source_pb2.ApiConfigSource(
            api_type="GRPC",
            transport_api_version="V3",
            set_node_on_first_message_only=True,
            grpc_services=[
                grpc_service_pb2.GrpcService(
                    envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=XDS_CLUSTER)
                )
            ],
        ),
    )
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)


def ads_secret(name: str) -> secret_pb2.SdsSecretConfig:
    """A secret that the control plane itself serves (a gateway's `credentialName`)."""
    source = config_source_pb2.ConfigSource(resource_api_version="V3", ads={})
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)


def _parameters() -> common_pb2.TlsParameters:
    return common_pb2.TlsParameters(
        tls_minimum_protocol_version="TLSv1_3", tls_maximum_protocol_version="TLSv1_3", ecdh_curves=CURVES
    )


def _validation(
    matchers: Sequence[string_pb2.StringMatcher],
) -> tls_pb2.CommonTlsContext.CombinedCertificateValidationContext:
    return tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=common_pb2.CertificateValidationContext(
            match_typed_subject_alt_names=[
                common_pb2.SubjectAltNameMatcher(san_type="URI", matcher=matcher) for matcher in matchers
            ]
        ),
        validation_context_sds_secret_config=sds("ROOTCA"),
    )


def upstream_socket(identities: Sequence[str], sni: str, alpn: Sequence[str]) -> base_pb2.TransportSocket:
    """A client's side: the peer must be one of `identities` (SPIFFE IDs)."""
    context = tls_pb2.UpstreamTlsContext(
        sni=sni,
        max_session_keys=wrappers_pb2.UInt32Value(value=0),
        common_tls_context=tls_pb2.CommonTlsContext(
            tls_params=_parameters(),
            alpn_protocols=alpn,
            tls_certificate_sds_secret_configs=[sds("default")],
            combined_validation_context=_validation(
                [string_pb2.StringMatcher(exact=identity) for identity in identities]
            ),
        ),
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def downstream_socket(mesh: Mesh) -> base_pb2.TransportSocket:
    """A server's side: the peer must show an identity of the trust domain."""
    context = tls_pb2.DownstreamTlsContext(
        require_client_certificate=wrappers_pb2.BoolValue(value=True),
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
        common_tls_context=tls_pb2.CommonTlsContext(
            tls_params=_parameters(),
            alpn_protocols=["h2", "http/1.1", "istio"],
            tls_certificate_sds_secret_configs=[sds("default")],
            combined_validation_context=_validation(
                [string_pb2.StringMatcher(prefix=f"spiffe://{mesh.trust_domain}/")]
            ),
        ),
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def plain_socket() -> base_pb2.TransportSocket:
    return base_pb2.TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=packed(raw_buffer_pb2.RawBuffer())
    )


def protocol_version(told: str, default: str) -> str:
    """Istio's `minProtocolVersion` and `maxProtocolVersion` in Envoy's words."""
    return _VERSIONS.get(told, default)


_VERSIONS = {"TLSV1_0": "TLSv1_0", "TLSV1_1": "TLSv1_1", "TLSV1_2": "TLSv1_2", "TLSV1_3": "TLSv1_3"}

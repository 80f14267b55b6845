//! TLS contexts. Ignored by design: session tickets and resumption settings (the proxy never resumes), key logs, OCSP.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use hauberk_config::tls::{
    Curve, DownstreamTls, DownstreamTransport, PeerValidation, SanKind, SanMatcher, TlsContext,
    TlsVersion, UpstreamTls, UpstreamTransport,
};

use super::value::{on, string_matcher};
use super::{At, Decoded, required, unpack};

const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const DOWNSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// Who agrees to it speaks Istio's metadata exchange first, which this proxy passes over (`fields.rs`).
const PEER_EXCHANGE: &str = "istio-peer-exchange";

pub fn downstream(socket: Option<&core::TransportSocket>) -> Decoded<DownstreamTransport> {
    let Some(any) = typed(socket)? else {
        return Ok(DownstreamTransport::Plain);
    };
    let told: tls::DownstreamTlsContext = unpack(any, DOWNSTREAM)?;
    let context = context(told.common_tls_context.as_ref())?;
    let require_client_certificate = on(told.require_client_certificate.as_ref());
    Ok(DownstreamTransport::Tls(Arc::new(DownstreamTls {
        context,
        require_client_certificate,
    })))
}

pub fn upstream(socket: Option<&core::TransportSocket>) -> Decoded<UpstreamTransport> {
    let Some(any) = typed(socket)? else {
        return Ok(UpstreamTransport::Plain);
    };
    let told: tls::UpstreamTlsContext = unpack(any, UPSTREAM)?;
    Ok(UpstreamTransport::Tls(Arc::new(UpstreamTls {
        context: context(told.common_tls_context.as_ref())?,
        server_name: (!told.sni.is_empty()).then_some(told.sni),
        server_name_from_authority: told.auto_host_sni,
        validate_authority: told.auto_sni_san_validation,
    })))
}

/// The configuration of a transport socket; `None` for plain text.
fn typed(
    socket: Option<&core::TransportSocket>,
) -> Decoded<Option<&envoy_types::pb::google::protobuf::Any>> {
    let Some(socket) = socket else {
        return Ok(None);
    };
    let core::transport_socket::ConfigType::TypedConfig(any) =
        required(socket.config_type.as_ref(), "typed_config")?;
    Ok((!any.type_url.ends_with(RAW)).then_some(any))
}

fn context(told: Option<&tls::CommonTlsContext>) -> Decoded<TlsContext> {
    let told = required(told, "common_tls_context")?;
    if !told.tls_certificates.is_empty() {
        return Err("tls_certificates: expected certificates by SDS, found them inline".into());
    }
    let parameters = told.tls_params.clone().unwrap_or_default();
    Ok(TlsContext {
        certificate_secrets: told
            .tls_certificate_sds_secret_configs
            .iter()
            .map(|one| one.name.as_str().into())
            .collect(),
        validation: validation(told.validation_context_type.as_ref()).at("validation_context")?,
        alpn: told
            .alpn_protocols
            .iter()
            .filter(|name| *name != PEER_EXCHANGE)
            .cloned()
            .collect(),
        minimum_version: version(parameters.tls_minimum_protocol_version, TlsVersion::Tls12)?,
        maximum_version: version(parameters.tls_maximum_protocol_version, TlsVersion::Tls13)?,
        curves: parameters
            .ecdh_curves
            .iter()
            .map(|name| curve(name))
            .collect::<Decoded<_>>()?,
    })
}

fn validation(
    told: Option<&tls::common_tls_context::ValidationContextType>,
) -> Decoded<PeerValidation> {
    use tls::common_tls_context::ValidationContextType as V;
    match told {
        None => Ok(PeerValidation::default()),
        Some(V::ValidationContextSdsSecretConfig(secret)) => Ok(PeerValidation {
            trust_secret: Some(secret.name.as_str().into()),
            san_matchers: Vec::new(),
        }),
        Some(V::CombinedValidationContext(combined)) => {
            let san_matchers = match &combined.default_validation_context {
                Some(own) => matchers(own)?,
                None => Vec::new(),
            };
            let secret = combined.validation_context_sds_secret_config.as_ref();
            Ok(PeerValidation {
                trust_secret: secret.map(|secret| secret.name.as_str().into()),
                san_matchers,
            })
        }
        Some(other) => Err(format!("expected a trust bundle by SDS, found {other:?}")),
    }
}

fn matchers(told: &tls::CertificateValidationContext) -> Decoded<Vec<SanMatcher>> {
    if !told.verify_certificate_spki.is_empty()
        || !told.verify_certificate_hash.is_empty()
        || told.crl.is_some()
    {
        return Err("expected checks by name, found pinned hashes or a revocation list, which are not honoured".into());
    }
    let untyped = told.match_subject_alt_names.iter().map(|matcher| {
        let matcher = string_matcher(matcher)?;
        Ok(SanMatcher {
            kind: SanKind::Any,
            matcher,
        })
    });
    let typed = told.match_typed_subject_alt_names.iter().map(|one| {
        use tls::subject_alt_name_matcher::SanType as T;
        let kind = match T::try_from(one.san_type) {
            Ok(T::Uri) => SanKind::Uri,
            Ok(T::Dns) => SanKind::Dns,
            Ok(T::Email) => SanKind::Email,
            Ok(T::IpAddress) => SanKind::IpAddress,
            _ => {
                return Err(format!(
                    "san_type: expected URI, DNS, EMAIL or IP_ADDRESS, found {}",
                    one.san_type
                ));
            }
        };
        Ok(SanMatcher {
            kind,
            matcher: string_matcher(required(one.matcher.as_ref(), "matcher")?)?,
        })
    });
    typed.chain(untyped).collect()
}

fn version(told: i32, default: TlsVersion) -> Decoded<TlsVersion> {
    use tls::tls_parameters::TlsProtocol as P;
    match P::try_from(told) {
        Ok(P::TlsAuto) => Ok(default),
        Ok(P::TlSv10 | P::TlSv11 | P::TlSv12) => Ok(TlsVersion::Tls12),
        Ok(P::TlSv13) => Ok(TlsVersion::Tls13),
        Err(_) => Err(format!("TLS version: expected a known one, found {told}")),
    }
}

fn curve(name: &str) -> Decoded<Curve> {
    match name {
        "X25519MLKEM768" => Ok(Curve::X25519MlKem768),
        "X25519" => Ok(Curve::X25519),
        "P-256" => Ok(Curve::P256),
        "P-384" => Ok(Curve::P384),
        _ => Err(format!(
            "ecdh_curves: expected X25519MLKEM768, X25519, P-256 or P-384, found {name:?}"
        )),
    }
}

//! Access logs.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3 as file;
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3 as grpc;
use envoy_types::pb::google::protobuf::{Struct, value::Kind};
use hauberk_config::access_log::{
    AccessLog, AccessLogFilter, AccessLogFormat, AccessLogKind, AccessLogSink, LogService,
};

use super::value::{duration, inline};
use super::{At, Decoded, kind, required, unpack};

const HTTP: &str = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig";
const TCP: &str = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig";
/// Envoy's default.
const FLUSH: Duration = Duration::from_secs(1);
const LEAST_FLUSH: Duration = Duration::from_millis(10);
const FILE: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";

pub fn access_logs(told: &[accesslog::AccessLog]) -> Decoded<Vec<AccessLog>> {
    told.iter().map(access_log).collect()
}

fn access_log(told: &accesslog::AccessLog) -> Decoded<AccessLog> {
    if let Some(filter) = &told.filter {
        return Err(format!("access_log: expected no filter, found {filter:?}"));
    }
    let accesslog::access_log::ConfigType::TypedConfig(any) =
        required(told.config_type.as_ref(), "access_log.typed_config")?;
    let sink = match kind(&any.type_url) {
        HTTP => {
            let told: grpc::HttpGrpcAccessLogConfig = unpack(any, HTTP)?;
            service(told.common_config.as_ref(), AccessLogKind::Http)?
        }
        TCP => {
            let told: grpc::TcpGrpcAccessLogConfig = unpack(any, TCP)?;
            service(told.common_config.as_ref(), AccessLogKind::Tcp)?
        }
        _ => {
            let told: file::FileAccessLog = unpack(any, FILE)?;
            AccessLogSink::File {
                path: told.path.clone(),
                format: format(&told)?,
            }
        }
    };
    Ok(AccessLog {
        sink,
        filter: AccessLogFilter::All,
    })
}

/// A collector. Ignored: how many bytes are sent together, retries (the proxy has its own), further headers and tags.
fn service(
    told: Option<&grpc::CommonGrpcAccessLogConfig>,
    kind: AccessLogKind,
) -> Decoded<AccessLogSink> {
    let told = required(told, "common_config")?;
    let flush = told.buffer_flush_interval.as_ref().map(duration);
    Ok(AccessLogSink::Grpc(Arc::new(LogService {
        cluster: grpc_cluster(told.grpc_service.as_ref()).at("common_config.grpc_service")?,
        log_name: told.log_name.clone(),
        kind,
        flush: flush.transpose()?.unwrap_or(FLUSH).max(LEAST_FLUSH),
    })))
}

/// The cluster of `envoy_grpc`.
pub fn grpc_cluster(told: Option<&core::GrpcService>) -> Decoded<Arc<str>> {
    use core::grpc_service::TargetSpecifier as T;
    match required(told, "grpc_service")?.target_specifier.as_ref() {
        Some(T::EnvoyGrpc(envoy)) => Ok(envoy.cluster_name.as_str().into()),
        other => Err(format!("expected envoy_grpc, found {other:?}")),
    }
}

fn format(told: &file::FileAccessLog) -> Decoded<AccessLogFormat> {
    use core::substitution_format_string::Format as S;
    use file::file_access_log::AccessLogFormat as F;
    match &told.access_log_format {
        None => Ok(AccessLogFormat::Default),
        Some(F::Format(text)) => Ok(AccessLogFormat::Text(text.clone())),
        Some(F::JsonFormat(fields) | F::TypedJsonFormat(fields)) => json(fields),
        Some(F::LogFormat(format)) => match required(format.format.as_ref(), "log_format")? {
            S::TextFormat(text) => Ok(AccessLogFormat::Text(text.clone())),
            S::JsonFormat(fields) => json(fields),
            S::TextFormatSource(source) => {
                let text = inline(Some(source))?;
                Ok(AccessLogFormat::Text(
                    String::from_utf8_lossy(&text).into_owned(),
                ))
            }
        },
    }
}

fn json(fields: &Struct) -> Decoded<AccessLogFormat> {
    let mut found = fields
        .fields
        .iter()
        .map(|(key, value)| match &value.kind {
            Some(Kind::StringValue(text)) => Ok((key.clone(), text.clone())),
            other => Err(format!(
                "json_format.{key}: expected a string, found {other:?}"
            )),
        })
        .collect::<Decoded<Vec<_>>>()?;
    found.sort();
    Ok(AccessLogFormat::Json(found))
}

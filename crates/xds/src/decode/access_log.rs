//! Access logs.

use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3 as file;
use envoy_types::pb::google::protobuf::{Struct, value::Kind};
use hauberk_config::access_log::{AccessLog, AccessLogFilter, AccessLogFormat, AccessLogSink};

use super::value::inline;
use super::{Decoded, required, unpack};

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
    let told: file::FileAccessLog = unpack(any, FILE)?;
    let sink = AccessLogSink::File {
        path: told.path.clone(),
        format: format(&told)?,
    };
    Ok(AccessLog {
        sink,
        filter: AccessLogFilter::All,
    })
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

//! Services that see requests and responses. What they would be shown and is not is refused.

use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3 as ext_proc;
use hauberk_config::external_processor::{ExternalProcessor, Shown};

use super::value::{duration, grpc_service};
use super::{At, Decoded};

const PATIENCE: Duration = Duration::from_millis(200);

pub fn external_processor(told: &ext_proc::ExternalProcessor) -> Decoded<ExternalProcessor> {
    let refused = [
        ("http_service", told.http_service.is_some()),
        (
            "request_attributes, response_attributes",
            !told.request_attributes.is_empty() || !told.response_attributes.is_empty(),
        ),
        ("mutation_rules", told.mutation_rules.is_some()),
        ("forward_rules", told.forward_rules.is_some()),
        ("filter_metadata", told.filter_metadata.is_some()),
        ("allow_mode_override", told.allow_mode_override),
        (
            "disable_immediate_response",
            told.disable_immediate_response,
        ),
        ("metadata_options", told.metadata_options.is_some()),
        ("observability_mode", told.observability_mode),
        (
            "send_body_without_waiting_for_header_response",
            told.send_body_without_waiting_for_header_response,
        ),
    ];
    if let Some((field, _)) = refused.iter().find(|(_, set)| *set) {
        return Err(format!("{field}: not honoured"));
    }
    let mode = told.processing_mode.unwrap_or_default();
    let service = grpc_service(told.grpc_service.as_ref()).at("grpc_service")?;
    let patience = told.message_timeout.as_ref().map(duration).transpose()?;
    for trailers in [mode.request_trailer_mode, mode.response_trailer_mode] {
        if sent(trailers)? && trailers != 0 {
            return Err("processing_mode: trailers are not shown: expected SKIP".into());
        }
    }
    Ok(ExternalProcessor {
        name: if told.stat_prefix.is_empty() {
            service.cluster.clone()
        } else {
            told.stat_prefix.as_str().into()
        },
        service,
        failure_mode_allow: told.failure_mode_allow,
        message_timeout: patience.unwrap_or(PATIENCE),
        request: Shown {
            headers: sent(mode.request_header_mode)?,
            body: buffered(mode.request_body_mode)?,
        },
        response: Shown {
            headers: sent(mode.response_header_mode)?,
            body: buffered(mode.response_body_mode)?,
        },
    })
}

fn sent(told: i32) -> Decoded<bool> {
    use ext_proc::processing_mode::HeaderSendMode as M;
    match M::try_from(told) {
        Ok(M::Default | M::Send) => Ok(true),
        Ok(M::Skip) => Ok(false),
        Err(_) => Err(format!(
            "processing_mode: expected SEND or SKIP, found {told}"
        )),
    }
}

fn buffered(told: i32) -> Decoded<bool> {
    use ext_proc::processing_mode::BodySendMode as M;
    match M::try_from(told) {
        Ok(M::None) => Ok(false),
        Ok(M::Buffered) => Ok(true),
        other => Err(format!(
            "processing_mode: expected NONE or BUFFERED for a body, found {other:?}"
        )),
    }
}

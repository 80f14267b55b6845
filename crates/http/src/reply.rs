//! Answers that the proxy gives itself.

use bytes::Bytes;
use hauberk_telemetry::flags::Flag;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::body::ResponseBody;
use crate::call::Call;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// `status` with `text`; to a gRPC call, status 200 with the matching `grpc-status`, as gRPC's HTTP mapping has it.
pub fn reply(mut call: Box<Call>, status: u16, flag: Flag, text: &str) -> Response<ResponseBody> {
    if flag != Flag::None {
        call.flag(flag);
    }
    if call.grpc {
        let code = grpc_code(status);
        let mut response = grpc(call, code);
        if let Ok(message) = HeaderValue::from_str(&percent_encoded(text)) {
            response.headers_mut().insert(GRPC_MESSAGE, message);
        }
        return response;
    }
    call.status = status;
    let mut response = Response::new(ResponseBody::full(
        Bytes::copy_from_slice(text.as_bytes()),
        Some(call),
    ));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !text.is_empty() {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    response
}

/// A gRPC answer of trailers only.
pub fn grpc(mut call: Box<Call>, code: u32) -> Response<ResponseBody> {
    call.status = 200;
    call.grpc_status = Some(code);
    let mut response = Response::new(ResponseBody::full(Bytes::new(), Some(call)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    response
}

fn grpc_code(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 => 14,
        // Envoy answers its own timeouts as UNAVAILABLE too, by the same table.
        504 => 14,
        _ => 2,
    }
}

/// gRPC over HTTP/2, `Percent-Encoded`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

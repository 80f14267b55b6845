//! `envoy.service.ext_proc.v3.ExternalProcessor/Process`: one stream a request, a question and an answer for each of its
//! parts that are shown.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::ext_proc::v3 as proc;
use http::header::HeaderMap;
use prost::Message as _;

use crate::grpc::framed;
use crate::mutation::{Action, Mutations};

pub const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    RequestHeaders,
    RequestBody,
    ResponseHeaders,
    ResponseBody,
}

/// What the service made of a part.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Change(Change),
    /// The caller gets this, and nothing goes on.
    Answer(Answer),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub headers: Mutations,
    /// In place of the body.
    pub body: Option<Bytes>,
    pub clear_route_cache: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Mutations,
    pub body: Bytes,
    pub grpc_status: Option<u32>,
}

/// Asks about headers. `pseudo` are those that HTTP/2 has in place of the first line.
pub fn headers(part: Part, pseudo: &[(&str, &str)], told: &HeaderMap, ended: bool) -> Bytes {
    let value = |key: &str, value: &[u8]| core::HeaderValue {
        key: key.to_owned(),
        raw_value: value.to_vec(),
        ..Default::default()
    };
    let mut all: Vec<core::HeaderValue> = pseudo
        .iter()
        .map(|(key, text)| value(key, text.as_bytes()))
        .collect();
    let others = told.iter().filter(|(name, _)| *name != http::header::HOST);
    all.extend(others.map(|(name, text)| value(name.as_str(), text.as_bytes())));
    let message = proc::HttpHeaders {
        headers: Some(core::HeaderMap { headers: all }),
        end_of_stream: ended,
        ..Default::default()
    };
    use proc::processing_request::Request;
    question(match part {
        Part::RequestHeaders | Part::RequestBody => Request::RequestHeaders(message),
        Part::ResponseHeaders | Part::ResponseBody => Request::ResponseHeaders(message),
    })
}

/// Asks about a whole body.
pub fn body(part: Part, bytes: &[u8]) -> Bytes {
    let message = proc::HttpBody {
        body: bytes.to_vec(),
        end_of_stream: true,
        ..Default::default()
    };
    use proc::processing_request::Request;
    question(match part {
        Part::RequestHeaders | Part::RequestBody => Request::RequestBody(message),
        Part::ResponseHeaders | Part::ResponseBody => Request::ResponseBody(message),
    })
}

fn question(request: proc::processing_request::Request) -> Bytes {
    framed(&proc::ProcessingRequest {
        request: Some(request),
        ..Default::default()
    })
}

/// The verdict in a message, which must be about `part`.
///
/// # Errors
/// It is about another, or no such message.
pub fn verdict(message: Bytes, part: Part) -> Result<Verdict, String> {
    use proc::processing_response::Response as R;
    let told = proc::ProcessingResponse::decode(message)
        .map_err(|error| format!("a malformed message: {error}"))?;
    let (found, common) = match told.response {
        Some(R::RequestHeaders(told)) => (Part::RequestHeaders, told.response),
        Some(R::ResponseHeaders(told)) => (Part::ResponseHeaders, told.response),
        Some(R::RequestBody(told)) => (Part::RequestBody, told.response),
        Some(R::ResponseBody(told)) => (Part::ResponseBody, told.response),
        Some(R::ImmediateResponse(told)) => return answer(told).map(Verdict::Answer),
        _ => return Err("expected an answer about headers or a body".into()),
    };
    if found != part {
        return Err(format!(
            "expected an answer about {part:?}, found {found:?}"
        ));
    }
    let common = common.unwrap_or_default();
    use proc::body_mutation::Mutation as M;
    let body = match common.body_mutation.and_then(|told| told.mutation) {
        None | Some(M::ClearBody(false)) => None,
        Some(M::Body(bytes)) => Some(Bytes::from(bytes)),
        Some(M::ClearBody(true)) => Some(Bytes::new()),
        Some(M::StreamedResponse(_)) => return Err("expected a whole body, found a stream".into()),
    };
    Ok(Verdict::Change(Change {
        headers: mutations(common.header_mutation),
        body,
        clear_route_cache: common.clear_route_cache,
    }))
}

fn answer(told: proc::ImmediateResponse) -> Result<Answer, String> {
    let status = told.status.map_or(200, |status| status.code);
    Ok(Answer {
        status: u16::try_from(status)
            .ok()
            .filter(|status| (200..=599).contains(status))
            .ok_or_else(|| format!("expected an HTTP status, found {status}"))?,
        headers: mutations(told.headers),
        body: told.body.into(),
        grpc_status: told.grpc_status.map(|status| status.status),
    })
}

fn mutations(told: Option<proc::HeaderMutation>) -> Mutations {
    let mut made = Mutations::default();
    let told = told.unwrap_or_default();
    made.options(&told.set_headers, Action::Append);
    for name in &told.remove_headers {
        made.remove(name);
    }
    made
}

//! `envoy.service.auth.v3.Authorization/Check`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3 as auth;
use envoy_types::pb::google::protobuf::Timestamp;
use http::header::HeaderMap;

use crate::grpc::{framed, unframed};
use crate::mutation::{Action, Mutations};

pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Tells the authorizer whether it sees all of the body.
const PARTIAL: &str = "x-envoy-auth-partial-body";

/// A connection, and the request on it if it is HTTP.
pub struct Question<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// URI names of what the caller proved and of what it was shown; empty where nothing was.
    pub source_principal: &'a str,
    pub destination_principal: &'a str,
    pub time: SystemTime,
    pub request: Option<AskedRequest<'a>>,
}

pub struct AskedRequest<'a> {
    pub id: &'a str,
    pub method: &'a str,
    /// With the query.
    pub path: &'a str,
    pub host: &'a str,
    pub scheme: &'a str,
    pub protocol: &'a str,
    pub headers: &'a HeaderMap,
    /// Bytes of its body so far.
    pub received: i64,
    /// `None`: the authorizer is not shown any.
    pub body: Option<SeenBody<'a>>,
}

#[derive(Clone, Copy)]
pub struct SeenBody<'a> {
    pub bytes: &'a [u8],
    /// There is more of it.
    pub partial: bool,
    /// As bytes, not as text.
    pub as_bytes: bool,
}

/// What an authorizer made of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed(Allowed),
    Denied(Denied),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    pub request: Mutations,
    pub response: Mutations,
    pub query: Vec<QueryChange>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum QueryChange {
    Set(String, String),
    Remove(String),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Denied {
    pub status: u16,
    pub headers: Mutations,
    pub body: Bytes,
}

impl Denied {
    pub fn plain(status: u16) -> Self {
        Self {
            status,
            headers: Mutations::default(),
            body: Bytes::new(),
        }
    }
}

/// The question in gRPC's frame. `shown` says which headers the authorizer sees.
pub fn question(asked: &Question<'_>, shown: impl Fn(&str) -> bool) -> Bytes {
    let peer = |address: SocketAddr, principal: &str| auth::attribute_context::Peer {
        address: Some(socket_address(address)),
        principal: principal.to_owned(),
        ..Default::default()
    };
    framed(&auth::CheckRequest {
        attributes: Some(auth::AttributeContext {
            source: Some(peer(asked.source, asked.source_principal)),
            destination: Some(peer(asked.destination, asked.destination_principal)),
            request: Some(auth::attribute_context::Request {
                time: timestamp(asked.time),
                http: asked.request.as_ref().map(|request| http(request, shown)),
            }),
            ..Default::default()
        }),
    })
}

fn http(
    asked: &AskedRequest<'_>,
    shown: impl Fn(&str) -> bool,
) -> auth::attribute_context::HttpRequest {
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in asked.headers {
        if name == http::header::HOST || !shown(name.as_str()) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|all| {
                all.push(',');
                all.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    for (name, value) in [
        (":authority", asked.host),
        (":method", asked.method),
        (":path", asked.path),
        (":scheme", asked.scheme),
    ] {
        if shown(name) {
            headers.insert(name.to_owned(), value.to_owned());
        }
    }
    let (mut body, mut raw_body) = (String::new(), Vec::new());
    if let Some(seen) = asked.body {
        if seen.as_bytes {
            raw_body = seen.bytes.to_vec();
        } else {
            body = String::from_utf8_lossy(seen.bytes).into_owned();
        }
        headers.insert(PARTIAL.to_owned(), seen.partial.to_string());
    }
    auth::attribute_context::HttpRequest {
        id: asked.id.to_owned(),
        method: asked.method.to_owned(),
        headers,
        path: asked.path.to_owned(),
        host: asked.host.to_owned(),
        scheme: asked.scheme.to_owned(),
        size: asked.received,
        protocol: asked.protocol.to_owned(),
        body,
        raw_body,
        ..Default::default()
    }
}

/// The verdict in the body of an answer.
///
/// # Errors
/// It is no answer to the question; the request is to be treated as if nobody had answered.
pub fn verdict(body: Bytes) -> Result<Verdict, String> {
    use auth::check_response::HttpResponse as H;
    let response: auth::CheckResponse = unframed(body)?;
    let allowed = response
        .status
        .as_ref()
        .is_none_or(|status| status.code == 0);
    if !allowed {
        return Ok(Verdict::Denied(match response.http_response {
            Some(H::DeniedResponse(told)) => denied(told)?,
            Some(H::ErrorResponse(_)) => return Err("the authorizer answered with an error".into()),
            _ => Denied::plain(403),
        }));
    }
    let mut made = Allowed::default();
    if let Some(H::OkResponse(told)) = response.http_response {
        made.request.options(&told.headers, Action::AppendIfPresent);
        for name in &told.headers_to_remove {
            made.request.remove(name);
        }
        made.response
            .options(&told.response_headers_to_add, Action::Append);
        let set = told.query_parameters_to_set.into_iter();
        made.query = set
            .map(|one| QueryChange::Set(one.key, one.value))
            .chain(
                told.query_parameters_to_remove
                    .into_iter()
                    .map(QueryChange::Remove),
            )
            .collect();
    }
    Ok(Verdict::Allowed(made))
}

fn denied(told: auth::DeniedHttpResponse) -> Result<Denied, String> {
    let status = told.status.map_or(403, |status| status.code);
    let status = match u16::try_from(status) {
        Ok(0) => 403,
        Ok(status @ 200..=599) => status,
        _ => return Err(format!("expected an HTTP status, found {status}")),
    };
    let mut headers = Mutations::default();
    headers.options(&told.headers, Action::Append);
    Ok(Denied {
        status,
        headers,
        body: told.body.into(),
    })
}

fn socket_address(address: SocketAddr) -> core::Address {
    use core::socket_address::PortSpecifier;
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..Default::default()
        })),
    }
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp {
        seconds: i64::try_from(since.as_secs()).ok()?,
        nanos: i32::try_from(since.subsec_nanos()).ok()?,
    })
}

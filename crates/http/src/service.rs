//! One request, from the caller's headers to the answer's.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hauberk_config::connection_manager::{ConnectionManager, StripPort};
use hauberk_config::route::{Forward, RouteAction};
use hauberk_telemetry::flags::Flag;
use hauberk_upstream::random;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};

use crate::attempt;
use crate::body::ResponseBody;
use crate::call::Call;
use crate::connection::Connection;
use crate::filters::Afterwards;
use crate::headers;
use crate::incoming::Incoming;
use crate::listener::{Chain, RouteTable};
use crate::reply::reply;
use crate::trace;
use crate::upgrade::Wish;
use hauberk_route::{self as routing, Matched, Normalized, Routes, set_path};

/// Answers one request; the answer's body still moves when this returns.
pub async fn handle(
    connection: Rc<Connection>,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let chain = Arc::clone(&connection.chain.borrow());
    let wish = Wish::of(&request);
    if matches!(wish, Some(Wish::Protocol(_))) && request.method() == Method::CONNECT {
        // RFC 8441: what an upgrade by GET is in HTTP/1.1. Rules have to see what the program will.
        *request.method_mut() = Method::GET;
    }
    let grpc_call = is_grpc(&request);
    let mut call = Call::new(
        Rc::clone(&connection),
        request.method().clone(),
        request.uri().clone(),
        request.version(),
        grpc_call,
    );
    let Some(manager) = &chain.http else {
        return reply(call, 500, Flag::NoRoute, "");
    };
    let config = &manager.config;
    let port = connection.facts.destination.port();
    if too_large(&request, config) {
        return refuse_and_close(call, &request, 431, "");
    }
    if request.version() == Version::HTTP_2 {
        headers::join_cookies(request.headers_mut());
    }
    if let Err(reason) = settle_authority(&mut request, config, port) {
        return refuse_and_close(call, &request, 400, reason);
    }
    call.authority = request.headers().get(header::HOST).cloned();
    call.user_agent = request.headers().get(header::USER_AGENT).cloned();
    if manager.keeps_headers {
        call.headers = Some(Box::new(request.headers().clone()));
    }
    headers::strip_hop_by_hop(request.headers_mut());
    headers::describe_caller(request.headers_mut(), config, &connection);
    headers::identify(request.headers_mut(), config);
    call.traced = trace::begin(request.headers_mut(), config.tracing.as_ref());
    call.request_id = request.headers().get(headers::REQUEST_ID).cloned();
    call.traceparent = request.headers().get(headers::TRACEPARENT).cloned();
    match routing::normalized(request.uri(), &config.path) {
        Normalized::Same => {}
        Normalized::Path(path) => {
            if !set_path(&mut request, &path) {
                return finish(refuse_path(call), config, None, &request);
            }
        }
        Normalized::Redirect(path) => {
            let mut response = reply(call, 307, Flag::None, "");
            if let Ok(value) = HeaderValue::from_str(&path) {
                response.headers_mut().insert(header::LOCATION, value);
            }
            return finish(response, config, None, &request);
        }
        Normalized::Reject => return finish(refuse_path(call), config, None, &request),
    }

    let routes = match &manager.routes {
        RouteTable::Named(name) => connection.worker.program().routes.get(name).cloned(),
        RouteTable::Inline(routes) => Some(Arc::clone(routes)),
    };
    if connection.session.is_none()
        && let Some(routes) = &routes
        && routes.requires_tls(&request)
    {
        return finish(to_https(call, &request), config, None, &request);
    }
    let matched = routes
        .as_ref()
        .and_then(|routes| routes.find(&request, random()));
    if let Some(matched) = &matched {
        call.route = Arc::clone(&matched.route.name);
        if let Some(traced) = &mut call.traced {
            traced.name.clone_from(&matched.route.operation);
        }
    }
    let mut after = Afterwards::default();
    let filtered = manager
        .filters
        .request(call, &mut request, matched.as_ref(), &mut after)
        .await;
    let matched = match (&filtered, &routes) {
        (Ok(call), Some(routes)) if call.reroute => routes.find(&request, random()),
        _ => matched,
    };
    let response = match (filtered, routes, matched) {
        (Err(answer), _, _) => finish(*answer, config, None, &request),
        (Ok(call), Some(routes), Some(matched)) => {
            act(call, request, &chain, config, &routes, matched, wish).await
        }
        (Ok(call), _, _) => finish(reply(call, 404, Flag::NoRoute, ""), config, None, &request),
    };
    after.answer(response).await
}

/// The same place, but over TLS.
fn to_https(call: Box<Call>, request: &Request<Incoming>) -> Response<ResponseBody> {
    let authority = request.headers().get(header::HOST);
    let authority = authority.and_then(|host| host.to_str().ok());
    let path = request.uri().path_and_query();
    let location = format!(
        "https://{}{}",
        authority.unwrap_or_default(),
        path.map_or("/", |path| path.as_str())
    );
    let mut response = reply(call, 301, Flag::None, "");
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// Whoever sends such a thing may mean something else by what comes next, too.
fn refuse_and_close(
    call: Box<Call>,
    request: &Request<Incoming>,
    status: u16,
    reason: &str,
) -> Response<ResponseBody> {
    let mut response = reply(call, status, Flag::DownstreamProtocolError, reason);
    if request.version() < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// HTTP/1's codec holds to the limit of bytes only as far as it has read, HTTP/2's to no number of headers.
fn too_large(request: &Request<Incoming>, config: &ConnectionManager) -> bool {
    let headers = request.headers();
    if request.version() == Version::HTTP_2 {
        return headers.len() > config.max_headers_count.max(1) as usize;
    }
    size(headers) > config.max_request_headers_kb.max(1) as usize * 1024
}

/// Bytes of names and values.
fn size(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    sizes.sum()
}

fn refuse_path(call: Box<Call>) -> Response<ResponseBody> {
    reply(call, 400, Flag::DownstreamProtocolError, "")
}

async fn act(
    call: Box<Call>,
    mut request: Request<Incoming>,
    chain: &Chain,
    config: &ConnectionManager,
    routes: &Routes,
    matched: Matched,
    wish: Option<Wish>,
) -> Response<ResponseBody> {
    let connection = Rc::clone(&call.connection);
    let commands = |name: &str| connection.command(name);
    match &matched.route.action {
        RouteAction::Direct(direct) => {
            let mut call = call;
            call.status = direct.status;
            let body = Bytes::copy_from_slice(&direct.body);
            let mut response = Response::new(ResponseBody::full(body, Some(call)));
            *response.status_mut() = status(direct.status);
            matched.change_response(routes, response.headers_mut(), &commands);
            finish(response, config, None, &request)
        }
        RouteAction::Redirect(_) => {
            let secure = call.connection.session.is_some();
            let (code, location) = matched.redirect(&request, secure);
            let mut response = reply(call, code, Flag::None, "");
            if let Ok(value) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(header::LOCATION, value);
            }
            matched.change_response(routes, response.headers_mut(), &commands);
            finish(response, config, None, &request)
        }
        RouteAction::Forward(forward) => {
            if let Some(wish) = &wish
                && !wish.allowed(&forward.upgrades, &config.upgrades)
            {
                return finish(reply(call, 403, Flag::None, ""), config, None, &request);
            }
            let suppress = chain
                .http
                .as_ref()
                .is_some_and(|manager| manager.suppress_envoy_headers);
            let started = call.started;
            matched.change_request(routes, &mut request, &commands);
            let original = Original {
                method: request.method().clone(),
                version: request.version(),
            };
            let mut response =
                attempt::forward(call, request, config, routes, &matched, forward, wish).await;
            matched.change_response(routes, response.headers_mut(), &commands);
            let time = (!suppress).then(|| started.elapsed());
            finish_as(response, config, time, &original)
        }
    }
}

/// What of a request its answer depends on.
struct Original {
    method: Method,
    version: Version,
}

fn finish(
    response: Response<ResponseBody>,
    config: &ConnectionManager,
    time: Option<Duration>,
    request: &Request<Incoming>,
) -> Response<ResponseBody> {
    let original = Original {
        method: request.method().clone(),
        version: request.version(),
    };
    finish_as(response, config, time, &original)
}

/// The last touch on an answer: the server's name, Envoy's service time.
fn finish_as(
    mut response: Response<ResponseBody>,
    config: &ConnectionManager,
    time: Option<Duration>,
    original: &Original,
) -> Response<ResponseBody> {
    use hauberk_config::connection_manager::ServerHeader;
    *response.version_mut() = original.version;
    let is_connect = original.method == Method::CONNECT;
    let headers = response.headers_mut();
    let absent = !headers.contains_key(header::SERVER);
    let set = match config.server_header {
        ServerHeader::Overwrite => true,
        ServerHeader::AppendIfAbsent => absent,
        ServerHeader::PassThrough => false,
    };
    if set
        && !is_connect
        && let Ok(name) = HeaderValue::from_str(&config.server_name)
    {
        headers.insert(header::SERVER, name);
    }
    if let Some(time) = time {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        headers.insert(
            "x-envoy-upstream-service-time",
            HeaderValue::from(milliseconds),
        );
    }
    response
}

/// Moves the authority to the `host` header, from where routing and rules read it (RFC 9112 §3.2.2: an absolute target's
/// authority replaces `host`).
pub(crate) fn settle_authority<B>(
    request: &mut Request<B>,
    config: &ConnectionManager,
    port: u16,
) -> Result<(), &'static str> {
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        return Err("more than one host header");
    }
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("an authority with a user (RFC 9110 §4.2.4)");
    }
    if let Some(authority) = authority
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, value);
    }
    if !request.headers().contains_key(header::HOST) {
        let default = config
            .default_host_for_http_10
            .as_ref()
            .filter(|_| request.version() == Version::HTTP_10)
            .and_then(|host| HeaderValue::from_str(host).ok());
        match default {
            Some(value) => {
                request.headers_mut().insert(header::HOST, value);
            }
            None if request.version() == Version::HTTP_10 => {
                request
                    .headers_mut()
                    .insert(header::HOST, HeaderValue::from_static(""));
            }
            None => return Err("missing host header"),
        }
    }
    if request.method() != Method::CONNECT {
        strip_port(request.headers_mut(), config.strip_port, port);
    }
    Ok(())
}

/// Cuts the port from the authority, if it is to go.
fn strip_port(headers: &mut HeaderMap, mode: StripPort, ours: u16) {
    if mode == StripPort::Keep {
        return;
    }
    let stripped = headers.get(header::HOST).and_then(|host| {
        let (name, port) = host.to_str().ok()?.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        (mode == StripPort::Any || port == ours).then(|| HeaderValue::from_str(name).ok())?
    });
    if let Some(value) = stripped {
        headers.insert(header::HOST, value);
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| {
            let value = value.as_bytes();
            value.strip_prefix(b"application/grpc").is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";")
            })
        })
}

pub fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The timeouts of a forwarded request.
pub fn stream_idle(config: &ConnectionManager, forward: &Forward) -> Option<Duration> {
    match forward.idle_timeout {
        Some(timeout) => Some(timeout).filter(|timeout| !timeout.is_zero()),
        None => config.stream_idle_timeout,
    }
}

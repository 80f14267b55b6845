//! Sending a request to an endpoint, and again if that may help.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::connection_manager::ConnectionManager;
use hauberk_config::route::{Forward, RetryPolicy};
use hauberk_telemetry::flags::Flag;
use hauberk_upstream::{Choice, Cluster, ConnectError, Host, Limited, Outcome, random};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version as HttpVersion};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::body::{
    BodyError, KEPT_FOR_REFUSAL, KEPT_FOR_RETRIES, RequestBody, ResponseBody, Upload,
};
use crate::call::{Call, status_of};
use crate::filters::http_status_of_grpc;
use crate::hash_key::HashKey;
use crate::headers;
use crate::http1::Broken;
use crate::incoming::Incoming;
use crate::mirror;
use crate::pool::{self, Lease, Pool, PoolError, Purpose, SendError, Version};
use crate::reply::reply;
use crate::service;
use crate::upgrade::{Far, Tunnel, Wish};
use hauberk_route::{self as routing, Matched, Routes};

/// Retries after which even "surely not processed" is given up.
const SILENT_RETRIES: u32 = 4;

/// How one attempt ended without a response that is passed on.
enum Failure {
    NoHost,
    Overflow,
    /// Part of the request's body is gone.
    Spent,
    /// The caller did not send its request in time.
    SlowRequest,
    Connect(ConnectError),
    /// Nothing was sent: another connection may serve.
    Unsent,
    /// The endpoint closed a connection that had been used before without a word, as it may at any time; and the request
    /// does no harm if it was carried out all the same (RFC 9112 §9.3.1).
    Stale,
    /// The endpoint says that it has not processed the request.
    Refused(BodyError),
    Reset(BodyError),
    /// The endpoint's answer is no response.
    Malformed(BodyError),
    /// The caller's request ended badly.
    Request(Broken),
    Timeout,
    PerTryTimeout,
}

/// What stays the same for all attempts.
struct Plan<'a> {
    cluster: Rc<Cluster<Pool>>,
    forward: &'a Forward,
    retry: Option<&'a RetryPolicy>,
    head: Head,
    upload: Rc<Upload>,
    wish: Option<Wish>,
    downstream: Version,
    authority: String,
    idle: Option<Duration>,
    /// When the caller must have sent all of its request.
    request_deadline: Option<Instant>,
    hash: Option<u64>,
    tells_attempts: bool,
    tried: RefCell<Vec<Tried>>,
}

/// Where an attempt went.
struct Tried {
    address: SocketAddr,
    priority: u32,
}

/// The caller's side of a tunnel.
enum Near {
    /// Its connection, once the response's head is written.
    Http1,
    /// Its stream.
    Http2(OnUpgrade),
}

struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

pub async fn forward(
    mut call: Box<Call>,
    mut request: Request<Incoming>,
    config: &ConnectionManager,
    routes: &Routes,
    matched: &Matched,
    forward: &Forward,
    wish: Option<Wish>,
) -> Response<ResponseBody> {
    let worker = Rc::clone(&call.connection.worker);
    let name = matched.cluster(forward, request.headers());
    let Some(cluster) = name.and_then(|name| worker.cluster(&name)) else {
        return reply(call, forward.cluster_not_found_status, Flag::NoCluster, "");
    };
    call.cluster = Some(Rc::clone(&cluster));
    let retry = matched
        .retry(forward)
        .filter(|retry| routing::any_header_fits(&retry.request_headers, &request));
    let downstream = match request.version() {
        HttpVersion::HTTP_2 => Version::Http2,
        _ => Version::Http1,
    };
    let near = wish.as_ref().map(|_| match downstream {
        Version::Http1 => Near::Http1,
        Version::Http2 => Near::Http2(hyper::upgrade::on(&mut request)),
    });
    let authority = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let idle = service::stream_idle(config, forward);
    let timeout = timeout(forward, request.headers());
    let facts = &call.connection.facts;
    let (from, destination) = (facts.source, facts.destination);
    let hash = HashKey::of(&forward.hash_policy, &request, from, destination);
    let (tells_attempts, answers_attempts) = matched.tells_attempts();
    let (parts, body) = request.into_parts();
    let again = retry.is_some() || parts.method.is_idempotent();
    let keep = match cluster.target.config.http.protocol {
        _ if again => KEPT_FOR_RETRIES,
        UpstreamProtocol::Http1 => 0,
        _ => KEPT_FOR_REFUSAL,
    };
    let upload = Upload::new(body, std::mem::take(&mut call.early), keep);
    call.upload = Some(Rc::clone(&upload));
    if wish.is_none() {
        let original = mirror::Original {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            destination,
            version: downstream,
        };
        let mirrors = matched.mirrors(routes, forward);
        mirror::send(&worker, mirrors, &original, &upload);
    }
    let plan = Plan {
        cluster,
        forward,
        retry,
        head: Head {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
        },
        upload,
        wish,
        downstream,
        authority,
        idle,
        request_deadline: config.request_timeout.map(|limit| call.started + limit),
        hash: hash.key,
        tells_attempts,
        tried: RefCell::default(),
    };
    let (attempts, mut response) = run(call, plan, timeout, near).await;
    if answers_attempts {
        let count = HeaderValue::from(attempts);
        response.headers_mut().insert(headers::ATTEMPT_COUNT, count);
    }
    if let Some(cookie) = hash.cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// `grpc-timeout` where it is honoured, else the route's.
fn timeout(forward: &Forward, headers: &HeaderMap) -> Option<Duration> {
    let Some(most) = forward.max_grpc_timeout else {
        return forward.timeout;
    };
    let asked = headers
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(grpc_timeout);
    match asked {
        Some(asked) if most.is_zero() => Some(asked),
        Some(asked) => Some(asked.min(most)),
        None => forward.timeout,
    }
}

/// gRPC over HTTP/2, `Timeout`.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// The number of attempts, and the response.
async fn run(
    mut call: Box<Call>,
    plan: Plan<'_>,
    timeout: Option<Duration>,
    near: Option<Near>,
) -> (u32, Response<ResponseBody>) {
    let deadline = |plan: &Plan<'_>| {
        let from = plan.upload.ended_at()?;
        timeout.map(|timeout| from + timeout)
    };
    let mut retries = 0;
    let mut silent = 0;
    let mut retry_slot = None;
    loop {
        let fresh = silent > 0;
        let outcome = attempt(&mut call, &plan, timeout, retries + 1, fresh).await;
        drop(retry_slot.take());
        let again = match &outcome {
            Err(Failure::Unsent | Failure::Stale) => true,
            Err(Failure::Refused(_)) => plan.upload.replayable(),
            _ => false,
        };
        if again && silent < SILENT_RETRIES {
            silent += 1;
            continue;
        }
        let wanted = plan.retry.is_some_and(|retry| match &outcome {
            Ok((response, _)) => response_asks(retry, response),
            Err(failure) => failure_asks(retry, failure),
        });
        if let Ok((response, lease)) = &outcome {
            let status = outcome_status(response);
            plan.cluster.judge(&lease.host, Outcome::Answered(status));
        }
        if wanted && retries < most_retries(plan.retry) && plan.upload.replayable() {
            retry_slot = plan.cluster.admit(Limited::Retry, plan.forward.priority);
            if retry_slot.is_none() {
                call.flag(Flag::UpstreamOverflow);
            } else if back_off(&plan, retries, deadline(&plan)).await {
                retries += 1;
                continue;
            }
        } else if wanted && retries >= most_retries(plan.retry) {
            call.flag(Flag::UpstreamRetryLimitExceeded);
        }
        let response = match outcome {
            Ok((response, lease)) => answer(call, &plan, response, lease, deadline(&plan), near),
            Err(failure) => refuse(call, failure),
        };
        return (retries + 1, response);
    }
}

fn most_retries(retry: Option<&RetryPolicy>) -> u32 {
    retry.map_or(0, |retry| retry.retries)
}

/// Waits, fully jittered; false: the call's time would be over.
async fn back_off(plan: &Plan<'_>, retries: u32, deadline: Option<Instant>) -> bool {
    let Some(retry) = plan.retry else {
        return false;
    };
    let base = retry.back_off.base.as_nanos() as u64;
    let most = base
        .saturating_mul((1_u64 << (retries + 1).min(16)) - 1)
        .min(retry.back_off.maximum.as_nanos() as u64);
    let pause = Duration::from_nanos(random() % most.max(1));
    if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
        return false;
    }
    tokio::time::sleep(pause).await;
    true
}

async fn attempt(
    call: &mut Call,
    plan: &Plan<'_>,
    timeout: Option<Duration>,
    count: u32,
    fresh: bool,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let worker = Rc::clone(&call.connection.worker);
    let host = choose(call, plan).ok_or(Failure::NoHost)?;
    call.host = Some(Rc::clone(&host));
    if plan.retry.is_some() {
        plan.tried.borrow_mut().push(Tried {
            address: host.address,
            priority: plan.cluster.priority_of(&host),
        });
    }
    let origin = worker.origin(&plan.cluster, call.connection.caller());
    let host_name = plan.authority.split(':').next();
    let purpose = Purpose {
        downstream: plan.downstream,
        authority: host_name,
        priority: plan.forward.priority,
        fresh,
    };
    let leasing = pin!(pool::lease(&plan.cluster, &host, origin, purpose));
    let late = |failure: Failure| {
        if matches!(failure, Failure::Timeout | Failure::PerTryTimeout) {
            plan.cluster.judge(&host, Outcome::TimedOut);
        }
        failure
    };
    let leased = wait(leasing, plan, timeout).await.map_err(late)?;
    let mut lease = leased.map_err(|error| match error {
        PoolError::Connect(error) => {
            plan.cluster.judge(&host, error.outcome());
            Failure::Connect(error)
        }
        PoolError::Overflow => Failure::Overflow,
    })?;
    plan.cluster.judge(&host, Outcome::Connected);
    call.session = lease.session().cloned();
    call.connection
        .reached(&plan.cluster, &host, lease.session());
    let body = plan.upload.attempt().ok_or(Failure::Spent)?;
    let mut request = message(plan, lease.version(), &host, body);
    if plan.tells_attempts {
        let count = HeaderValue::from(count);
        request.headers_mut().insert(headers::ATTEMPT_COUNT, count);
    }
    let sent = {
        let sending = pin!(lease.send(request));
        wait(sending, plan, timeout).await.map_err(late)?
    };
    match sent {
        Ok(response) => Ok((response, lease)),
        Err(error) => {
            let failure = failure(error, plan, &lease);
            if matches!(failure, Failure::Reset(_) | Failure::Malformed(_)) {
                plan.cluster.judge(&host, Outcome::Failed);
            }
            Err(failure)
        }
    }
}

fn failure(error: SendError, plan: &Plan<'_>, lease: &Lease) -> Failure {
    if let Some(broken) = plan.upload.broken() {
        return Failure::Request(broken);
    }
    match error {
        SendError::Unsent => Failure::Unsent,
        SendError::Refused(error) => Failure::Refused(error),
        SendError::Unanswered(_)
            if lease.reused && plan.head.method.is_idempotent() && plan.upload.replayable() =>
        {
            Failure::Stale
        }
        SendError::Unanswered(error) | SendError::Reset(error) => Failure::Reset(error),
        SendError::Malformed(error) => Failure::Malformed(error),
    }
}

/// The host for the next attempt.
fn choose(call: &Call, plan: &Plan<'_>) -> Option<Rc<Host<Pool>>> {
    let tried = plan.tried.borrow();
    let remembers = plan
        .retry
        .is_some_and(|retry| retry.avoid_previous_hosts.is_some());
    let avoid =
        |host: &Host<Pool>| remembers && tried.iter().any(|one| one.address == host.address);
    let choice = Choice {
        original: Some(call.connection.facts.destination),
        hash: plan.hash,
        tried: &tried_priorities(plan.retry, &tried),
    };
    plan.cluster.choose(choice, &avoid)
}

/// The priorities to leave out now: those of all attempts so far, told anew after every few.
fn tried_priorities(retry: Option<&RetryPolicy>, tried: &[Tried]) -> Vec<u32> {
    let often = retry.and_then(|retry| retry.avoid_previous_priorities);
    let Some(often) = often.and_then(|often| usize::try_from(often).ok()) else {
        return Vec::new();
    };
    let counted = tried.len() / often.max(1) * often;
    tried[..counted].iter().map(|one| one.priority).collect()
}

/// Waits for a connection, or for a response's head, as long as the route allows.
async fn wait<F: Future>(
    mut waiting: Pin<&mut F>,
    plan: &Plan<'_>,
    timeout: Option<Duration>,
) -> Result<F::Output, Failure> {
    let per_try = plan.retry.and_then(|retry| retry.per_try_timeout);
    let timeout = timeout.or(plan.idle);
    if timeout.is_none() && per_try.is_none() && plan.request_deadline.is_none() {
        return Ok(waiting.await);
    }
    let per_try = per_try.map(|limit| Instant::now() + limit);
    loop {
        let ended = plan.upload.ended_at();
        // The route's time runs from the end of the request.
        let whole = timeout.map(|limit| ended.unwrap_or_else(Instant::now) + limit);
        let arrival = plan.request_deadline.filter(|_| ended.is_none());
        let Some(next) = [whole, per_try, arrival].into_iter().flatten().min() else {
            return Ok(waiting.await);
        };
        if let Ok(output) = tokio::time::timeout_at(next, waiting.as_mut()).await {
            return Ok(output);
        }
        let now = Instant::now();
        let ended = plan.upload.ended_at();
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if ended.is_none() && passed(plan.request_deadline) {
            return Err(Failure::SlowRequest);
        }
        if passed(ended.zip(timeout).map(|(ended, limit)| ended + limit)) {
            return Err(Failure::Timeout);
        }
        if passed(per_try) {
            return Err(Failure::PerTryTimeout);
        }
    }
}

/// The request as the endpoint gets it.
fn message(
    plan: &Plan<'_>,
    version: Version,
    host: &Host<Pool>,
    body: RequestBody,
) -> Request<RequestBody> {
    let head = &plan.head;
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    if matches!(
        plan.forward.host_rewrite,
        Some(hauberk_config::route::HostRewrite::Auto)
    ) && let Some(endpoint) = &host.endpoint
        && let Ok(value) = HeaderValue::from_str(&endpoint.hostname)
        && !endpoint.hostname.is_empty()
    {
        request.headers_mut().insert(header::HOST, value);
    }
    let path = head
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    let mut parts = http::uri::Parts::default();
    match version {
        Version::Http1 => {
            *request.version_mut() = HttpVersion::HTTP_11;
            if plan.wish == Some(Wish::Connect) {
                parts.authority = plan.authority.parse().ok();
            } else {
                parts.path_and_query = Some(path);
                if let Some(wish) = &plan.wish {
                    wish.write(request.headers_mut());
                }
            }
        }
        Version::Http2 => {
            *request.version_mut() = HttpVersion::HTTP_2;
            let authority = request
                .headers_mut()
                .remove(header::HOST)
                .and_then(|host| host.to_str().ok()?.parse().ok());
            parts.authority = authority;
            if plan.wish != Some(Wish::Connect) {
                parts.scheme = Some(http::uri::Scheme::HTTP);
                parts.path_and_query = Some(path);
            }
            if let Some(Wish::Protocol(name)) = &plan.wish {
                *request.method_mut() = Method::CONNECT;
                request
                    .extensions_mut()
                    .insert(hyper::ext::Protocol::from_static(known_protocol(name)));
            }
            if parts.authority.is_none() {
                parts.authority = host.address.to_string().parse().ok();
            }
        }
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// hyper takes names of protocols only as constants.
fn known_protocol(name: &str) -> &'static str {
    match name {
        "connect-udp" => "connect-udp",
        _ => "websocket",
    }
}

/// The status that outlier detection goes by: HTTP's for the gRPC status of a call that failed at once.
fn outcome_status<B>(response: &Response<B>) -> u16 {
    match status_of(response.headers()) {
        Some(code) if response.status().is_success() => http_status_of_grpc(code),
        _ => response.status().as_u16(),
    }
}

fn response_asks<B>(retry: &RetryPolicy, response: &Response<B>) -> bool {
    let on = &retry.on;
    let status = response.status().as_u16();
    let grpc = status_of(response.headers());
    on.server_error && status >= 500
        || on.gateway_error && matches!(status, 502..=504)
        || on.retriable_4xx && status == 409
        || on.retriable_status_codes && retry.status_codes.contains(&status)
        || on.envoy_ratelimited && response.headers().contains_key("x-envoy-ratelimited")
        || on.retriable_headers
            && !retry.response_headers.is_empty()
            && routing::response_header_fits(&retry.response_headers, response)
        || on.grpc_cancelled && grpc == Some(1)
        || on.grpc_deadline_exceeded && grpc == Some(4)
        || on.grpc_resource_exhausted && grpc == Some(8)
        || on.grpc_internal && grpc == Some(13)
        || on.grpc_unavailable && grpc == Some(14)
}

fn failure_asks(retry: &RetryPolicy, failure: &Failure) -> bool {
    let on = &retry.on;
    match failure {
        Failure::Connect(_) => on.connect_failure || on.server_error || on.gateway_error,
        Failure::Unsent | Failure::Stale | Failure::Refused(_) => {
            on.reset_before_request || on.reset || on.refused_stream || on.server_error
        }
        Failure::Reset(_) | Failure::Malformed(_) => on.reset || on.server_error,
        Failure::PerTryTimeout => on.reset || on.server_error || on.gateway_error,
        Failure::NoHost
        | Failure::Overflow
        | Failure::Spent
        | Failure::SlowRequest
        | Failure::Request(_)
        | Failure::Timeout => false,
    }
}

/// Envoy's answers to what went wrong on the far side.
fn refuse(call: Box<Call>, failure: Failure) -> Response<ResponseBody> {
    let reset = |cause: &str| {
        format!("upstream connect error or disconnect/reset before headers. reset reason: {cause}")
    };
    match failure {
        Failure::NoHost => reply(call, 503, Flag::NoHealthyUpstream, "no healthy upstream"),
        Failure::Overflow => {
            let mut response = reply(call, 503, Flag::UpstreamOverflow, &reset("overflow"));
            let overloaded = HeaderValue::from_static("true");
            response
                .headers_mut()
                .insert("x-envoy-overloaded", overloaded);
            response
        }
        Failure::SlowRequest => reply(call, 408, Flag::None, "request timeout"),
        Failure::Request(Broken::Late) => {
            reply(call, 408, Flag::StreamIdleTimeout, "request timeout")
        }
        Failure::Request(Broken::Gone) => {
            reply(call, 400, Flag::DownstreamConnectionTermination, "")
        }
        Failure::Request(Broken::Malformed(malformed)) => reply(
            call,
            400,
            Flag::DownstreamProtocolError,
            &malformed.to_string(),
        ),
        Failure::Request(Broken::Other) => reply(call, 400, Flag::DownstreamProtocolError, ""),
        Failure::Malformed(error) => {
            tracing::debug!(%error, "the endpoint's answer is no response");
            let text = reset("protocol error");
            reply(call, 502, Flag::UpstreamProtocolError, &text)
        }
        Failure::Connect(ConnectError::Timeout) => reply(
            call,
            503,
            Flag::UpstreamConnectionFailure,
            &reset("connection timeout"),
        ),
        Failure::Connect(error) => {
            tracing::debug!(%error, "no connection to the endpoint");
            let text = reset("remote connection failure, transport failure reason: ");
            reply(
                call,
                503,
                Flag::UpstreamConnectionFailure,
                &format!("{text}{error}"),
            )
        }
        Failure::Unsent
        | Failure::Stale
        | Failure::Spent
        | Failure::Refused(_)
        | Failure::Reset(_) => {
            if let Failure::Reset(error) | Failure::Refused(error) = failure {
                tracing::debug!(%error, "the endpoint gave no response");
            }
            let text = reset("connection termination");
            reply(call, 503, Flag::UpstreamConnectionTermination, &text)
        }
        Failure::Timeout | Failure::PerTryTimeout => reply(
            call,
            504,
            Flag::UpstreamRequestTimeout,
            "upstream request timeout",
        ),
    }
}

/// The endpoint's response as the caller gets it.
fn answer(
    mut call: Box<Call>,
    plan: &Plan<'_>,
    response: Response<Incoming>,
    lease: Lease,
    deadline: Option<Instant>,
    near: Option<Near>,
) -> Response<ResponseBody> {
    let mut response = response;
    let status = response.status();
    call.status = status.as_u16();
    call.grpc_status = if call.grpc {
        status_of(response.headers())
    } else {
        None
    };
    let switched = match lease.version() {
        Version::Http1 => {
            status == StatusCode::SWITCHING_PROTOCOLS
                || plan.wish == Some(Wish::Connect) && status.is_success()
        }
        Version::Http2 => status.is_success(),
    };
    if let (Some(near), Some(wish), true) = (near, &plan.wish, switched) {
        let (mut headers, far) = Far::of(response);
        let Some(far) = far else {
            return refuse(call, Failure::Unsent);
        };
        headers::strip_hop_by_hop(&mut headers);
        let protocol = plan.downstream == Version::Http1 && *wish != Wish::Connect;
        if protocol {
            wish.write(&mut headers);
        }
        let tunnel = Tunnel {
            far,
            call,
            lease,
            idle: plan.idle,
        };
        let mut answer = Response::new(match near {
            Near::Http1 => ResponseBody::tunnel(tunnel),
            Near::Http2(near) => {
                tunnel.run_http2(near);
                ResponseBody::full(bytes::Bytes::new(), None)
            }
        });
        *answer.headers_mut() = headers;
        *answer.status_mut() = if protocol {
            StatusCode::SWITCHING_PROTOCOLS
        } else {
            StatusCode::OK
        };
        return answer;
    }
    headers::strip_hop_by_hop(response.headers_mut());
    let (parts, body) = response.into_parts();
    let body = ResponseBody::upstream(body, call, lease, plan.idle, deadline);
    Response::from_parts(parts, body)
}

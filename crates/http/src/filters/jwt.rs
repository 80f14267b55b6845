//! Tokens of end users in a request: verified before any rule asks what they say.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hauberk_jwt::{Authenticator, Failure};
use hauberk_policy::{Decision, Metadata};
use hauberk_route::set_path;
use hauberk_telemetry::flags::Flag;
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE,
};
use http::{Method, Request, Uri};

use super::Passed;
use crate::call::Call;
use crate::reply::reply;

/// Verifies the tokens of a request, and keeps what they say for the rules that follow. An answer ends the request.
pub fn authenticate<B>(
    mut call: Box<Call>,
    filter: &Arc<str>,
    authenticator: &Authenticator,
    request: &mut Request<B>,
) -> Passed {
    match verify(filter, authenticator, request) {
        Ok(found) => {
            call.metadata = found.or(call.metadata.take());
            Ok(call)
        }
        Err(failure) => {
            call.decision = Decision::denied(failure.message());
            let connection = Rc::clone(&call.connection);
            connection.open(call.policy());
            let challenge = challenge(
                failure,
                request.headers(),
                request.uri(),
                connection.session.is_some(),
            );
            let mut answer = reply(
                call,
                failure.status(),
                Flag::UnauthorizedExternalService,
                failure.message(),
            );
            if failure.status() == 401
                && let Ok(value) = HeaderValue::from_str(&challenge)
            {
                answer.headers_mut().insert(WWW_AUTHENTICATE, value);
            }
            Err(Box::new(answer))
        }
    }
}

/// What the verified tokens of a request say; `None`: it has none, and needs none.
pub fn verify<B>(
    filter: &Arc<str>,
    authenticator: &Authenticator,
    request: &mut Request<B>,
) -> Result<Option<Metadata>, Failure> {
    authenticator.sanitize(request.headers_mut());
    if authenticator.bypasses_cors_preflight() && is_preflight(request) {
        return Ok(None);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0.0, |since| since.as_secs_f64());
    let accepted = authenticator.authenticate(request.headers(), request.uri(), now)?;
    for one in &accepted {
        let uri = request.uri().clone();
        if let Some(path) = authenticator.pass_on(one, request.headers_mut(), &uri) {
            set_path(request, &path);
        }
    }
    Ok((!accepted.is_empty()).then(|| Metadata {
        filter: Arc::clone(filter),
        values: authenticator.metadata(&accepted),
    }))
}

fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// RFC 6750, 3.
fn challenge(failure: Failure, headers: &HeaderMap, uri: &Uri, secure: bool) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let scheme = if secure { "https" } else { "http" };
    let realm = format!("{scheme}://{}{}", host.unwrap_or_default(), uri.path());
    let realm = realm.replace(['"', '\\'], "");
    match failure {
        Failure::Missing => format!("Bearer realm=\"{realm}\""),
        _ => format!("Bearer realm=\"{realm}\", error=\"invalid_token\""),
    }
}

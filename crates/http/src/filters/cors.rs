//! Cross-origin requests (WHATWG Fetch, "HTTP extensions"), answered as Envoy's filter does.

use std::sync::Arc;

use hauberk_config::route::CorsPolicy;
use hauberk_route::string_fits;
use hauberk_telemetry::flags::Flag;
use hauberk_upstream::random;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};

use super::{Afterward, Afterwards, Passed};
use crate::call::Call;
use crate::incoming::Incoming;
use crate::reply::reply;

/// A request whose origin the policy allows.
pub struct Allowed {
    policy: Arc<CorsPolicy>,
    origin: HeaderValue,
}

/// A preflight request is answered here; to what comes from an allowed origin, headers are added afterwards.
pub fn admit(
    call: Box<Call>,
    policy: &Arc<CorsPolicy>,
    request: &Request<Incoming>,
    after: &mut Afterwards,
) -> Passed {
    match judge(policy, request) {
        Verdict::Other => Ok(call),
        Verdict::Allowed(allowed) => {
            after.0.push(Afterward::Cors(allowed));
            Ok(call)
        }
        Verdict::Foreign => Err(Box::new(reply(call, 200, Flag::None, ""))),
        Verdict::Preflight(allowed) => {
            let mut response = reply(call, 200, Flag::None, "");
            allowed.write_preflight(response.headers_mut());
            Err(Box::new(response))
        }
    }
}

/// What a policy makes of a request.
enum Verdict {
    /// No cross-origin request, or an origin that is not allowed: no header is added, and browsers keep the answer from
    /// the page.
    Other,
    Allowed(Allowed),
    /// A preflight request, answered here.
    Preflight(Allowed),
    /// A preflight request of another origin, to be answered here with nothing in it.
    Foreign,
}

fn judge<B>(policy: &Arc<CorsPolicy>, request: &Request<B>) -> Verdict {
    let headers = request.headers();
    let Some(origin) = headers.get(header::ORIGIN).filter(|one| !one.is_empty()) else {
        return Verdict::Other;
    };
    if !policy.enabled.includes(random()) {
        return Verdict::Other;
    }
    let preflight = request.method() == Method::OPTIONS
        && headers
            .get(header::ACCESS_CONTROL_REQUEST_METHOD)
            .is_some_and(|method| !method.is_empty());
    let allowed = origin.to_str().is_ok_and(|origin| {
        let mut patterns = policy.allow_origins.iter();
        patterns.any(|pattern| string_fits(pattern, origin))
    });
    if !allowed {
        return if preflight && !policy.forward_not_matching_preflights {
            Verdict::Foreign
        } else {
            Verdict::Other
        };
    }
    let allowed = Allowed {
        policy: Arc::clone(policy),
        origin: origin.clone(),
    };
    if preflight {
        Verdict::Preflight(allowed)
    } else {
        Verdict::Allowed(allowed)
    }
}

impl Allowed {
    /// What goes on every answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        if self.policy.allow_credentials {
            let value = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, value);
        }
        let exposed = &self.policy.expose_headers;
        set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// What goes on the answer to a preflight request: Envoy says there what it exposes, too.
    fn write_preflight(&self, headers: &mut HeaderMap) {
        let policy = &self.policy;
        self.write(headers);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, &policy.allow_methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, &policy.allow_headers),
            (header::ACCESS_CONTROL_MAX_AGE, &policy.max_age),
        ] {
            set(headers, name, value);
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value)
        && !value.is_empty()
    {
        headers.insert(name, value);
    }
}

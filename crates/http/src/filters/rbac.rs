//! Role-based access control, asked for each request.

use std::rc::Rc;
use std::sync::Arc;

use hauberk_config::rbac::RbacFilter;
use hauberk_policy::{Access, Asked, Standing};
use hauberk_route::RequestFacts;
use hauberk_telemetry::flags::Flag;
use http::Request;

use super::Passed;
use crate::call::Call;
use crate::headers::caller_address;
use crate::incoming::Incoming;
use crate::reply::reply;

/// Asks a filter's own policies.
pub fn decide(call: Box<Call>, access: &Access, request: &Request<Incoming>) -> Passed {
    let standing = call.connection.settled(access);
    decide_from(call, access, &standing, request)
}

/// Asks the policies that a route has in their place.
pub fn decide_specially(
    call: Box<Call>,
    filter: &Arc<RbacFilter>,
    request: &Request<Incoming>,
) -> Passed {
    let access = call.connection.worker.special_access(filter);
    let standing = access.settle(&call.connection.subject());
    decide_from(call, &access, &standing, request)
}

fn decide_from(
    mut call: Box<Call>,
    access: &Access,
    standing: &Standing,
    request: &Request<Incoming>,
) -> Passed {
    let connection = Rc::clone(&call.connection);
    let (audited, tried, decision) = {
        let subject = connection.subject();
        let asked = asked(&call, request);
        let audited = access.audit(standing, &subject, &asked);
        let tried = access.try_request(standing, &subject, &asked);
        (audited, tried, access.request(standing, &subject, &asked))
    };
    if call.audited.is_none() {
        call.audited = audited;
    }
    if let Some(tried) = tried {
        call.tried = Some(match call.tried.take() {
            Some(before) => before.then(tried),
            None => tried,
        });
    }
    if decision.allowed {
        if !decision.policy.is_empty() || call.decision.policy.is_empty() {
            call.decision = decision;
        }
        return Ok(call);
    }
    call.decision = decision;
    connection.open(call.policy());
    Err(Box::new(reply(
        call,
        403,
        Flag::None,
        "RBAC: access denied",
    )))
}

/// What policies may look at in a request.
pub fn asked<'a>(call: &'a Call, request: &'a Request<Incoming>) -> Asked<'a> {
    let connection = &call.connection;
    let source = connection.facts.source.ip();
    let chain = connection.chain.borrow();
    Asked {
        facts: RequestFacts::of(request),
        remote: chain.http.as_ref().map_or(source, |manager| {
            caller_address(request.headers(), &manager.config.forwarding, source)
        }),
        metadata: call.metadata.as_ref(),
    }
}

//! Role-based access control, asked for each request.

use std::rc::Rc;

use hauberk_policy::{Access, Subject};
use hauberk_route::RequestFacts;
use hauberk_telemetry::flags::Flag;
use http::Request;
use hyper::body::Incoming;

use super::Passed;
use crate::call::Call;
use crate::reply::reply;

pub fn decide(mut call: Box<Call>, access: &Access, request: &Request<Incoming>) -> Passed {
    let connection = Rc::clone(&call.connection);
    let facts = RequestFacts::of(request);
    let (audited, decision) = {
        let subject = Subject {
            metadata: call.metadata.as_ref(),
            ..connection.subject()
        };
        let audited = access.audit(&subject, Some(&facts));
        (audited, access.request(&subject, &facts))
    };
    if call.audited.is_none() {
        call.audited = audited;
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

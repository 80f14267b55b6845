//! Role-based access control, rule by rule.

use std::net::IpAddr;
use std::sync::Arc;

use hauberk_config::rbac::{
    MetadataMatch, MetadataMatcher, Permission, Principal, Rbac, RbacAction, RbacFilter,
};
use hauberk_policy::{Decision, Metadata, Subject};
use http::Request;
use serde_json::Value;

use super::matching::{header, string};

/// A request, for those conditions that speak of one.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub request: &'a Request<()>,
    pub remote: IpAddr,
    pub metadata: Option<&'a Metadata>,
}

/// Whether it is allowed, and the policy that said so.
pub fn decide(
    filter: &RbacFilter,
    subject: &Subject<'_>,
    question: Option<Question<'_>>,
) -> (bool, Arc<str>) {
    let Some(rules) = &filter.rules else {
        return (true, "".into());
    };
    let matched = matched(rules, subject, question);
    match (rules.action, matched) {
        (RbacAction::Allow, Some(name)) => (true, name),
        (RbacAction::Allow, None) => (false, "".into()),
        (RbacAction::Deny, Some(name)) => (false, name),
        (RbacAction::Deny, None) | (RbacAction::Log, _) => (true, "".into()),
    }
}

/// What a decision of the engine says, in the same words.
pub fn verdict(decision: Decision) -> (bool, Arc<str>) {
    (decision.allowed, decision.policy)
}

/// The first policy that matches.
pub fn matched(
    rules: &Rbac,
    subject: &Subject<'_>,
    question: Option<Question<'_>>,
) -> Option<Arc<str>> {
    let policy = rules.policies.iter().find(|policy| {
        let permitted = policy
            .permissions
            .iter()
            .any(|one| permits(one, subject, question));
        let identified = policy
            .principals
            .iter()
            .any(|one| is(one, subject, question));
        permitted && identified
    })?;
    Some(Arc::clone(&policy.name))
}

fn permits(permission: &Permission, subject: &Subject<'_>, question: Option<Question<'_>>) -> bool {
    match permission {
        Permission::Any => true,
        Permission::And(all) => all.iter().all(|one| permits(one, subject, question)),
        Permission::Or(any) => any.iter().any(|one| permits(one, subject, question)),
        Permission::Not(one) => !permits(one, subject, question),
        Permission::Header(matcher) => {
            question.is_some_and(|question| header(matcher, question.request))
        }
        Permission::UrlPath(matcher) => {
            question.is_some_and(|question| string(matcher, question.request.uri().path()))
        }
        Permission::DestinationIp(range) => range.contains(subject.destination.ip()),
        Permission::DestinationPort(port) => subject.destination.port() == *port,
        Permission::DestinationPortRange { start, end } => {
            let port = u32::from(subject.destination.port());
            *start <= port && port < *end
        }
        Permission::RequestedServerName(matcher) => {
            string(matcher, subject.server_name.unwrap_or(""))
        }
        Permission::Metadata(matcher) => metadata(matcher, question),
    }
}

fn is(principal: &Principal, subject: &Subject<'_>, question: Option<Question<'_>>) -> bool {
    match principal {
        Principal::Any => true,
        Principal::And(all) => all.iter().all(|one| is(one, subject, question)),
        Principal::Or(any) => any.iter().any(|one| is(one, subject, question)),
        Principal::Not(one) => !is(one, subject, question),
        Principal::Authenticated(None) => subject.names.is_some(),
        Principal::Authenticated(Some(matcher)) => subject
            .names
            .is_some_and(|names| names.iter().any(|name| string(matcher, name))),
        Principal::PeerPrincipal(matcher) => subject
            .names
            .and_then(<[String]>::first)
            .is_some_and(|name| string(matcher, name)),
        Principal::SourceIp(range) | Principal::DirectRemoteIp(range) => {
            range.contains(subject.source.ip())
        }
        Principal::RemoteIp(range) => {
            range.contains(question.map_or(subject.source.ip(), |question| question.remote))
        }
        Principal::Header(matcher) => {
            question.is_some_and(|question| header(matcher, question.request))
        }
        Principal::UrlPath(matcher) => {
            question.is_some_and(|question| string(matcher, question.request.uri().path()))
        }
        Principal::Metadata(matcher) => metadata(matcher, question),
    }
}

fn metadata(matcher: &MetadataMatcher, question: Option<Question<'_>>) -> bool {
    let found = question
        .and_then(|question| question.metadata)
        .filter(|metadata| *metadata.filter == *matcher.filter)
        .and_then(|metadata| {
            let mut value = &metadata.values;
            for key in &matcher.path {
                value = value.get(key)?;
            }
            Some(value)
        });
    value(&matcher.value, found) != matcher.invert
}

fn value(wanted: &MetadataMatch, found: Option<&Value>) -> bool {
    match wanted {
        MetadataMatch::Present(present) => found.is_some() == *present,
        MetadataMatch::Null => matches!(found, Some(Value::Null)),
        MetadataMatch::Bool(wanted) => matches!(found, Some(Value::Bool(found)) if found == wanted),
        MetadataMatch::String(matcher) => {
            matches!(found, Some(Value::String(text)) if string(matcher, text))
        }
        MetadataMatch::OneOf(wanted) => {
            matches!(found, Some(Value::Array(list)) if list.iter().any(|one| value(wanted, Some(one))))
        }
        MetadataMatch::Or(any) => any.iter().any(|wanted| value(wanted, found)),
    }
}

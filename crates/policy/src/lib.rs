//! Role-based access control as Envoy states it: who may do what, asked for each connection and each request.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;

use hauberk_config::rbac::{
    MetadataMatch, MetadataMatcher, Permission, Principal, Rbac, RbacAction, RbacFilter,
};
use hauberk_route::{RequestFacts, header_fits, string_fits};
use serde_json::Value;

/// A filter's rules.
pub struct Access {
    filter: RbacFilter,
}

/// The connection: who, from where, to where.
pub struct Subject<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub server_name: Option<&'a str>,
    /// URI names of the peer's verified certificate, its DNS names if it has none; `None`: it proved nothing.
    pub names: Option<&'a [String]>,
    /// What a filter found out about the request, such as the claims of its token.
    pub metadata: Option<&'a Metadata>,
}

/// Dynamic metadata of one filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    pub filter: Arc<str>,
    pub values: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// The policy that decided; empty if none had to.
    pub policy: Arc<str>,
    pub reason: Arc<str>,
}

impl Decision {
    pub fn allowed() -> Self {
        Self {
            allowed: true,
            policy: "".into(),
            reason: "".into(),
        }
    }

    /// Refused for a `reason` that is no policy.
    pub fn denied(reason: &str) -> Self {
        Self {
            allowed: false,
            policy: "".into(),
            reason: reason.into(),
        }
    }
}

impl Access {
    pub fn new(filter: &RbacFilter) -> Self {
        Self {
            filter: filter.clone(),
        }
    }

    pub fn connection(&self, subject: &Subject<'_>) -> Decision {
        self.decide(subject, None)
    }

    pub fn request(&self, subject: &Subject<'_>, request: &RequestFacts<'_>) -> Decision {
        self.decide(subject, Some(request))
    }

    /// The first policy that matches of those that decide nothing: shadow rules, or rules whose action is LOG.
    pub fn audit(
        &self,
        subject: &Subject<'_>,
        request: Option<&RequestFacts<'_>>,
    ) -> Option<Arc<str>> {
        let noted = self
            .filter
            .rules
            .iter()
            .filter(|rules| rules.action == RbacAction::Log);
        self.filter
            .shadow_rules
            .iter()
            .chain(noted)
            .find_map(|rules| policy(rules, subject, request))
    }

    fn decide(&self, subject: &Subject<'_>, request: Option<&RequestFacts<'_>>) -> Decision {
        let Some(rules) = &self.filter.rules else {
            return Decision::allowed();
        };
        let matched = policy(rules, subject, request);
        match (rules.action, matched) {
            (RbacAction::Allow, Some(name)) => Decision {
                allowed: true,
                reason: "matched an ALLOW policy".into(),
                policy: name,
            },
            (RbacAction::Allow, None) => Decision {
                allowed: false,
                policy: "".into(),
                reason: "no ALLOW policy matched".into(),
            },
            (RbacAction::Deny, Some(name)) => Decision {
                allowed: false,
                reason: "matched a DENY policy".into(),
                policy: name,
            },
            (RbacAction::Deny, None) | (RbacAction::Log, _) => Decision::allowed(),
        }
    }
}

fn policy(
    rules: &Rbac,
    subject: &Subject<'_>,
    request: Option<&RequestFacts<'_>>,
) -> Option<Arc<str>> {
    rules
        .policies
        .iter()
        .find(|policy| {
            policy
                .permissions
                .iter()
                .any(|one| permits(one, subject, request))
                && policy
                    .principals
                    .iter()
                    .any(|one| is(one, subject, request))
        })
        .map(|policy| Arc::clone(&policy.name))
}

fn permits(
    permission: &Permission,
    subject: &Subject<'_>,
    request: Option<&RequestFacts<'_>>,
) -> bool {
    match permission {
        Permission::Any => true,
        Permission::And(all) => all.iter().all(|one| permits(one, subject, request)),
        Permission::Or(any) => any.iter().any(|one| permits(one, subject, request)),
        Permission::Not(one) => !permits(one, subject, request),
        Permission::Header(matcher) => request.is_some_and(|request| header_fits(matcher, request)),
        Permission::UrlPath(matcher) => {
            request.is_some_and(|request| string_fits(matcher, without_query(request.path)))
        }
        Permission::DestinationIp(range) => range.contains(subject.destination.ip()),
        Permission::DestinationPort(port) => subject.destination.port() == *port,
        Permission::DestinationPortRange { start, end } => {
            (*start..*end).contains(&u32::from(subject.destination.port()))
        }
        Permission::RequestedServerName(matcher) => {
            string_fits(matcher, subject.server_name.unwrap_or_default())
        }
        Permission::Metadata(matcher) => metadata_fits(matcher, subject.metadata),
    }
}

fn is(principal: &Principal, subject: &Subject<'_>, request: Option<&RequestFacts<'_>>) -> bool {
    match principal {
        Principal::Any => true,
        Principal::And(all) => all.iter().all(|one| is(one, subject, request)),
        Principal::Or(any) => any.iter().any(|one| is(one, subject, request)),
        Principal::Not(one) => !is(one, subject, request),
        Principal::Authenticated(matcher) => subject.names.is_some_and(|names| {
            matcher
                .as_ref()
                .is_none_or(|matcher| names.iter().any(|name| string_fits(matcher, name)))
        }),
        Principal::PeerPrincipal(matcher) => subject
            .names
            .and_then(|names| names.first())
            .is_some_and(|name| string_fits(matcher, name)),
        Principal::SourceIp(range)
        | Principal::DirectRemoteIp(range)
        | Principal::RemoteIp(range) => range.contains(subject.source.ip()),
        Principal::Header(matcher) => request.is_some_and(|request| header_fits(matcher, request)),
        Principal::UrlPath(matcher) => {
            request.is_some_and(|request| string_fits(matcher, without_query(request.path)))
        }
        Principal::Metadata(matcher) => metadata_fits(matcher, subject.metadata),
    }
}

fn metadata_fits(matcher: &MetadataMatcher, metadata: Option<&Metadata>) -> bool {
    let found = metadata
        .filter(|metadata| *metadata.filter == *matcher.filter)
        .and_then(|metadata| {
            let mut value = &metadata.values;
            for key in &matcher.path {
                value = value.get(key)?;
            }
            Some(value)
        });
    value_fits(&matcher.value, found) != matcher.invert
}

fn value_fits(wanted: &MetadataMatch, found: Option<&Value>) -> bool {
    match wanted {
        MetadataMatch::Present(present) => found.is_some() == *present,
        MetadataMatch::Null => found.is_some_and(Value::is_null),
        MetadataMatch::Bool(wanted) => found.and_then(Value::as_bool) == Some(*wanted),
        MetadataMatch::String(matcher) => found
            .and_then(Value::as_str)
            .is_some_and(|text| string_fits(matcher, text)),
        MetadataMatch::OneOf(wanted) => found
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|one| value_fits(wanted, Some(one)))),
        MetadataMatch::Or(any) => any.iter().any(|wanted| value_fits(wanted, found)),
    }
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

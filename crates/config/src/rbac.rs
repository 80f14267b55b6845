//! Role-based access control (`envoy.config.rbac.v3`).

use std::sync::Arc;

use serde::Serialize;

use crate::matcher::{HeaderMatcher, PrefixRange, StringMatcher};

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum RbacAction {
    /// Only what a policy matches may pass.
    Allow,
    /// What a policy matches is refused.
    Deny,
    /// What a policy matches is recorded; nothing is refused.
    Log,
}

/// An RBAC filter: rules that are enforced and rules that are only reported. `None`: no rules of that kind.
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Default)]
pub struct RbacFilter {
    pub rules: Option<Arc<Rbac>>,
    pub shadow_rules: Option<Arc<Rbac>>,
    /// Rules in dry run: what they would decide is reported.
    pub dry_run: Option<Arc<Rbac>>,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Rbac {
    pub action: RbacAction,
    /// In the order of their names, as Envoy tries them.
    pub policies: Vec<Policy>,
}

/// Matches if a permission and a principal match.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `ns[NAMESPACE]-policy[NAME]-rule[INDEX]`.
    pub name: Arc<str>,
    pub permissions: Vec<Permission>,
    pub principals: Vec<Principal>,
}

/// What is done.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    Any,
    And(Vec<Permission>),
    Or(Vec<Permission>),
    Not(Box<Permission>),
    Header(HeaderMatcher),
    /// The path without the query.
    UrlPath(StringMatcher),
    DestinationIp(PrefixRange),
    DestinationPort(u16),
    /// Ports in `start..end`.
    DestinationPortRange {
        start: u32,
        end: u32,
    },
    RequestedServerName(StringMatcher),
    Metadata(MetadataMatcher),
}

/// Who does it.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    Any,
    And(Vec<Principal>),
    Or(Vec<Principal>),
    Not(Box<Principal>),
    /// The peer showed a certificate that was verified; with a matcher, one of its URI names (else DNS names) matches.
    Authenticated(Option<StringMatcher>),
    /// Address of the connection's peer, corrected by PROXY protocol where in use.
    SourceIp(PrefixRange),
    /// Address of the connection's peer.
    DirectRemoteIp(PrefixRange),
    /// Address of the caller, from `x-forwarded-for` where trusted.
    RemoteIp(PrefixRange),
    Header(HeaderMatcher),
    UrlPath(StringMatcher),
    Metadata(MetadataMatcher),
    /// Filter state; `io.istio.peer_principal` is the peer's URI name, the only key known.
    PeerPrincipal(StringMatcher),
}

/// Looks at dynamic metadata, such as a verified token's claims.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct MetadataMatcher {
    /// The filter that wrote it.
    pub filter: String,
    pub path: Vec<String>,
    pub value: MetadataMatch,
    pub invert: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum MetadataMatch {
    Present(bool),
    Null,
    Bool(bool),
    String(StringMatcher),
    /// The value is a list with such an element.
    OneOf(Box<MetadataMatch>),
    Or(Vec<MetadataMatch>),
}

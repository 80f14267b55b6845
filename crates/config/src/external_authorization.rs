//! Authorizers outside the proxy (`envoy.extensions.filters.http.ext_authz.v3` and its counterpart for TCP).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::matcher::StringMatcher;
use crate::rbac::RbacFilter;

/// Who is asked about a request, or a TCP connection, and what becomes of it without an answer.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct ExternalAuthorization {
    /// The authorizer's name, for records and metrics.
    pub authorizer: Arc<str>,
    pub service: AuthorizationService,
    /// `None`: every request is asked about.
    pub selection: Option<Selection>,
    /// Without an answer the request passes.
    pub failure_mode_allow: bool,
    /// Without an answer, if it does not pass.
    pub status_on_error: u16,
    /// How much of the request's body is shown; `None`: nothing of it.
    pub body: Option<ShownBody>,
    /// Names of the headers that are shown; `None`: all over gRPC, `authorization` alone over HTTP.
    pub shown_headers: Option<Vec<StringMatcher>>,
    /// Find the route anew once headers were changed.
    pub clear_route_cache: bool,
    /// A change of headers that cannot be is answered 500 instead of being passed over.
    pub validate_mutations: bool,
}

/// Rules of an RBAC filter before this one that decide nothing and select what is asked about.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Selection {
    pub rules: RbacFilter,
    /// What the first policy that matches must be called.
    pub policy: StringMatcher,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct ShownBody {
    pub max_bytes: u32,
    /// Show the first bytes of a larger one instead of answering 413.
    pub allow_partial: bool,
    /// As bytes, not as text.
    pub as_bytes: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationService {
    /// `envoy.service.auth.v3.Authorization/Check`.
    Grpc(GrpcService),
    Http(HttpAuthorization),
}

/// A gRPC service behind a cluster.
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct GrpcService {
    pub cluster: Arc<str>,
    pub authority: String,
    /// For an answer; `None`: no limit.
    pub timeout: Option<Duration>,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct HttpAuthorization {
    pub cluster: Arc<str>,
    /// For an answer.
    pub timeout: Duration,
    pub path_prefix: String,
    /// Set on the request to the authorizer: names in lower case, and values.
    pub headers_to_add: Vec<(String, String)>,
    /// Headers of its answer that the program gets.
    pub upstream_headers: Vec<StringMatcher>,
    pub upstream_headers_to_append: Vec<StringMatcher>,
    /// Headers of its answer that a refused caller gets; empty: all.
    pub client_headers: Vec<StringMatcher>,
    /// Headers of its answer that an allowed caller gets.
    pub client_headers_on_success: Vec<StringMatcher>,
}

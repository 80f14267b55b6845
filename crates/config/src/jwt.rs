//! Tokens of end users (`envoy.extensions.filters.http.jwt_authn.v3`).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct JwtAuthentication {
    pub providers: Vec<JwtProvider>,
    /// Of every request.
    pub requirement: JwtRequirement,
    /// A CORS preflight needs no token.
    pub bypass_cors_preflight: bool,
}

/// Tokens of one issuer.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct JwtProvider {
    /// `iss`; empty: any.
    pub issuer: String,
    /// One of them must be in `aud`; empty: none is asked for.
    pub audiences: Vec<String>,
    /// A JSON Web Key Set.
    pub key_set: Arc<str>,
    /// Headers in which a token is looked for, and what stands before it.
    pub from_headers: Vec<(String, String)>,
    pub from_params: Vec<String>,
    pub from_cookies: Vec<String>,
    /// Leave the token in the request.
    pub forward: bool,
    /// A header that gets the payload as it came, base64url.
    pub payload_header: Option<String>,
    /// Headers that get a claim: name and claim, which may be nested by dots.
    pub claim_headers: Vec<(String, String)>,
    /// Key of the claims in the filter's metadata; empty: they are not put there.
    pub metadata_key: String,
    /// Claims that are lists in a text; in the metadata they are lists.
    pub space_delimited_claims: Vec<String>,
    pub clock_skew: Duration,
    /// A token without `exp` is refused.
    pub require_expiration: bool,
}

/// What a request must have.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum JwtRequirement {
    /// A token of this provider (an index).
    Provider(usize),
    Any(Vec<JwtRequirement>),
    All(Vec<JwtRequirement>),
    /// No token, or a good one.
    AllowMissing,
    /// Anything; a good token is taken note of.
    AllowMissingOrFailed,
}

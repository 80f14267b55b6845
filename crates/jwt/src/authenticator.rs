//! What a filter asks of a request's tokens, and what becomes of the request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hauberk_config::jwt::{JwtAuthentication, JwtProvider, JwtRequirement};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::{Map, Value};

use crate::key_set::KeySet;
use crate::place::{self, Place};
use crate::token::Token;

/// A filter's settings, with keys ready to use.
#[derive(Debug)]
pub struct Authenticator {
    config: JwtAuthentication,
    keys: Vec<KeySet>,
}

/// A token that was verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    provider: usize,
    place: Place,
    /// As it came, base64url.
    payload: String,
    claims: Map<String, Value>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Missing,
    Malformed,
    UnknownIssuer,
    Expired,
    NotYet,
    Unverified,
    Audience,
}

impl Failure {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Audience => 403,
            _ => 401,
        }
    }

    /// What the caller is told.
    pub fn message(self) -> &'static str {
        match self {
            Self::Missing => "Jwt is missing",
            Self::Malformed => "Jwt is not in the form of Header.Payload.Signature",
            Self::UnknownIssuer => "Jwt issuer is not configured",
            Self::Expired => "Jwt is expired",
            Self::NotYet => "Jwt not yet valid",
            Self::Unverified => "Jwt verification fails",
            Self::Audience => "Audiences in Jwt are not allowed",
        }
    }
}

impl Authenticator {
    pub fn new(config: &JwtAuthentication) -> Self {
        let keys = config
            .providers
            .iter()
            .map(|provider| KeySet::parse(&provider.key_set))
            .collect();
        Self {
            config: config.clone(),
            keys,
        }
    }

    pub fn bypasses_cors_preflight(&self) -> bool {
        self.config.bypass_cors_preflight
    }

    /// Takes away what only this filter may say.
    pub fn sanitize(&self, headers: &mut HeaderMap) {
        for provider in &self.config.providers {
            for name in provider.payload_header.iter() {
                headers.remove(name.as_str());
            }
            for (name, _) in &provider.claim_headers {
                headers.remove(name.as_str());
            }
        }
    }

    /// The tokens that fulfil the requirement; none if none was needed. `now`: seconds since 1970.
    ///
    /// # Errors
    /// Why the request is to be refused.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        now: f64,
    ) -> Result<Vec<Accepted>, Failure> {
        self.fulfil(&self.config.requirement, headers, uri, now)
    }

    /// Passes on what a token says, and the token itself only if it is to be. `Some`: the new path and query.
    pub fn pass_on(
        &self,
        accepted: &Accepted,
        headers: &mut HeaderMap,
        uri: &Uri,
    ) -> Option<String> {
        let provider = &self.config.providers[accepted.provider];
        let mut path = None;
        if !provider.forward {
            match &accepted.place {
                Place::Header(name) => {
                    headers.remove(name.as_str());
                }
                Place::Parameter(name) => path = place::without_parameter(uri, name),
                Place::Cookie => {}
            }
        }
        if let Some(name) = &provider.payload_header {
            set(headers, name, &accepted.payload);
        }
        for (name, claim) in &provider.claim_headers {
            if let Some(text) = claim_text(&accepted.claims, claim) {
                set(headers, name, &text);
            }
        }
        path
    }

    /// What rules may ask of a token: its claims under the provider's key.
    pub fn metadata(&self, accepted: &[Accepted]) -> Value {
        let mut metadata = Map::new();
        for one in accepted {
            let provider = &self.config.providers[one.provider];
            if !provider.metadata_key.is_empty() {
                let claims = normalized(provider, one.claims.clone());
                metadata.insert(provider.metadata_key.clone(), Value::Object(claims));
            }
        }
        Value::Object(metadata)
    }

    fn fulfil(
        &self,
        requirement: &JwtRequirement,
        headers: &HeaderMap,
        uri: &Uri,
        now: f64,
    ) -> Result<Vec<Accepted>, Failure> {
        match requirement {
            JwtRequirement::Provider(index) => self.provider(*index, headers, uri, now),
            JwtRequirement::All(all) => {
                let mut accepted = Vec::new();
                for one in all {
                    accepted.extend(self.fulfil(one, headers, uri, now)?);
                }
                Ok(accepted)
            }
            JwtRequirement::Any(any) => self.any(any, headers, uri, now),
            // By themselves they ask every provider, and are content without.
            JwtRequirement::AllowMissing | JwtRequirement::AllowMissingOrFailed => {
                self.any(std::slice::from_ref(requirement), headers, uri, now)
            }
        }
    }

    /// The first that is fulfilled. A failure that speaks of a token comes before "there is none".
    fn any(
        &self,
        any: &[JwtRequirement],
        headers: &HeaderMap,
        uri: &Uri,
        now: f64,
    ) -> Result<Vec<Accepted>, Failure> {
        let mut failure = Failure::Missing;
        for one in any {
            let found = match one {
                JwtRequirement::AllowMissing | JwtRequirement::AllowMissingOrFailed => continue,
                one => self.fulfil(one, headers, uri, now),
            };
            match found {
                Ok(accepted) => return Ok(accepted),
                Err(Failure::Missing) => {}
                Err(Failure::UnknownIssuer) if failure != Failure::Missing => {}
                Err(other) => failure = other,
            }
        }
        let content = any.contains(&JwtRequirement::AllowMissingOrFailed)
            || failure == Failure::Missing && any.contains(&JwtRequirement::AllowMissing);
        if content {
            Ok(Vec::new())
        } else {
            Err(failure)
        }
    }

    /// Every token at the provider's places has to be good: the program may read the one that was not looked at.
    fn provider(
        &self,
        index: usize,
        headers: &HeaderMap,
        uri: &Uri,
        now: f64,
    ) -> Result<Vec<Accepted>, Failure> {
        let provider = &self.config.providers[index];
        let tokens = place::tokens(provider, headers, uri);
        if tokens.is_empty() {
            return Err(Failure::Missing);
        }
        let accept = |(place, text): (Place, String)| {
            let (claims, payload) = verify(provider, &self.keys[index], &text, now)?;
            Ok(Accepted {
                provider: index,
                place,
                payload,
                claims,
            })
        };
        tokens.into_iter().map(accept).collect()
    }
}

fn verify(
    provider: &JwtProvider,
    keys: &KeySet,
    text: &str,
    now: f64,
) -> Result<(Map<String, Value>, String), Failure> {
    let token = Token::parse(text).ok_or(Failure::Malformed)?;
    if !provider.issuer.is_empty() && token.issuer() != Some(&provider.issuer) {
        return Err(Failure::UnknownIssuer);
    }
    let (id, signed) = (token.key_id.as_deref(), token.signed.as_bytes());
    if !keys.verifies(id, &token.algorithm, signed, &token.signature) {
        return Err(Failure::Unverified);
    }
    let skew = provider.clock_skew.as_secs_f64();
    match token.expires {
        Some(moment) if moment + skew < now => return Err(Failure::Expired),
        None if provider.require_expiration => return Err(Failure::Expired),
        _ => {}
    }
    if token.begins.is_some_and(|moment| moment > now + skew) {
        return Err(Failure::NotYet);
    }
    if !provider.audiences.is_empty() && !token.is_for(&provider.audiences) {
        return Err(Failure::Audience);
    }
    let payload = token.payload.to_owned();
    Ok((token.claims, payload))
}

/// Claims that are lists in a text, as lists.
fn normalized(provider: &JwtProvider, mut claims: Map<String, Value>) -> Map<String, Value> {
    for name in &provider.space_delimited_claims {
        if let Some(Value::String(text)) = claims.get(name) {
            let list = text.split(' ').filter(|word| !word.is_empty());
            let list = list.map(|word| Value::String(word.to_owned())).collect();
            claims.insert(name.clone(), Value::Array(list));
        }
    }
    claims
}

/// A claim, nested by dots, as a header says it.
fn claim_text(claims: &Map<String, Value>, path: &str) -> Option<String> {
    let found = match claims.get(path) {
        Some(found) => found,
        None => {
            let mut names = path.split('.');
            let mut found = claims.get(names.next()?)?;
            for name in names {
                found = found.get(name)?;
            }
            found
        }
    };
    match found {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(found.to_string()),
        Value::Null => None,
        Value::Array(_) | Value::Object(_) => Some(URL_SAFE_NO_PAD.encode(found.to_string())),
    }
}

/// A value that no header can hold is not passed on.
fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

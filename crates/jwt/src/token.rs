//! A token taken apart, and what can be asked of it without a key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// A token whose parts can be read; nothing of it is verified yet.
#[derive(Debug)]
pub struct Token<'a> {
    pub algorithm: String,
    pub key_id: Option<String>,
    pub claims: Map<String, Value>,
    /// Header and payload as they were signed.
    pub signed: &'a str,
    pub signature: Vec<u8>,
    /// The payload as it came.
    pub payload: &'a str,
    /// `exp` and `nbf`, seconds since 1970.
    pub expires: Option<f64>,
    pub begins: Option<f64>,
}

impl<'a> Token<'a> {
    /// The parts of a compact serialization (RFC 7515, 7.1); `None`: it is none that is understood.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        let header = object(header)?;
        // Extensions that must be understood (RFC 7515, 4.1.11): none is.
        if header.contains_key("crit") {
            return None;
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(told) => Some(told.as_str()?.to_owned()),
        };
        let claims = object(payload)?;
        Some(Self {
            algorithm: header.get("alg")?.as_str()?.to_owned(),
            key_id,
            expires: moment(&claims, "exp")?,
            begins: moment(&claims, "nbf")?,
            claims,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            payload,
        })
    }

    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Whether `aud`, a text or a list, has one of these.
    pub fn is_for(&self, audiences: &[String]) -> bool {
        let told = match self.claims.get("aud") {
            Some(Value::Array(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        told.iter()
            .filter_map(Value::as_str)
            .any(|one| audiences.iter().any(|wanted| bare(wanted) == bare(one)))
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    match serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()? {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

/// A `NumericDate` that is absent or a number from 0 on; `None`: it is neither.
fn moment(claims: &Map<String, Value>, name: &str) -> Option<Option<f64>> {
    match claims.get(name) {
        None => Some(None),
        Some(told) => told.as_f64().filter(|moment| *moment >= 0.0).map(Some),
    }
}

/// An audience without scheme and last slash, as Envoy compares them.
fn bare(audience: &str) -> &str {
    let rest = audience
        .strip_prefix("https://")
        .or_else(|| audience.strip_prefix("http://"))
        .unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}

//! Where in a request a token lies.

use std::borrow::Cow;

use hauberk_config::jwt::JwtProvider;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;

/// Where a token was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Header(String),
    /// A parameter of the query.
    Parameter(String),
    Cookie,
}

const BEARER: &str = "Bearer ";
const PARAMETER: &str = "access_token";

/// The tokens that a provider looks for, in order; it looks for `Authorization: Bearer` and `access_token` unless it names
/// other places.
pub fn tokens(provider: &JwtProvider, headers: &HeaderMap, uri: &Uri) -> Vec<(Place, String)> {
    let mut found = Vec::new();
    let named = !provider.from_headers.is_empty()
        || !provider.from_params.is_empty()
        || !provider.from_cookies.is_empty();
    if !named {
        in_header(&mut found, headers, AUTHORIZATION.as_str(), BEARER);
        in_query(&mut found, uri, PARAMETER);
        return found;
    }
    for (name, prefix) in &provider.from_headers {
        in_header(&mut found, headers, name, prefix);
    }
    for name in &provider.from_params {
        in_query(&mut found, uri, name);
    }
    for name in &provider.from_cookies {
        in_cookies(&mut found, headers, name);
    }
    found
}

/// The path and query of a request without a parameter.
pub fn without_parameter(uri: &Uri, name: &str) -> Option<String> {
    let query = uri.query()?;
    let rest: Vec<&str> = query
        .split('&')
        .filter(|pair| decoded(pair.split('=').next().unwrap_or_default()) != name)
        .collect();
    let path = uri.path();
    Some(if rest.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", rest.join("&"))
    })
}

fn in_header(found: &mut Vec<(Place, String)>, headers: &HeaderMap, name: &str, prefix: &str) {
    for value in headers.get_all(name) {
        if let Some(token) = String::from_utf8_lossy(value.as_bytes()).strip_prefix(prefix) {
            found.push((Place::Header(name.to_owned()), token.trim().to_owned()));
        }
    }
}

fn in_query(found: &mut Vec<(Place, String)>, uri: &Uri, name: &str) {
    for pair in uri.query().unwrap_or_default().split('&') {
        if let Some((key, value)) = pair.split_once('=')
            && decoded(key) == name
        {
            let token = decoded(value).into_owned();
            found.push((Place::Parameter(name.to_owned()), token));
        }
    }
}

/// A name or value of a query as the program reads it (`application/x-www-form-urlencoded`, the URL Standard, §5.1).
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

fn in_cookies(found: &mut Vec<(Place, String)>, headers: &HeaderMap, name: &str) {
    for value in headers.get_all(COOKIE) {
        for pair in String::from_utf8_lossy(value.as_bytes()).split(';') {
            if let Some((key, value)) = pair.trim().split_once('=')
                && key == name
            {
                found.push((Place::Cookie, value.trim_matches('"').to_owned()));
            }
        }
    }
}

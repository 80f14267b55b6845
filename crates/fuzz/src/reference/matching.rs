//! Strings, headers and addresses of a request, matched as stated.

use std::cell::RefCell;
use std::collections::HashMap;

use hauberk_config::matcher::{HeaderMatch, HeaderMatcher, StringMatcher, StringPattern};
use http::{HeaderMap, Request};
use regex::Regex;

pub fn string(matcher: &StringMatcher, text: &str) -> bool {
    let (text, fold) = if matcher.ignore_case {
        (text.to_ascii_lowercase(), true)
    } else {
        (text.to_owned(), false)
    };
    let literal = |literal: &String| {
        if fold {
            literal.to_ascii_lowercase()
        } else {
            literal.clone()
        }
    };
    match &matcher.pattern {
        StringPattern::Exact(wanted) => text == literal(wanted),
        StringPattern::Prefix(wanted) => text.starts_with(&literal(wanted)),
        StringPattern::Suffix(wanted) => text.ends_with(&literal(wanted)),
        StringPattern::Contains(wanted) => text.contains(&literal(wanted)),
        StringPattern::Regex(pattern) => regex(pattern, &text),
    }
}

/// Whether the whole text matches.
pub fn regex(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Option<Regex>>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        compiled
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(&format!("^(?:{pattern})$")).ok())
            .as_ref()
            .is_some_and(|regex| regex.is_match(text))
    })
}

pub fn header(matcher: &HeaderMatcher, request: &Request<()>) -> bool {
    let value = match matcher.name.as_str() {
        ":method" => Some(request.method().to_string()),
        ":path" => Some(
            request
                .uri()
                .path_and_query()
                .map_or(String::new(), |path| path.to_string()),
        ),
        ":authority" => field(request.headers(), "host"),
        ":scheme" => field(request.headers(), "x-forwarded-proto"),
        name => field(request.headers(), name),
    };
    let value = if matcher.treat_missing_as_empty {
        Some(value.unwrap_or_default())
    } else {
        value
    };
    if let HeaderMatch::Present(wanted) = &matcher.matches {
        return (value.is_some() == *wanted) != matcher.invert;
    }
    let Some(value) = value else {
        return false;
    };
    let fits = match &matcher.matches {
        HeaderMatch::Present(_) => false,
        HeaderMatch::String(matcher) => string(matcher, &value),
        HeaderMatch::Range { start, end } => value
            .parse::<i64>()
            .is_ok_and(|number| number >= *start && number < *end),
    };
    fits != matcher.invert
}

/// All fields of a name, joined by commas.
pub fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

//! Matchers and requests out of choices, from few words, so that they often meet.

use hauberk_config::matcher::{
    HeaderMatch, HeaderMatcher, PrefixRange, StringMatcher, StringPattern,
};
use http::{HeaderName, HeaderValue, Method, Request};

use crate::choices::Choices;

pub const PATHS: [&str; 10] = [
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/A/b",
    "/admin",
    "/admin/",
    "/api/v1/x",
    "/api/v2/x",
    "/ab",
];
pub const HOSTS: [&str; 8] = [
    "a.example",
    "b.example",
    "A.EXAMPLE",
    "a.example:80",
    "x.a.example",
    "other",
    "a.ex",
    "",
];
pub const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "CONNECT"];
pub const HEADERS: [&str; 4] = ["x-user", "x-group", "content-type", "x-number"];
const VALUES: [&str; 8] = [
    "",
    "a",
    "b",
    "ab",
    "AB",
    "7",
    "-3",
    "application/grpc+proto",
];
pub const NAMES: [&str; 6] = [
    "spiffe://cluster.local/ns/a/sa/x",
    "spiffe://cluster.local/ns/a/sa/y",
    "spiffe://cluster.local/ns/b/sa/x",
    "spiffe://other/ns/a/sa/x",
    "spiffe://cluster.local/ns/ab/sa/x/more",
    "a.example",
];
const PATTERNS: [&str; 14] = [
    ".+",
    ".*",
    "spiffe://[^/]+/ns/a/sa/[^/]+",
    ".*/ns/a/.*",
    "spiffe://cluster\\.local/.*",
    "/a/[^/]+",
    "/a/.*",
    "/[^/]*/b",
    "/api/v[0-9]+/x",
    "a|b",
    "(?i)ab",
    ".*example.*",
    "[^/]+",
    "\\-?[0-9]+",
];

/// A matcher of one of `words`, of a part of one, or of a pattern.
pub fn string(choices: &mut Choices<'_>, words: &[&str]) -> StringMatcher {
    let word = choices.pick(words);
    let cut = choices.below(word.len() + 1);
    let pattern = match choices.below(6) {
        0 | 1 => StringPattern::Exact(word.to_owned()),
        2 => StringPattern::Prefix(word[..cut].to_owned()),
        3 => StringPattern::Suffix(word[cut..].to_owned()),
        4 => StringPattern::Contains(word[cut / 2..cut].to_owned()),
        _ => {
            return StringMatcher {
                pattern: StringPattern::Regex(choices.pick(&PATTERNS).to_owned()),
                ignore_case: false,
            };
        }
    };
    StringMatcher {
        pattern,
        ignore_case: choices.once_in(4),
    }
}

pub fn pattern(choices: &mut Choices<'_>) -> String {
    choices.pick(&PATTERNS).to_owned()
}

pub fn header(choices: &mut Choices<'_>) -> HeaderMatcher {
    let (name, words): (&str, &[&str]) = match choices.below(7) {
        0 => (":method", &METHODS),
        1 => (":path", &PATHS),
        2 => (":authority", &HOSTS),
        3 => (":scheme", &["http", "https"]),
        at => (HEADERS[at - 3], &VALUES),
    };
    HeaderMatcher {
        name: name.to_owned(),
        matches: match choices.below(6) {
            0 => HeaderMatch::Present(choices.once_in(2)),
            1 => HeaderMatch::Range {
                start: -5,
                end: i64::from(choices.pick(&[-1, 7, 8])),
            },
            _ => HeaderMatch::String(string(choices, words)),
        },
        invert: choices.once_in(6),
        treat_missing_as_empty: choices.once_in(6),
    }
}

pub fn range(choices: &mut Choices<'_>) -> PrefixRange {
    let address = choices.pick(&["10.0.0.1", "10.0.0.2", "10.1.0.1", "fd00::1"]);
    let length = choices.pick(&[32, 24, 8, 0]);
    address
        .parse()
        .ok()
        .and_then(|address| PrefixRange::new(address, length))
        .unwrap_or_else(|| unreachable!("{address}/{length}"))
}

pub fn request(choices: &mut Choices<'_>) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(choices.pick(&METHODS).as_bytes()).unwrap_or_default();
    let mut target = choices.pick(&PATHS).to_owned();
    if choices.once_in(3) {
        target.push_str(choices.pick(&["?", "?q=a", "?q=b&r=", "?/a", "?q", "?r=1&q=a"]));
    }
    *request.uri_mut() = target.parse().unwrap_or_default();
    let mut add = |name: &'static str, value: &'static str| {
        let value = HeaderValue::from_static(value);
        request
            .headers_mut()
            .append(HeaderName::from_static(name), value);
    };
    if !choices.once_in(8) {
        add("host", choices.pick(&HOSTS));
    }
    if choices.once_in(2) {
        add("x-forwarded-proto", choices.pick(&["http", "https"]));
    }
    for _ in 0..choices.below(5) {
        add(choices.pick(&HEADERS), choices.pick(&VALUES));
    }
    request
}

//! Routing, host by host and route by route.

use std::sync::Arc;

use hauberk_config::matcher::{QueryMatch, QueryMatcher};
use hauberk_config::route::{PathMatch, Route, RouteConfiguration, RouteMatch, VirtualHost};
use http::{Method, Request};

use super::matching::{header, regex, string};

/// The first route that fits, of the host that has the request's authority.
pub fn find<'a>(
    config: &'a RouteConfiguration,
    request: &Request<()>,
    random: u64,
) -> Option<&'a Arc<Route>> {
    let host = virtual_host(config, request)?;
    host.routes
        .iter()
        .find(|route| fits(&route.matches, request, random))
}

/// The host with the most specific domain for the request's authority; of equal ones the last.
pub fn virtual_host<'a>(
    config: &'a RouteConfiguration,
    request: &Request<()>,
) -> Option<&'a VirtualHost> {
    let authority = request.headers().get("host")?.to_str().ok()?.to_lowercase();
    let name = match authority.rsplit_once(':') {
        Some((host, port))
            if config.ignore_port_in_host && port.chars().all(|c| c.is_ascii_digit()) =>
        {
            host
        }
        _ => &authority,
    };
    let mut best: Option<((u8, usize), &VirtualHost)> = None;
    for host in &config.virtual_hosts {
        for domain in &host.domains {
            let Some(rank) = rank(domain, name) else {
                continue;
            };
            if best.is_none_or(|(other, _)| rank >= other) {
                best = Some((rank, host));
            }
        }
    }
    best.map(|(_, host)| host)
}

fn rank(domain: &str, name: &str) -> Option<(u8, usize)> {
    if domain == "*" {
        return Some((0, 0));
    }
    if let Some(suffix) = domain.strip_prefix('*') {
        let fits = name.ends_with(suffix) && name.len() > suffix.len();
        return fits.then_some((2, suffix.len()));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        let fits = name.starts_with(prefix) && name.len() > prefix.len();
        return fits.then_some((1, prefix.len()));
    }
    (domain == name).then_some((3, 0))
}

fn fits(matches: &RouteMatch, request: &Request<()>, random: u64) -> bool {
    let target = request
        .uri()
        .path_and_query()
        .map_or(String::new(), |target| target.to_string());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let fold = |text: &str| {
        if matches.case_sensitive {
            text.to_owned()
        } else {
            text.to_ascii_lowercase()
        }
    };
    let path_fits = match &matches.path {
        PathMatch::Connect => request.method() == Method::CONNECT,
        PathMatch::Prefix(prefix) => fold(path).starts_with(&fold(prefix)),
        PathMatch::Exact(exact) => fold(path) == fold(exact),
        PathMatch::SeparatedPrefix(prefix) => {
            fold(path) == fold(prefix) || fold(path).starts_with(&format!("{}/", fold(prefix)))
        }
        PathMatch::Regex(pattern) => regex(pattern, path),
    };
    let kind = request
        .headers()
        .get("content-type")
        .map(|kind| kind.as_bytes().to_vec());
    let grpc = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
    path_fits
        && (grpc || !matches.grpc)
        && matches
            .headers
            .iter()
            .all(|matcher| header(matcher, request))
        && matches.query.iter().all(|matcher| asks(matcher, query))
        && matches.share.is_none_or(|share| share.includes(random))
}

/// Whether the first parameter of that name is as it must be.
fn asks(matcher: &QueryMatcher, query: &str) -> bool {
    let value = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(name, _)| *name == matcher.name)
        .map(|(_, value)| value);
    match &matcher.matches {
        QueryMatch::Present(wanted) => value.is_some() == *wanted,
        QueryMatch::String(matcher) => value.is_some_and(|value| string(matcher, value)),
    }
}

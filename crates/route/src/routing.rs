//! What a route does to a request and to its answer.

use std::borrow::Cow;
use std::sync::Arc;

use hauberk_config::matcher::{HeaderMatch, HeaderMatcher, StringMatcher, StringPattern};
use hauberk_config::route::{
    AppendAction, ClusterTarget, FilterOverride, Forward, HeaderAddition, HeaderMutations,
    HostRewrite, Mirror, PathMatch, PathRewrite, RedirectPath, RedirectScheme, RetryPolicy, Route,
    RouteAction, VirtualHost, WeightedCluster,
};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};

use crate::header::joined;
use crate::pattern;
use crate::table::Routes;

pub struct Matched {
    pub route: Arc<Route>,
    pub(crate) host: Arc<VirtualHost>,
    /// Drawn once, so that cluster and overrides agree.
    pub(crate) weighted: Option<usize>,
}

pub fn string_fits(matcher: &StringMatcher, text: &str) -> bool {
    // Only case that does not count costs a copy.
    let fold = |text| -> Cow<'_, str> {
        if matcher.ignore_case {
            Cow::Owned(str::to_ascii_lowercase(text))
        } else {
            Cow::Borrowed(text)
        }
    };
    match &matcher.pattern {
        StringPattern::Exact(wanted) if !matcher.ignore_case => text == wanted,
        StringPattern::Exact(wanted) => text.eq_ignore_ascii_case(wanted),
        StringPattern::Prefix(wanted) => fold(text).starts_with(&*fold(wanted)),
        StringPattern::Suffix(wanted) => fold(text).ends_with(&*fold(wanted)),
        StringPattern::Contains(wanted) => fold(text).contains(&*fold(wanted)),
        StringPattern::Regex(wanted) => pattern::fits(wanted, text),
    }
}

pub fn header_fits(matcher: &HeaderMatcher, facts: &RequestFacts<'_>) -> bool {
    let value: Option<Cow<'_, str>> = match matcher.name.as_str() {
        ":method" => Some(facts.method.into()),
        ":path" => Some(facts.path.into()),
        ":authority" => joined(facts.headers, "host"),
        ":scheme" => joined(facts.headers, "x-forwarded-proto"),
        name => joined(facts.headers, name),
    };
    value_fits(matcher, value.as_deref())
}

fn value_fits(matcher: &HeaderMatcher, value: Option<&str>) -> bool {
    let value = if matcher.treat_missing_as_empty {
        Some(value.unwrap_or_default())
    } else {
        value
    };
    let fits = match (&matcher.matches, value) {
        (HeaderMatch::Present(wanted), value) => value.is_some() == *wanted,
        // A missing header fits nothing, inverted or not (Envoy).
        (_, None) => return false,
        (HeaderMatch::String(matcher), Some(value)) => string_fits(matcher, value),
        (HeaderMatch::Range { start, end }, Some(value)) => value
            .parse::<i64>()
            .is_ok_and(|number| (*start..*end).contains(&number)),
    };
    fits != matcher.invert
}

pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub fn headers_fit<B>(matchers: &[HeaderMatcher], request: &Request<B>) -> bool {
    let facts = RequestFacts::of(request);
    matchers.iter().all(|matcher| header_fits(matcher, &facts))
}

/// No matchers: true.
pub fn any_header_fits<B>(matchers: &[HeaderMatcher], request: &Request<B>) -> bool {
    let facts = RequestFacts::of(request);
    matchers.is_empty() || matchers.iter().any(|matcher| header_fits(matcher, &facts))
}

pub fn response_header_fits<B>(matchers: &[HeaderMatcher], response: &Response<B>) -> bool {
    matchers.iter().any(|matcher| {
        let value = joined(response.headers(), matcher.name.as_str());
        value_fits(matcher, value.as_deref())
    })
}

impl Matched {
    fn weighted(&self) -> Option<&WeightedCluster> {
        match &self.route.action {
            RouteAction::Forward(forward) => match &forward.target {
                ClusterTarget::Weighted(clusters) => clusters.get(self.weighted?),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn host(&self) -> &VirtualHost {
        &self.host
    }

    /// What route, virtual host or weighted cluster set for a filter; the most specific.
    pub fn special(&self, filter: &str) -> Option<&FilterOverride> {
        self.weighted()
            .and_then(|one| one.overrides.get(filter))
            .or_else(|| self.route.overrides.get(filter))
            .or_else(|| self.host.overrides.get(filter))
    }

    pub fn cluster(&self, forward: &Forward, headers: &HeaderMap) -> Option<Arc<str>> {
        match &forward.target {
            ClusterTarget::Single(name) => Some(Arc::clone(name)),
            ClusterTarget::Weighted(_) => self.weighted().map(|one| Arc::clone(&one.cluster)),
            ClusterTarget::Header(name) => header_text(headers, name).map(Arc::from),
        }
    }

    /// Whether the endpoint, and whether the caller, is told which attempt it is.
    pub fn tells_attempts(&self) -> (bool, bool) {
        let host = &self.host;
        (
            host.include_attempt_count_in_request,
            host.include_attempt_count_in_response,
        )
    }

    /// Where copies of the request go; the most specific list that is not empty.
    pub fn mirrors<'a>(&'a self, routes: &'a Routes, forward: &'a Forward) -> &'a [Mirror] {
        [
            &forward.mirrors,
            &self.host.mirrors,
            &routes.config().mirrors,
        ]
        .into_iter()
        .find(|mirrors| !mirrors.is_empty())
        .map_or(&[], Vec::as_slice)
    }

    pub fn retry<'a>(&'a self, forward: &'a Forward) -> Option<&'a RetryPolicy> {
        forward.retry.as_deref().or(self.host.retry.as_deref())
    }

    /// Status and `location`.
    pub fn redirect<B>(&self, request: &Request<B>, secure: bool) -> (u16, String) {
        let RouteAction::Redirect(redirect) = &self.route.action else {
            return (500, String::new());
        };
        let scheme = match &redirect.scheme {
            RedirectScheme::Keep if secure => "https",
            RedirectScheme::Keep => "http",
            RedirectScheme::Https => "https",
            RedirectScheme::Other(scheme) => scheme,
        };
        let authority = header_text(request.headers(), "host").unwrap_or_default();
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (name, Some(port))
            }
            _ => (authority, None),
        };
        let name = redirect.host.as_deref().unwrap_or(name);
        let port = redirect.port.map(|port| port.to_string()).or_else(|| {
            port.filter(|_| redirect.scheme == RedirectScheme::Keep)
                .map(str::to_owned)
        });
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let path = request.uri().path();
        let path = match &redirect.path {
            RedirectPath::Keep => path.to_owned(),
            RedirectPath::Replace(path) => path.clone(),
            RedirectPath::Prefix(prefix) => self.replace_prefix(path, prefix),
            RedirectPath::Regex {
                pattern,
                substitution,
            } => pattern::replace(pattern, path, substitution),
        };
        let query = match request.uri().query() {
            Some(query) if !redirect.strip_query && !path.contains('?') => format!("?{query}"),
            _ => String::new(),
        };
        (
            redirect.status,
            format!("{scheme}://{name}{port}{path}{query}"),
        )
    }

    fn replace_prefix(&self, path: &str, replacement: &str) -> String {
        let matched = match &self.route.matches.path {
            PathMatch::Prefix(prefix) | PathMatch::SeparatedPrefix(prefix) => prefix.len(),
            PathMatch::Exact(_) | PathMatch::Regex(_) => path.len(),
            PathMatch::Connect => 0,
        };
        format!("{replacement}{}", path.get(matched..).unwrap_or_default())
    }

    /// `commands` says what stands behind a `%COMMAND%` in a header's value.
    pub fn change_request<B>(
        &self,
        routes: &Routes,
        request: &mut Request<B>,
        commands: &Commands,
    ) {
        if let RouteAction::Forward(forward) = &self.route.action {
            let old = request.uri().path();
            let rewritten = forward.path_rewrite.as_ref().map(|rewrite| match rewrite {
                PathRewrite::Prefix(replacement) => self.replace_prefix(old, replacement),
                PathRewrite::Regex {
                    pattern,
                    substitution,
                } => pattern::replace(pattern, old, substitution),
            });
            if let Some(mut path) = rewritten {
                if let Some(query) = request.uri().query() {
                    path = format!("{path}?{query}");
                }
                set_path(request, &path);
            }
            let host = self
                .weighted()
                .and_then(|one| one.host_rewrite.clone())
                .or_else(|| match &forward.host_rewrite {
                    Some(HostRewrite::Literal(host)) => Some(host.clone()),
                    Some(HostRewrite::Header(name)) => {
                        header_text(request.headers(), name).map(str::to_owned)
                    }
                    Some(HostRewrite::PathRegex {
                        pattern,
                        substitution,
                    }) => Some(pattern::replace(
                        pattern,
                        request.uri().path(),
                        substitution,
                    )),
                    Some(HostRewrite::Auto) | None => None,
                });
            if let Some(value) = host.and_then(|host| HeaderValue::from_str(&host).ok()) {
                if forward.append_x_forwarded_host
                    && let Some(old) = request.headers().get(header::HOST).cloned()
                {
                    request.headers_mut().append("x-forwarded-host", old);
                }
                request.headers_mut().insert(header::HOST, value);
            }
        }
        for level in self.header_levels(routes) {
            add(request.headers_mut(), &level.request_add, commands);
            for name in &level.request_remove {
                request.headers_mut().remove(name.as_str());
            }
        }
    }

    /// The last level wins: the least specific, unless the route configuration says otherwise.
    fn header_levels<'a>(
        &'a self,
        routes: &'a Routes,
    ) -> impl Iterator<Item = &'a HeaderMutations> {
        let mut levels = [
            self.weighted().map(|one| &one.headers),
            Some(&self.route.headers),
            Some(&self.host.headers),
            Some(&routes.config().headers),
        ];
        if routes.config().most_specific_headers_win {
            levels.reverse();
        }
        levels.into_iter().flatten()
    }

    pub fn change_response(&self, routes: &Routes, headers: &mut HeaderMap, commands: &Commands) {
        for level in self.header_levels(routes) {
            add(headers, &level.response_add, commands);
            for name in &level.response_remove {
                headers.remove(name.as_str());
            }
        }
    }
}

/// What stands behind a command of `hauberk_config::route::HEADER_COMMANDS`, if it is known.
pub type Commands<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Puts values in place of `%COMMAND%`s; what is not known is `-`, as in Envoy's logs.
fn filled<'a>(template: &'a str, commands: &Commands) -> Cow<'a, str> {
    if !template.contains('%') {
        return Cow::Borrowed(template);
    }
    let mut text = String::with_capacity(template.len());
    for (index, part) in template.split('%').enumerate() {
        match (index % 2, part) {
            (0, part) => text.push_str(part),
            (_, "") => text.push('%'),
            (_, command) => text.push_str(commands(command).as_deref().unwrap_or("-")),
        }
    }
    Cow::Owned(text)
}

fn add(headers: &mut HeaderMap, additions: &[HeaderAddition], commands: &Commands) {
    for addition in additions {
        let (Ok(name), Ok(value)) = (
            HeaderName::try_from(addition.name.as_str()),
            HeaderValue::from_str(&filled(&addition.value, commands)),
        ) else {
            continue;
        };
        if value.is_empty() && !addition.keep_empty {
            continue;
        }
        let present = headers.contains_key(&name);
        match addition.action {
            AppendAction::AppendOrAdd => {
                headers.append(name, value);
            }
            AppendAction::AddIfAbsent if !present => {
                headers.insert(name, value);
            }
            AppendAction::OverwriteOrAdd => {
                headers.insert(name, value);
            }
            AppendAction::OverwriteIfPresent if present => {
                headers.insert(name, value);
            }
            AppendAction::AddIfAbsent | AppendAction::OverwriteIfPresent => {}
        }
    }
}

/// What rules and routes ask of a request.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    pub method: &'a str,
    /// With the query.
    pub path: &'a str,
    pub headers: &'a HeaderMap,
}

impl<'a> RequestFacts<'a> {
    /// Without the query.
    pub fn path_alone(&self) -> &'a str {
        self.path.split('?').next().unwrap_or_default()
    }

    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method().as_str(),
            path: request
                .uri()
                .path_and_query()
                .map_or("", |path| path.as_str()),
            headers: request.headers(),
        }
    }
}

/// Puts another path (and query) in place of a request's; false: it is no path, and nothing is changed.
pub fn set_path<B>(request: &mut Request<B>, path: &str) -> bool {
    let Ok(path) = PathAndQuery::try_from(path) else {
        return false;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path);
    match Uri::from_parts(parts) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            true
        }
        Err(_) => false,
    }
}

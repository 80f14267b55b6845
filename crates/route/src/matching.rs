//! The routes of one virtual host: the first that fits a request. Many are found by their paths: exact ones by hash,
//! prefixes by a trie, regular expressions by a set.

use std::sync::Arc;

use hauberk_config::matcher::QueryMatch;
use hauberk_config::route::{PathMatch, Route, VirtualHost};
use http::header::CONTENT_TYPE;
use regex::RegexSet;

use crate::header::Header;
use crate::index::Index;
use crate::routing::RequestFacts;
use crate::text::{Landmark, Text};

/// So many are tried one by one.
const FEW: usize = 8;

pub struct Matcher {
    routes: Box<[Entry]>,
    paths: Option<Box<Paths>>,
}

struct Entry {
    route: Arc<Route>,
    /// What is not seen from the route as it is stated.
    more: Option<Box<More>>,
}

struct More {
    pattern: Option<Text>,
    headers: Vec<Header>,
    query: Vec<(String, Query)>,
}

enum Query {
    Present(bool),
    Text(Text),
}

impl Matcher {
    pub fn new(host: &VirtualHost) -> Self {
        let routes: Box<[Entry]> = host.routes.iter().map(Entry::new).collect();
        let paths = (routes.len() > FEW).then(|| Box::new(Paths::new(&routes)));
        Self { routes, paths }
    }

    /// The first route that fits, and its place.
    pub fn find(&self, facts: &RequestFacts<'_>, random: u64) -> Option<(usize, &Arc<Route>)> {
        let fits = |place: usize| {
            let entry = &self.routes[place];
            entry.fits(facts, random).then_some((place, &entry.route))
        };
        match &self.paths {
            None => (0..self.routes.len()).find_map(fits),
            Some(paths) => {
                let found = paths.find(facts.path_alone());
                found.into_iter().find_map(|place| fits(place as usize))
            }
        }
    }
}

impl Entry {
    fn new(route: &Arc<Route>) -> Self {
        let matches = &route.matches;
        let pattern = match &matches.path {
            PathMatch::Regex(pattern) => Some(Text::regex(pattern)),
            _ => None,
        };
        let asks = pattern.is_some() || !matches.headers.is_empty() || !matches.query.is_empty();
        let more = asks.then(|| {
            Box::new(More {
                pattern,
                headers: matches.headers.iter().map(Header::new).collect(),
                query: matches
                    .query
                    .iter()
                    .map(|one| {
                        let wanted = match &one.matches {
                            QueryMatch::Present(wanted) => Query::Present(*wanted),
                            QueryMatch::String(matcher) => Query::Text(Text::new(matcher)),
                        };
                        (one.name.clone(), wanted)
                    })
                    .collect(),
            })
        });
        Self {
            route: Arc::clone(route),
            more,
        }
    }

    fn fits(&self, facts: &RequestFacts<'_>, random: u64) -> bool {
        let matches = &self.route.matches;
        self.path_fits(facts)
            && (!matches.grpc || is_grpc(facts))
            && self.more.as_ref().is_none_or(|more| more.fits(facts))
            && matches.share.is_none_or(|share| share.includes(random))
    }

    fn path_fits(&self, facts: &RequestFacts<'_>) -> bool {
        let path = facts.path_alone();
        let folds = !self.route.matches.case_sensitive;
        match &self.route.matches.path {
            PathMatch::Connect => facts.method == "CONNECT",
            PathMatch::Exact(exact) if folds => path.eq_ignore_ascii_case(exact),
            PathMatch::Exact(exact) => path == exact,
            PathMatch::Prefix(prefix) => after(path, prefix, folds).is_some(),
            PathMatch::SeparatedPrefix(prefix) => after(path, prefix, folds)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
            PathMatch::Regex(_) => {
                let pattern = self.more.as_ref().and_then(|more| more.pattern.as_ref());
                pattern.is_some_and(|pattern| pattern.fits(path))
            }
        }
    }
}

/// What comes after `prefix`, if `path` begins with it.
fn after<'a>(path: &'a str, prefix: &str, folds: bool) -> Option<&'a [u8]> {
    let (begin, rest) = path.as_bytes().split_at_checked(prefix.len())?;
    let same = if folds {
        begin.eq_ignore_ascii_case(prefix.as_bytes())
    } else {
        begin == prefix.as_bytes()
    };
    same.then_some(rest)
}

fn is_grpc(facts: &RequestFacts<'_>) -> bool {
    let kind = facts.headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

impl More {
    fn fits(&self, facts: &RequestFacts<'_>) -> bool {
        let query = facts.path.split_once('?').map_or("", |(_, query)| query);
        self.headers.iter().all(|header| header.fits(facts))
            && self.query.iter().all(|(wanted, matches)| {
                let value = query.split('&').find_map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (name == wanted).then_some(value)
                });
                match matches {
                    Query::Present(wanted) => value.is_some() == *wanted,
                    Query::Text(text) => value.is_some_and(|value| text.fits(value)),
                }
            })
    }
}

/// The places of routes by what their paths need.
struct Paths {
    literals: Index,
    patterns: RegexSet,
    /// The place of each pattern's route.
    of_patterns: Vec<u32>,
    /// Routes that any path may fit.
    others: Vec<u32>,
}

impl Paths {
    fn new(routes: &[Entry]) -> Self {
        let mut literals = Vec::new();
        let (mut patterns, mut of_patterns, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let folded: Vec<String> = routes
            .iter()
            .map(|entry| match &entry.route.matches.path {
                PathMatch::Exact(text)
                | PathMatch::Prefix(text)
                | PathMatch::SeparatedPrefix(text)
                    if !entry.route.matches.case_sensitive =>
                {
                    text.to_ascii_lowercase()
                }
                PathMatch::Exact(text)
                | PathMatch::Prefix(text)
                | PathMatch::SeparatedPrefix(text) => text.clone(),
                PathMatch::Regex(_) | PathMatch::Connect => String::new(),
            })
            .collect();
        for (place, (entry, text)) in (0_u32..).zip(routes.iter().zip(&folded)) {
            let folds = !entry.route.matches.case_sensitive;
            match &entry.route.matches.path {
                PathMatch::Exact(_) => literals.push((Landmark::Exact(text), folds, place)),
                PathMatch::Prefix(_) | PathMatch::SeparatedPrefix(_) => {
                    literals.push((Landmark::Prefix(text), folds, place));
                }
                PathMatch::Regex(pattern) => {
                    let compiled = entry.more.as_ref().and_then(|more| more.pattern.as_ref());
                    match compiled.and_then(Text::landmark) {
                        Some(landmark) => literals.push((landmark, false, place)),
                        None => {
                            patterns.push(format!("^(?:{pattern})$"));
                            of_patterns.push(place);
                        }
                    }
                }
                PathMatch::Connect => others.push(place),
            }
        }
        let patterns = RegexSet::new(&patterns).unwrap_or_else(|error| {
            // Too large as one, or one of them is none: each is tried by itself.
            tracing::debug!(%error, "regular expressions of routes are not searched as one");
            others.append(&mut of_patterns);
            RegexSet::empty()
        });
        Self {
            literals: Index::new(literals),
            patterns,
            of_patterns,
            others,
        }
    }

    /// Routes that may fit, in their order.
    fn find(&self, path: &str) -> Vec<u32> {
        let mut found = self.others.clone();
        self.literals.find(path, &mut found);
        if !self.of_patterns.is_empty() {
            let matched = self.patterns.matches(path).into_iter();
            found.extend(matched.map(|at| self.of_patterns[at]));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

//! Permissions and principals, compiled to one kind of condition, and what they come to where not everything is known.

use hauberk_config::matcher::{HeaderMatch, PrefixRange, StringMatcher};
use hauberk_config::rbac::{Permission, Principal};
use hauberk_route::{AnyText, Field, Header, Landmark, Text};

use crate::claim::Claim;

#[derive(Debug)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Test(Test),
}

/// One look at one fact.
#[derive(Debug)]
pub enum Test {
    /// The peer's certificate was verified.
    Verified,
    /// One of the peer's names.
    Peer(AnyText),
    /// The first of the peer's names.
    FirstName(AnyText),
    SourceIp(PrefixRange),
    /// The caller's address, from `x-forwarded-for` where that is trusted.
    RemoteIp(PrefixRange),
    DestinationIp(PrefixRange),
    /// Ports in `start..end`.
    DestinationPort {
        start: u32,
        end: u32,
    },
    ServerName(AnyText),
    /// The path without the query.
    Path(AnyText),
    Header(Header),
    Claim(Claim),
}

/// What a fact belongs to: one connection, or one request on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Connection,
    Request,
}

/// What is known. `None`: not yet, or not at all.
pub trait Facts {
    fn test(&self, test: &Test) -> Option<bool>;
}

/// Where an index looks for a literal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    Peer,
    ServerName,
    Path,
    Header(Field),
    Claim { filter: String, path: Vec<String> },
}

/// A literal that must be at a place; `bool`: whatever its case.
pub type Need<'a> = (Place, Landmark<'a>, bool);

impl Condition {
    /// Both a permission and a principal.
    pub fn of(permissions: &[Permission], principals: &[Principal]) -> Self {
        all(vec![
            any(permissions.iter().map(permitted).collect()),
            any(principals.iter().map(identified).collect()),
        ])
    }

    /// Three-valued (Kleene): what is not known matters only where the rest does not decide.
    pub fn holds(&self, facts: &impl Facts) -> Option<bool> {
        match self {
            Self::All(all) => decisive(all, facts, false),
            Self::Any(any) => decisive(any, facts, true),
            Self::Not(one) => one.holds(facts).map(|holds| !holds),
            Self::Test(test) => facts.test(test),
        }
    }

    /// Parts of which each must hold: those about the connection alone, and the others.
    pub fn split(self) -> (Self, Self) {
        let parts = match self {
            Self::All(parts) => parts,
            one => vec![one],
        };
        let (connection, request) = parts
            .into_iter()
            .partition(|part| part.scope() == Scope::Connection);
        (Self::All(connection), Self::All(request))
    }

    /// The parts of which each must hold.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::All(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }

    fn scope(&self) -> Scope {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                if parts.iter().all(|part| part.scope() == Scope::Connection) {
                    Scope::Connection
                } else {
                    Scope::Request
                }
            }
            Self::Not(one) => one.scope(),
            Self::Test(test) => test.scope(),
        }
    }

    /// All literals that tests of this scope look for; each may be needed or not.
    pub fn literals<'a>(&'a self, scope: Scope, found: &mut Vec<Need<'a>>) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                for part in parts {
                    part.literals(scope, found);
                }
            }
            Self::Not(_) => {}
            Self::Test(test) => found.extend(test.needs(scope).into_iter().flatten()),
        }
    }

    /// Literals of which one at least must be there if this holds, the rarest such by `weight`; `None`: there are none.
    pub fn needs<'a>(
        &'a self,
        scope: Scope,
        weight: &impl Fn(&Need<'a>) -> usize,
    ) -> Option<Vec<Need<'a>>> {
        match self {
            Self::All(parts) => parts
                .iter()
                .filter_map(|part| part.needs(scope, weight))
                .min_by_key(|needs| needs.iter().map(weight).sum::<usize>()),
            Self::Any(parts) => {
                let each: Option<Vec<_>> =
                    parts.iter().map(|part| part.needs(scope, weight)).collect();
                Some(each?.into_iter().flatten().collect())
            }
            Self::Not(_) => None,
            Self::Test(test) => test.needs(scope),
        }
    }
}

/// `all` (decided by a false part) or `any` (by a true one).
fn decisive(parts: &[Condition], facts: &impl Facts, decider: bool) -> Option<bool> {
    let mut result = Some(!decider);
    for part in parts {
        match part.holds(facts) {
            Some(holds) if holds == decider => return Some(decider),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

impl Test {
    pub fn scope(&self) -> Scope {
        match self {
            Self::Verified
            | Self::Peer(_)
            | Self::FirstName(_)
            | Self::SourceIp(_)
            | Self::DestinationIp(_)
            | Self::DestinationPort { .. }
            | Self::ServerName(_) => Scope::Connection,
            Self::RemoteIp(_) | Self::Path(_) | Self::Header(_) | Self::Claim(_) => Scope::Request,
        }
    }

    fn needs(&self, scope: Scope) -> Option<Vec<Need<'_>>> {
        if scope != self.scope() {
            return None;
        }
        let (place, texts) = match self {
            Self::Peer(texts) | Self::FirstName(texts) => (Place::Peer, texts.landmarks()?),
            Self::ServerName(texts) => (Place::ServerName, texts.landmarks()?),
            Self::Path(texts) => (Place::Path, texts.landmarks()?),
            Self::Header(header) => (
                Place::Header(header.field.clone()),
                header.text()?.landmarks()?,
            ),
            Self::Claim(claim) => (
                Place::Claim {
                    filter: claim.filter.clone(),
                    path: claim.path.clone(),
                },
                claim.landmarks()?,
            ),
            Self::Verified
            | Self::SourceIp(_)
            | Self::RemoteIp(_)
            | Self::DestinationIp(_)
            | Self::DestinationPort { .. } => return None,
        };
        let needs = texts
            .into_iter()
            .map(|(landmark, folds)| (place.clone(), landmark, folds));
        Some(needs.collect())
    }
}

/// Parts that are such conjunctions themselves are taken apart.
fn all(parts: Vec<Condition>) -> Condition {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Condition::All(parts) => flat.extend(parts),
            part => flat.push(part),
        }
    }
    Condition::All(flat)
}

fn any(mut parts: Vec<Condition>) -> Condition {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    Condition::Any(parts)
}

fn permitted(permission: &Permission) -> Condition {
    Condition::Test(match permission {
        Permission::Any => return Condition::All(Vec::new()),
        Permission::And(parts) => return all(parts.iter().map(permitted).collect()),
        Permission::Or(parts) => return any_permitted(parts),
        Permission::Not(one) => return Condition::Not(Box::new(permitted(one))),
        Permission::Header(matcher) => Test::Header(Header::new(matcher)),
        Permission::UrlPath(matcher) => Test::Path(one_text(matcher)),
        Permission::DestinationIp(range) => Test::DestinationIp(*range),
        Permission::DestinationPort(port) => Test::DestinationPort {
            start: u32::from(*port),
            end: u32::from(*port) + 1,
        },
        Permission::DestinationPortRange { start, end } => Test::DestinationPort {
            start: *start,
            end: *end,
        },
        Permission::RequestedServerName(matcher) => Test::ServerName(one_text(matcher)),
        Permission::Metadata(matcher) => Test::Claim(Claim::new(matcher)),
    })
}

fn identified(principal: &Principal) -> Condition {
    Condition::Test(match principal {
        Principal::Any => return Condition::All(Vec::new()),
        Principal::And(parts) => return all(parts.iter().map(identified).collect()),
        Principal::Or(parts) => return any_identified(parts),
        Principal::Not(one) => return Condition::Not(Box::new(identified(one))),
        Principal::Authenticated(None) => Test::Verified,
        Principal::Authenticated(Some(matcher)) => Test::Peer(one_text(matcher)),
        Principal::PeerPrincipal(matcher) => Test::FirstName(one_text(matcher)),
        Principal::SourceIp(range) | Principal::DirectRemoteIp(range) => Test::SourceIp(*range),
        Principal::RemoteIp(range) => Test::RemoteIp(*range),
        Principal::Header(matcher) => Test::Header(Header::new(matcher)),
        Principal::UrlPath(matcher) => Test::Path(one_text(matcher)),
        Principal::Metadata(matcher) => Test::Claim(Claim::new(matcher)),
    })
}

fn one_text(matcher: &StringMatcher) -> AnyText {
    AnyText::new([Text::new(matcher)])
}

/// Many texts for one fact are one test, whose plain ones are found by hash.
fn any_permitted(parts: &[Permission]) -> Condition {
    let paths: Option<Vec<Text>> = parts
        .iter()
        .map(|part| match part {
            Permission::UrlPath(matcher) => Some(Text::new(matcher)),
            _ => None,
        })
        .collect();
    if let Some(paths) = paths {
        return Condition::Test(Test::Path(AnyText::new(paths)));
    }
    let headers = parts.iter().map(|part| match part {
        Permission::Header(matcher) => Some(matcher),
        _ => None,
    });
    any_header(headers).unwrap_or_else(|| any(parts.iter().map(permitted).collect()))
}

fn any_identified(parts: &[Principal]) -> Condition {
    let names: Option<Vec<Text>> = parts
        .iter()
        .map(|part| match part {
            Principal::Authenticated(Some(matcher)) => Some(Text::new(matcher)),
            _ => None,
        })
        .collect();
    if let Some(names) = names {
        return Condition::Test(Test::Peer(AnyText::new(names)));
    }
    let headers = parts.iter().map(|part| match part {
        Principal::Header(matcher) => Some(matcher),
        _ => None,
    });
    any_header(headers).unwrap_or_else(|| any(parts.iter().map(identified).collect()))
}

/// `None`: not all of them look for a text in the same header.
fn any_header<'a>(
    parts: impl Iterator<Item = Option<&'a hauberk_config::matcher::HeaderMatcher>>,
) -> Option<Condition> {
    let mut name: Option<&str> = None;
    let mut texts = Vec::new();
    for part in parts {
        let matcher = part.filter(|one| !one.invert && !one.treat_missing_as_empty)?;
        let HeaderMatch::String(text) = &matcher.matches else {
            return None;
        };
        if *name.get_or_insert(&matcher.name) != matcher.name {
            return None;
        }
        texts.push(Text::new(text));
    }
    Some(Condition::Test(Test::Header(Header::any(
        Field::new(name?),
        texts,
    ))))
}

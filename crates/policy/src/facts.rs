//! What is known of a connection and of a request, as conditions ask for it.

use std::net::{IpAddr, SocketAddr};

use hauberk_route::{AnyText, RequestFacts};

use crate::claim::{Metadata, texts};
use crate::condition::{Facts, Place, Test};
use crate::rules::Places;

/// The connection: who, from where, to where.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub server_name: Option<&'a str>,
    /// URI names of the peer's verified certificate, its DNS names if it has none; `None`: it proved nothing.
    pub names: Option<&'a [String]>,
}

/// A request on it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub facts: RequestFacts<'a>,
    /// The caller's address, from `x-forwarded-for` where that is trusted.
    pub remote: IpAddr,
    /// What a filter found out about the request, such as the claims of its token.
    pub metadata: Option<&'a Metadata>,
}

/// A connection that requests will come on: nothing is known of them yet.
pub struct BeforeRequests<'a>(pub &'a Subject<'a>);

/// A connection without requests: what speaks of one does not hold.
pub struct WithoutRequests<'a>(pub &'a Subject<'a>);

/// A request, and its connection.
pub struct WithRequest<'a>(pub &'a Subject<'a>, pub &'a Asked<'a>);

impl Subject<'_> {
    /// `None`: it is about a request.
    fn test(&self, test: &Test) -> Option<bool> {
        let named = |texts: &AnyText, names: &[String]| names.iter().any(|name| texts.fits(name));
        Some(match test {
            Test::Verified => self.names.is_some(),
            Test::Peer(texts) => self.names.is_some_and(|names| named(texts, names)),
            Test::FirstName(texts) => self
                .names
                .is_some_and(|names| named(texts, &names[..names.len().min(1)])),
            Test::SourceIp(range) => range.contains(self.source.ip()),
            Test::DestinationIp(range) => range.contains(self.destination.ip()),
            Test::DestinationPort { start, end } => {
                (*start..*end).contains(&u32::from(self.destination.port()))
            }
            Test::ServerName(texts) => texts.fits(self.server_name.unwrap_or_default()),
            Test::RemoteIp(_) | Test::Path(_) | Test::Header(_) | Test::Claim(_) => return None,
        })
    }

    fn texts(&self, place: &Place, each: &mut dyn FnMut(&str)) {
        match place {
            Place::Peer => self
                .names
                .unwrap_or_default()
                .iter()
                .for_each(|name| each(name)),
            Place::ServerName => each(self.server_name.unwrap_or_default()),
            Place::Path | Place::Header(_) | Place::Claim { .. } => {}
        }
    }
}

impl Facts for BeforeRequests<'_> {
    fn test(&self, test: &Test) -> Option<bool> {
        self.0.test(test)
    }
}

impl Places for BeforeRequests<'_> {
    fn texts(&self, place: &Place, each: &mut dyn FnMut(&str)) {
        self.0.texts(place, each);
    }
}

impl Facts for WithoutRequests<'_> {
    fn test(&self, test: &Test) -> Option<bool> {
        self.0.test(test).or_else(|| {
            Some(match test {
                Test::RemoteIp(range) => range.contains(self.0.source.ip()),
                Test::Claim(claim) => claim.fits(None),
                _ => false,
            })
        })
    }
}

impl Places for WithoutRequests<'_> {
    fn texts(&self, place: &Place, each: &mut dyn FnMut(&str)) {
        self.0.texts(place, each);
    }
}

impl Facts for WithRequest<'_> {
    fn test(&self, test: &Test) -> Option<bool> {
        self.0.test(test).or_else(|| {
            Some(match test {
                Test::RemoteIp(range) => range.contains(self.1.remote),
                Test::Path(texts) => texts.fits(self.1.facts.path_alone()),
                Test::Header(header) => header.fits(&self.1.facts),
                Test::Claim(claim) => claim.fits(self.1.metadata),
                _ => false,
            })
        })
    }
}

impl Places for WithRequest<'_> {
    fn texts(&self, place: &Place, each: &mut dyn FnMut(&str)) {
        match place {
            Place::Path => each(self.1.facts.path_alone()),
            Place::Header(field) => {
                if let Some(value) = field.value(&self.1.facts) {
                    each(&value);
                }
            }
            Place::Claim { filter, path } => {
                if let Some(value) = self
                    .1
                    .metadata
                    .and_then(|metadata| metadata.at(filter, path))
                {
                    texts(value, &mut |text| each(text));
                }
            }
            Place::Peer | Place::ServerName => self.0.texts(place, each),
        }
    }
}

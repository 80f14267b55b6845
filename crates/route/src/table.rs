//! A route configuration compiled: the route for a request.

use std::borrow::Cow;
use std::sync::Arc;

use hauberk_config::route::{
    ClusterTarget, RequireTls, RouteAction, RouteConfiguration, VirtualHost, WeightedCluster,
};
use http::Request;

use crate::domains::Domains;
use crate::matching::Matcher;
use crate::routing::{Matched, RequestFacts, header_text};

/// A route configuration, ready to be searched.
pub struct Routes {
    config: Arc<RouteConfiguration>,
    domains: Domains,
    /// One for each virtual host.
    hosts: Vec<Matcher>,
    /// Some host is to be called over TLS only.
    requires_tls: bool,
}

impl Routes {
    pub fn new(config: &Arc<RouteConfiguration>) -> Self {
        let stated = &config.virtual_hosts;
        Self {
            domains: Domains::new(stated),
            hosts: stated.iter().map(|host| Matcher::new(host)).collect(),
            requires_tls: stated.iter().any(|host| host.require_tls != RequireTls::No),
            config: Arc::clone(config),
        }
    }

    pub fn config(&self) -> &Arc<RouteConfiguration> {
        &self.config
    }

    /// Whether the host that the request names is to be called over TLS only.
    pub fn requires_tls<B>(&self, request: &Request<B>) -> bool {
        self.requires_tls
            && header_text(request.headers(), "host")
                .and_then(|authority| self.virtual_host(authority))
                .is_some_and(|(host, _)| host.require_tls != RequireTls::No)
    }

    /// `random` decides what is left to chance.
    pub fn find<B>(&self, request: &Request<B>, random: u64) -> Option<Matched> {
        let (host, matcher) = self.virtual_host(header_text(request.headers(), "host")?)?;
        let (_, route) = matcher.find(&RequestFacts::of(request), random)?;
        let weighted = match &route.action {
            RouteAction::Forward(forward) => match &forward.target {
                ClusterTarget::Weighted(clusters) => draw(clusters, random),
                _ => None,
            },
            _ => None,
        };
        Some(Matched {
            route: Arc::clone(route),
            host: Arc::clone(host),
            weighted,
        })
    }

    fn virtual_host(&self, authority: &str) -> Option<(&Arc<VirtualHost>, &Matcher)> {
        let name = if self.config.ignore_port_in_host {
            without_port(authority)
        } else {
            authority
        };
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        let hosts = &self.config.virtual_hosts;
        let number = self.domains.find(hosts, &name)? as usize;
        Some((hosts.get(number)?, self.hosts.get(number)?))
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn draw(clusters: &[WeightedCluster], random: u64) -> Option<usize> {
    let total: u64 = clusters.iter().map(|one| u64::from(one.weight)).sum();
    let mut left = (random >> 20).checked_rem(total)?;
    clusters.iter().position(|one| {
        let weight = u64::from(one.weight);
        if left < weight {
            return true;
        }
        left -= weight;
        false
    })
}

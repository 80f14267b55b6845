//! What there is to say of a call, or of a TCP connection, that has ended: the source of access logs and spans.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hauberk_telemetry::entry::{Entry, Http, Tls};
use hauberk_telemetry::flags::{Flag, Flags};
use hauberk_tls::Session;
use http::HeaderValue;

use crate::access_log::protocol;
use crate::call::Call;
use crate::connection::Connection;

/// Bytes of one text that a caller wrote: 256 entries of a message stay below the 4 MiB that gRPC takes by default.
const MOST_TEXT: usize = 1024;

/// `call` is none for a TCP connection.
pub struct Ended<'a> {
    pub connection: &'a Connection,
    pub call: Option<&'a Call>,
    /// From the caller.
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Ended<'_> {
    pub fn flags(&self) -> Flags {
        self.call
            .map_or_else(|| self.connection.flags.get(), |call| call.flags)
    }

    pub fn duration(&self) -> Duration {
        self.call
            .map_or_else(|| self.connection.age(), |call| call.started.elapsed())
    }

    pub fn cluster(&self) -> Option<Arc<str>> {
        match self.call {
            Some(call) => {
                let cluster = call.cluster.as_ref()?;
                Some(Arc::clone(&cluster.target.config.name))
            }
            None => self.connection.cluster.borrow().clone(),
        }
    }

    /// The endpoint's address.
    pub fn upstream(&self) -> Option<SocketAddr> {
        match self.call {
            Some(call) => call.host.as_ref().map(|host| host.address),
            None => self.connection.far_address(),
        }
    }

    pub fn upstream_session(&self) -> Option<Rc<Session>> {
        match self.call {
            Some(call) => call.session.clone(),
            None => self.connection.far_session(),
        }
    }

    pub fn audited(&self) -> Option<Arc<str>> {
        match self.call {
            Some(call) => call.audited.clone(),
            None => self.connection.audited(),
        }
    }

    /// All of it, for a collector.
    pub fn entry(&self) -> Entry {
        let facts = &self.connection.facts;
        let duration = self.duration();
        Entry {
            started: started(duration),
            duration,
            remote: facts.source,
            local: facts.destination,
            upstream: self.upstream(),
            cluster: self.cluster(),
            flags: self.flags(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            tls: self.connection.session.as_ref().map(|session| Tls {
                version: session.version,
                server_name: facts.server_name.clone().unwrap_or_default(),
                own: session.own.uris.clone(),
                peer: session
                    .peer
                    .as_ref()
                    .filter(|peer| peer.verified)
                    .map_or_else(Vec::new, |peer| peer.names.uris.clone()),
            }),
            audit: self.audited(),
            http: self.call.map(|call| self.http(call)),
        }
    }

    fn http(&self, call: &Call) -> Http {
        let header = |name: &str| {
            let headers = call.headers.as_ref();
            text(headers.and_then(|headers| headers.get(name)))
        };
        Http {
            protocol: protocol(call.version),
            method: call.method.to_string(),
            scheme: if self.connection.session.is_some() {
                "https"
            } else {
                "http"
            },
            authority: text(call.authority.as_ref()),
            path: cut(call.path()).to_owned(),
            user_agent: header("user-agent"),
            referer: header("referer"),
            forwarded_for: header("x-forwarded-for"),
            request_id: text(call.request_id.as_ref()),
            details: self.details().unwrap_or_default(),
            status: call.status,
            route: Arc::clone(&call.route),
        }
    }

    /// Envoy's response code details, where they are known: whose answer it was, or which rule refused.
    pub fn details(&self) -> Option<String> {
        let call = self.call?;
        if !call.decision.allowed {
            let policy = match &*call.decision.policy {
                "" => "none",
                name => name,
            };
            return Some(format!("rbac_access_denied_matched_policy[{policy}]"));
        }
        let said = [
            (Flag::NoRoute, "route_not_found"),
            (Flag::NoCluster, "cluster_not_found"),
            (Flag::NoHealthyUpstream, "no_healthy_upstream"),
            (Flag::FaultInjected, "fault_filter_abort"),
        ];
        if let Some((_, text)) = said.iter().find(|(flag, _)| call.flags.contains(*flag)) {
            return Some((*text).to_owned());
        }
        let unharmed = call
            .flags
            .iter()
            .all(|flag| matches!(flag, Flag::DelayInjected | Flag::UpstreamRetryLimitExceeded));
        (call.host.is_some() && unharmed).then(|| "via_upstream".to_owned())
    }
}

/// When something began that took so long until now.
pub fn started(duration: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(duration).unwrap_or(now)
}

/// A header's text, cut.
pub fn text(value: Option<&HeaderValue>) -> String {
    let text = value.and_then(|value| value.to_str().ok());
    cut(text.unwrap_or_default()).to_owned()
}

/// Callers write these texts, and thousands of them wait for a collector that is away: no one is longer than `MOST_TEXT`.
pub fn cut(text: &str) -> &str {
    let mut end = text.len().min(MOST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"a".repeat(70_000)).len(), MOST_TEXT);
        let long = format!("a{}", "é".repeat(MOST_TEXT));
        assert_eq!(cut(&long).len(), MOST_TEXT - 1);
    }
}

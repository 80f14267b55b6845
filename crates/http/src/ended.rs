//! What there is to say of a call, or of a TCP connection, that has ended: the source of access logs and spans.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hauberk_telemetry::flags::Flag;
use hauberk_tls::Session;

use crate::call::Call;
use crate::connection::Connection;

/// `call` is none for a TCP connection.
pub struct Ended<'a> {
    pub connection: &'a Connection,
    pub call: Option<&'a Call>,
    /// From the caller.
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Ended<'_> {
    pub fn flag(&self) -> Flag {
        self.call
            .map_or_else(|| self.connection.flag.get(), |call| call.flag)
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
        match call.flag {
            Flag::None if call.host.is_some() => Some("via_upstream".to_owned()),
            Flag::NoRoute => Some("route_not_found".to_owned()),
            Flag::NoCluster => Some("cluster_not_found".to_owned()),
            Flag::NoHealthyUpstream => Some("no_healthy_upstream".to_owned()),
            Flag::FaultInjected => Some("fault_filter_abort".to_owned()),
            _ => None,
        }
    }
}

//! Who called whom, as the labels of metrics have it.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::record::Reporter;

/// One side of an edge; what is not known is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    pub workload: Arc<str>,
    pub namespace: Arc<str>,
    pub app: Arc<str>,
    pub version: Arc<str>,
    /// SPIFFE ID.
    pub principal: Arc<str>,
}

impl Peer {
    /// As much as an identity tells: `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, the account standing for the workload.
    pub fn of_principal(principal: &str) -> Self {
        let mut parts = principal.rsplit('/');
        let (account, _, namespace) = (parts.next(), parts.next(), parts.next());
        Self {
            workload: account.unwrap_or_default().into(),
            namespace: namespace.unwrap_or_default().into(),
            app: Arc::from(""),
            version: Arc::from(""),
            principal: principal.into(),
        }
    }
}

/// What an edge is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ends {
    pub reporter: Reporter,
    pub source: Peer,
    pub destination: Peer,
    /// Host of the service that was called.
    pub service: Arc<str>,
    pub mutual_tls: bool,
}

/// Who called whom. Its hash is reckoned once, since every request looks its series up by it.
#[derive(Debug, Clone)]
pub struct Edge {
    ends: Ends,
    hash: u64,
}

impl From<Ends> for Edge {
    fn from(ends: Ends) -> Self {
        let mut hasher = DefaultHasher::new();
        ends.hash(&mut hasher);
        Self {
            hash: hasher.finish(),
            ends,
        }
    }
}

impl Hash for Edge {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialEq for Edge {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.hash == other.hash && self.ends == other.ends)
    }
}

impl Eq for Edge {}

impl Edge {
    pub fn reporter(&self) -> Reporter {
        self.ends.reporter
    }

    /// Host of the service that was called.
    pub fn service(&self) -> &Arc<str> {
        &self.ends.service
    }

    /// Under Istio's names (Istio, "Standard Metrics").
    pub(crate) fn labels(&self) -> String {
        let Ends {
            reporter,
            source,
            destination,
            service,
            mutual_tls,
        } = &self.ends;
        let security = match (reporter, mutual_tls) {
            // The caller's side cannot vouch for the whole way (Istio's reading).
            (Reporter::Outbound, false) => "unknown",
            (_, true) => "mutual_tls",
            (Reporter::Inbound, false) => "none",
        };
        let mut labels = format!("reporter=\"{}\"", reporter_name(*reporter));
        for (side, peer) in [("source", source), ("destination", destination)] {
            for (name, value) in [
                ("workload", &peer.workload),
                ("workload_namespace", &peer.namespace),
                ("app", &peer.app),
                ("version", &peer.version),
                ("principal", &peer.principal),
            ] {
                let _ = write!(labels, ",{side}_");
                label(&mut labels, name, value);
            }
        }
        let mut parts = service.split('.');
        for (name, value) in [
            ("destination_service", &**service),
            ("destination_service_name", parts.next().unwrap_or_default()),
            (
                "destination_service_namespace",
                parts.next().unwrap_or_default(),
            ),
        ] {
            labels.push(',');
            label(&mut labels, name, value);
        }
        let _ = write!(labels, ",connection_security_policy=\"{security}\"");
        labels
    }
}

/// As Istio calls the side that counts.
pub(crate) fn reporter_name(reporter: Reporter) -> &'static str {
    match reporter {
        Reporter::Inbound => "destination",
        Reporter::Outbound => "source",
    }
}

/// One label; an empty value is `unknown`, as Istio has it.
pub(crate) fn label(labels: &mut String, name: &str, value: &str) {
    let value = if value.is_empty() { "unknown" } else { value };
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    let _ = write!(labels, "{name}=\"{escaped}\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_tells_account_and_namespace() {
        let peer = Peer::of_principal("spiffe://cluster.local/ns/bank/sa/web");
        assert_eq!((&*peer.workload, &*peer.namespace), ("web", "bank"));
        let nobody = Peer::of_principal("");
        assert_eq!((&*nobody.workload, &*nobody.namespace), ("", ""));
    }

    #[test]
    fn equal_edges_are_one_series_and_others_are_not() {
        let ends = |service: &str| Ends {
            reporter: Reporter::Inbound,
            source: Peer::of_principal("spiffe://d/ns/a/sa/b"),
            destination: Peer::of_principal(""),
            service: service.into(),
            mutual_tls: true,
        };
        let edge = |service| Edge::from(ends(service));
        let known = std::collections::HashSet::from([edge("x"), edge("x"), edge("y")]);
        assert_eq!(known.len(), 2);
    }

    #[test]
    fn labels_are_istio_s() {
        let edge = Edge::from(Ends {
            reporter: Reporter::Outbound,
            source: Peer::of_principal("spiffe://d/ns/a/sa/b"),
            destination: Peer::of_principal("spiffe://d/ns/c/sa/\"d"),
            service: "web.bank.svc.cluster.local".into(),
            mutual_tls: true,
        });
        let labels = edge.labels();
        for wanted in [
            "reporter=\"source\"",
            "source_workload=\"b\"",
            "source_workload_namespace=\"a\"",
            "source_app=\"unknown\"",
            "destination_workload=\"\\\"d\"",
            "destination_service_name=\"web\"",
            "destination_service_namespace=\"bank\"",
            "connection_security_policy=\"mutual_tls\"",
        ] {
            assert!(labels.contains(wanted), "{wanted} in {labels}");
        }
    }
}

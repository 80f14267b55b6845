//! One accepted connection: who called whom, what was proved and decided. TCP and HTTP share it.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hauberk_config::endpoint::Workload;
use hauberk_config::listener::{Direction, Traffic};
use hauberk_telemetry::edge::{Edge, Ends, Peer};
use hauberk_telemetry::flags::{Flag, Flags};
use hauberk_telemetry::metrics::{AuditKey, ConnectionKey, DryRunKey};
use hauberk_telemetry::record::{self, Counters, Id, Party, Phase, Record, Reporter, Verdict};
use hauberk_telemetry::timestamp::Timestamp;
use hauberk_tls::Session;
use hauberk_upstream::{Cluster, Host};
use tokio::time::Instant;

use crate::ended::Ended;
use crate::listener::{Chain, Facts, Listener, Transport};
use crate::pool::Pool;
use crate::worker::Worker;
use hauberk_policy::{Access, Decision, Standing as Settled, Subject};

pub struct Connection {
    pub worker: Rc<Worker>,
    pub id: Id,
    pub facts: Facts,
    pub session: Option<Rc<Session>>,
    pub reporter: Reporter,
    pub listener: RefCell<Arc<Listener>>,
    pub chain: RefCell<Arc<Chain>>,
    generation: Cell<u64>,
    started: Instant,
    opened: Cell<bool>,
    verdict: RefCell<Option<record::Policy>>,
    /// The AUDIT policy that matched the connection itself.
    audited: RefCell<Option<Arc<str>>>,
    /// What the policies in dry run would have decided on the connection itself.
    dry_run: RefCell<Option<record::DryRun>>,
    /// What this connection settles of the chain's HTTP policies, for as long as the chain stays.
    settled: RefCell<Vec<(*const Access, Rc<Settled>)>>,
    /// The authorizer that was asked about the connection itself.
    pub authorizer: RefCell<Option<Arc<str>>>,
    pub bytes_in: Cell<u64>,
    pub bytes_out: Cell<u64>,
    pub flags: Cell<Flags>,
    /// Where a TCP connection goes.
    pub cluster: RefCell<Option<Arc<str>>>,
    /// Toward the first endpoint: its address and what it proved.
    far: RefCell<Option<Far>>,
    edges: RefCell<Vec<(*const (), Arc<Edge>)>>,
    /// Requests so far, and those under way; of HTTP connections.
    pub requests: Cell<u32>,
    active: Cell<u32>,
    idle_since: Cell<Instant>,
}

struct Far {
    address: SocketAddr,
    session: Option<Rc<Session>>,
    service: Arc<str>,
}

/// Why a connection may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Good,
    /// Its listener or chain is gone: finish what is under way.
    Removed,
    /// A policy forbids it now.
    Forbidden,
}

impl Connection {
    pub fn new(
        worker: Rc<Worker>,
        listener: Arc<Listener>,
        chain: Arc<Chain>,
        facts: Facts,
        session: Option<Session>,
    ) -> Rc<Self> {
        let reporter = match listener.config.direction {
            Direction::Inbound => Reporter::Inbound,
            Direction::Outbound | Direction::Unspecified => Reporter::Outbound,
        };
        worker.connections.set(worker.connections.get() + 1);
        Rc::new(Self {
            id: Worker::new_id(),
            generation: Cell::new(worker.state().generation),
            worker,
            facts,
            session: session.map(Rc::new),
            reporter,
            listener: RefCell::new(listener),
            chain: RefCell::new(chain),
            started: Instant::now(),
            opened: Cell::new(false),
            verdict: RefCell::new(None),
            audited: RefCell::new(None),
            dry_run: RefCell::new(None),
            settled: RefCell::default(),
            authorizer: RefCell::new(None),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            flags: Cell::default(),
            cluster: RefCell::new(None),
            far: RefCell::new(None),
            edges: RefCell::default(),
            requests: Cell::new(0),
            active: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
        })
    }

    /// A connection that is closed before any filter sees it; there to be recorded.
    pub fn refused(worker: Rc<Worker>, listener: Arc<Listener>, facts: Facts) -> Rc<Self> {
        let chain = Arc::clone(Chain::closed());
        Self::new(worker, listener, chain, facts, None)
    }

    pub fn peer_id(&self) -> Option<&str> {
        self.session.as_ref().and_then(|session| session.peer_id())
    }

    /// The caller's address and mark, if endpoints should see that (`original_src`).
    pub fn caller(&self) -> Option<(IpAddr, u32)> {
        let listener = self.listener.borrow();
        let Traffic::Tcp(tcp) = &listener.config.traffic else {
            return None;
        };
        let original = tcp.inspection.original_source?;
        Some((self.facts.source.ip(), original.mark))
    }

    /// What RBAC knows of the connection.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            source: self.facts.source,
            destination: self.facts.destination,
            server_name: self.facts.server_name.as_deref(),
            names: self
                .session
                .as_ref()
                .and_then(|session| session.peer.as_ref())
                .filter(|peer| peer.verified)
                .map(|peer| {
                    let names = &peer.names;
                    if names.uris.is_empty() {
                        names.dns.as_slice()
                    } else {
                        names.uris.as_slice()
                    }
                }),
        }
    }

    /// Asks the chain's network RBAC; the first that refuses decides.
    pub fn decide(&self) -> Decision {
        let chain = Arc::clone(&self.chain.borrow());
        decide(&chain.rbac, |access| access.connection(&self.subject()))
    }

    /// What this connection settles of `access`, which is of its chain, or was when a request began; looked up once.
    pub fn settled(&self, access: &Access) -> Rc<Settled> {
        let mut settled = self.settled.borrow_mut();
        let known = settled
            .iter()
            .find(|(known, _)| std::ptr::eq(*known, access));
        if let Some((_, standing)) = known {
            return Rc::clone(standing);
        }
        let standing = Rc::new(access.settle(&self.subject()));
        settled.push((access, Rc::clone(&standing)));
        standing
    }

    /// Asks the chain's network RBAC, then its authorizers; the first that refuses decides.
    pub async fn admit(self: &Rc<Self>) -> Decision {
        let mut decision = self.decide();
        if !decision.allowed {
            return decision;
        }
        let chain = Arc::clone(&self.chain.borrow());
        for authorizer in &chain.authorizers {
            match authorizer.connection(self).await {
                Ok(Some(allowed)) if decision.policy.is_empty() => decision = allowed,
                Ok(_) => {}
                Err(denied) => {
                    self.flags.set(Flag::UnauthorizedExternalService.into());
                    return denied;
                }
            }
        }
        decision
    }

    /// Asks the chain's policies in dry run and its AUDIT policies, once; they decide nothing.
    pub fn audit(&self) {
        let chain = Arc::clone(&self.chain.borrow());
        let subject = self.subject();
        let tries = chain
            .rbac
            .iter()
            .filter_map(|rbac| rbac.try_connection(&subject));
        if let Some(tried) = tries.reduce(Decision::then) {
            self.tried(&tried);
            *self.dry_run.borrow_mut() = Some(dry_run(&tried));
        }
        let Some(policy) = chain
            .rbac
            .iter()
            .find_map(|rbac| rbac.audit_connection(&subject))
        else {
            return;
        };
        self.worker.metrics.audited(AuditKey {
            policy: Arc::clone(&policy),
            source_principal: text(self.peer_id()),
        });
        *self.audited.borrow_mut() = Some(policy);
    }

    /// Counts what the policies in dry run would have decided.
    pub fn tried(&self, decision: &Decision) {
        self.worker.metrics.tried(DryRunKey {
            verdict: verdict(decision),
            policy: Arc::clone(&decision.policy),
            source_principal: text(self.peer_id()),
        });
    }

    pub fn audited(&self) -> Option<Arc<str>> {
        self.audited.borrow().clone()
    }

    /// Looks again after a change of the program.
    pub fn reconsider(&self) -> Standing {
        let state = self.worker.state();
        if state.generation == self.generation.get() {
            return Standing::Good;
        }
        self.generation.set(state.generation);
        let program = self.worker.program();
        let name = Arc::clone(&self.listener.borrow().config.name);
        let Some(listener) = program.listeners.get(&name) else {
            return Standing::Removed;
        };
        if Arc::ptr_eq(listener, &self.listener.borrow()) {
            return Standing::Good;
        }
        let Some(chain) = listener.chain(&self.facts) else {
            return Standing::Forbidden;
        };
        let was_tls = self.session.is_some();
        let is_tls = !matches!(chain.transport, Transport::Plain);
        if was_tls != is_tls {
            return Standing::Forbidden;
        }
        let was_http = self.chain.borrow().http.is_some();
        let unasked = {
            let earlier = self.chain.borrow();
            let mut authorizers = chain.authorizers.iter();
            authorizers.any(|one| one.is_news(self, &earlier.authorizers))
        };
        *self.listener.borrow_mut() = Arc::clone(listener);
        *self.chain.borrow_mut() = Arc::clone(chain);
        self.edges.borrow_mut().clear();
        self.settled.borrow_mut().clear();
        if was_http != chain.http.is_some() {
            return Standing::Removed;
        }
        if !unasked && self.decide().allowed {
            Standing::Good
        } else {
            Standing::Forbidden
        }
    }

    pub fn policy(&self, decision: &Decision) -> record::Policy {
        record::Policy {
            revision: Arc::clone(&self.listener.borrow().config.policy_revision),
            verdict: verdict(decision),
            policy: Arc::clone(&decision.policy),
            reason: Arc::clone(&decision.reason),
            audit: self.audited(),
            dry_run: self.dry_run.borrow().clone(),
            authorizer: self.authorizer.borrow().clone(),
        }
    }

    /// Remembers the endpoint, for the record.
    pub fn reached(
        &self,
        cluster: &Cluster<Pool>,
        host: &Host<Pool>,
        session: Option<&Rc<Session>>,
    ) {
        if self.far.borrow().is_none() {
            *self.far.borrow_mut() = Some(Far {
                address: host.address,
                session: session.cloned(),
                service: service_of(cluster),
            });
        }
    }

    pub fn far_address(&self) -> Option<SocketAddr> {
        Some(self.far.borrow().as_ref()?.address)
    }

    pub fn far_session(&self) -> Option<Rc<Session>> {
        self.far.borrow().as_ref()?.session.clone()
    }

    /// Records the opening, once; the first verdict counts for the connection.
    pub fn open(&self, policy: record::Policy) {
        if self.opened.replace(true) {
            return;
        }
        *self.verdict.borrow_mut() = Some(policy);
        self.record(Phase::Open, None);
    }

    /// A later verdict, such as a policy that was tightened.
    pub fn judged(&self, policy: record::Policy) {
        *self.verdict.borrow_mut() = Some(policy);
    }

    fn record(&self, phase: Phase, counters: Option<Counters>) {
        let listener = self.listener.borrow();
        let far = self.far.borrow();
        let peer = self.session.as_ref().and_then(|session| {
            let peer = session.peer.as_ref().filter(|peer| peer.verified)?;
            Some((text(peer.names.spiffe_id()), text(Some(&peer.names.serial))))
        });
        let own = |session: &Session| {
            (
                text(session.own.spiffe_id()),
                text(Some(&session.own.serial)),
            )
        };
        let none = || (text(None), text(None));
        let far_session = far.as_ref().and_then(|far| far.session.as_ref());
        let (source, destination, tls) = match self.reporter {
            Reporter::Inbound => (
                peer.unwrap_or_else(none),
                self.session.as_deref().map_or_else(none, own),
                self.session.as_deref(),
            ),
            Reporter::Outbound => (
                far_session.map_or_else(none, |session| own(session)),
                far_session
                    .and_then(|session| session.peer.as_ref())
                    .filter(|peer| peer.verified)
                    .map_or_else(none, |peer| {
                        (text(peer.names.spiffe_id()), text(Some(&peer.names.serial)))
                    }),
                far_session.map(|session| &**session),
            ),
        };
        let address = match (self.reporter, far.as_ref()) {
            (Reporter::Outbound, Some(far)) => far.address,
            _ => self.facts.destination,
        };
        let service = Some(&listener.config.service)
            .filter(|service| !service.is_empty())
            .cloned()
            .or_else(|| far.as_ref().map(|far| Arc::clone(&far.service)))
            .unwrap_or_else(|| text(None));
        let policy = self.verdict.borrow().clone();
        let policy = policy.unwrap_or_else(|| self.policy(&Decision::allowed()));
        self.worker
            .sink
            .record(Record::Connection(Box::new(record::Connection {
                phase,
                id: self.id,
                time: Timestamp::now(),
                reporter: self.reporter,
                pod: Arc::clone(&self.worker.workload.pod),
                listener: Arc::clone(&listener.config.name),
                source: party(self.facts.source, source, None),
                destination: party(address, destination, Some(service)),
                tls: tls.map(|session| record::Tls {
                    version: session.version,
                    cipher: text(Some(&session.cipher)),
                    group: text(Some(&session.group)),
                }),
                policy,
                counters,
                flags: self.flags.get(),
            })));
    }

    /// Source and destination for metrics, remembered for each endpoint.
    pub fn edge(
        &self,
        cluster: Option<&Cluster<Pool>>,
        host: Option<&Rc<Host<Pool>>>,
        session: Option<&Session>,
    ) -> Arc<Edge> {
        let key = host.map_or(std::ptr::null(), |host| Rc::as_ptr(host).cast::<()>());
        if let Some((_, edge)) = self.edges.borrow().iter().find(|(known, _)| *known == key) {
            return Arc::clone(edge);
        }
        let listener = self.listener.borrow();
        let service = if listener.config.service.is_empty() {
            cluster.map_or_else(|| text(None), service_of)
        } else {
            Arc::clone(&listener.config.service)
        };
        let own = |principal: Option<&str>| Peer {
            principal: text(principal),
            ..self.worker.workload.peer.clone()
        };
        let edge = Arc::new(Edge::from(match self.reporter {
            Reporter::Inbound => Ends {
                reporter: self.reporter,
                source: Peer::of_principal(self.peer_id().unwrap_or_default()),
                destination: own(self
                    .session
                    .as_ref()
                    .and_then(|session| session.own.spiffe_id())),
                service,
                mutual_tls: self.peer_id().is_some(),
            },
            Reporter::Outbound => Ends {
                reporter: self.reporter,
                source: own(session.and_then(|session| session.own.spiffe_id())),
                destination: destination(host, session.and_then(Session::peer_id)),
                service,
                mutual_tls: session.is_some(),
            },
        }));
        let mut edges = self.edges.borrow_mut();
        if edges.len() < 64 && host.is_some() {
            edges.push((key, Arc::clone(&edge)));
        }
        edge
    }

    pub fn tcp_key(
        &self,
        cluster: Option<&Cluster<Pool>>,
        host: Option<&Rc<Host<Pool>>>,
        session: Option<&Session>,
    ) -> ConnectionKey {
        ConnectionKey {
            edge: self.edge(cluster, host, session),
            flags: self.flags.get(),
        }
    }

    /// What stands behind a `%COMMAND%` in a header's value.
    pub fn command(&self, name: &str) -> Option<String> {
        let Facts {
            source,
            destination,
            server_name,
            ..
        } = &self.facts;
        Some(match name {
            "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => source.to_string(),
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => source.ip().to_string(),
            "DOWNSTREAM_LOCAL_ADDRESS" => destination.to_string(),
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => destination.ip().to_string(),
            "DOWNSTREAM_LOCAL_PORT" => destination.port().to_string(),
            "DOWNSTREAM_PEER_URI_SAN" => self.peer_id()?.to_owned(),
            "REQUESTED_SERVER_NAME" => server_name.clone()?,
            "START_TIME" => Timestamp::now().to_string(),
            _ => return None,
        })
    }

    pub fn request_begins(&self) {
        self.requests.set(self.requests.get().saturating_add(1));
        self.active.set(self.active.get() + 1);
    }

    pub fn request_ends(&self) {
        self.active.set(self.active.get() - 1);
        self.idle_since.set(Instant::now());
    }

    /// Since when there is no request on it; `None`: there is one.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.active.get() == 0).then(|| self.idle_since.get())
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker
            .connections
            .set(self.worker.connections.get() - 1);
        if !self.opened.get() {
            self.open(self.policy(&Decision::allowed()));
        }
        let counters = Counters {
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            duration_us: u64::try_from(self.age().as_micros()).unwrap_or(u64::MAX),
        };
        self.record(Phase::Close, Some(counters));
        let chain = Arc::clone(&self.chain.borrow());
        if chain.http.is_none() {
            let ended = Ended {
                connection: self,
                call: None,
                bytes_in: counters.bytes_in,
                bytes_out: counters.bytes_out,
            };
            chain.access_logs.write(&ended);
        }
    }
}

/// Asks each in order; the first that refuses decides, else the last that named a policy.
pub fn decide(filters: &[Access], mut ask: impl FnMut(&Access) -> Decision) -> Decision {
    let mut result = Decision::allowed();
    for access in filters {
        let decision = ask(access);
        if !decision.allowed {
            return decision;
        }
        if !decision.policy.is_empty() {
            result = decision;
        }
    }
    result
}

fn verdict(decision: &Decision) -> Verdict {
    if decision.allowed {
        Verdict::Allow
    } else {
        Verdict::Deny
    }
}

/// A decision in dry run, as records have it.
pub fn dry_run(decision: &Decision) -> record::DryRun {
    record::DryRun {
        verdict: verdict(decision),
        policy: Arc::clone(&decision.policy),
    }
}

fn party(address: SocketAddr, proved: (Arc<str>, Arc<str>), service: Option<Arc<str>>) -> Party {
    Party {
        address: address.ip(),
        port: address.port(),
        spiffe_id: proved.0,
        serial: proved.1,
        service,
    }
}

fn text(value: Option<&str>) -> Arc<str> {
    value.unwrap_or_default().into()
}

/// The endpoint's pod, as the control plane names it, with the identity that it proved.
fn destination(host: Option<&Rc<Host<Pool>>>, principal: Option<&str>) -> Peer {
    let endpoint = host.and_then(|host| host.endpoint.as_ref());
    let workload = endpoint.and_then(|endpoint| endpoint.workload.as_ref());
    let field = |pick: fn(&Workload) -> &String| text(workload.map(|one| pick(one).as_str()));
    Peer {
        workload: field(|one| &one.name),
        namespace: field(|one| &one.namespace),
        app: field(|one| &one.app),
        version: field(|one| &one.version),
        principal: text(principal),
    }
}

/// `HOST` of `outbound|PORT|SUBSET|HOST`, or what the cluster says of itself.
fn service_of(cluster: &Cluster<Pool>) -> Arc<str> {
    match &cluster.target.config.service {
        Some(service) => service.host.as_str().into(),
        None => {
            let name = &cluster.target.config.name;
            name.rsplit('|').next().unwrap_or(name).into()
        }
    }
}

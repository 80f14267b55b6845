//! One request's accounts: counted, recorded and logged when it is over.

use std::rc::Rc;
use std::sync::Arc;

use hauberk_telemetry::flags::{Flag, Flags};
use hauberk_telemetry::metrics::{AuditKey, Exemplar, Protocol, RequestKey, RouteKey};
use hauberk_telemetry::record::{self, Record};
use hauberk_telemetry::timestamp::Timestamp;
use hauberk_tls::Session;
use hauberk_upstream::{Cluster, Host, random};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use tokio::time::Instant;

use crate::body::{Early, Upload};
use crate::connection::{Connection, dry_run};
use crate::ended::{Ended, text};
use crate::pool::Pool;
use crate::trace::{self, Traced};
use hauberk_policy::{Decision, Metadata};

/// One request of so many is recorded, beside all that are refused, audited or fail at the proxy.
const SAMPLE: u64 = 64;

pub struct Call {
    pub connection: Rc<Connection>,
    pub started: Instant,
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub authority: Option<HeaderValue>,
    pub request_id: Option<HeaderValue>,
    pub user_agent: Option<HeaderValue>,
    pub traceparent: Option<HeaderValue>,
    /// The caller's headers, kept where a log asks for them.
    pub headers: Option<Box<HeaderMap>>,
    /// The span of the request, if it is to be told.
    pub traced: Option<Box<Traced>>,
    pub grpc: bool,
    pub status: u16,
    pub grpc_status: Option<u32>,
    pub flags: Flags,
    pub decision: Decision,
    /// The AUDIT policy that matched.
    pub audited: Option<Arc<str>>,
    /// What the policies in dry run would have decided.
    pub tried: Option<Decision>,
    /// The authorizer that was asked.
    pub authorizer: Option<Arc<str>>,
    /// What filters have read of the request's body.
    pub early: Early,
    /// A filter changed what the route was found by.
    pub reroute: bool,
    /// What verified tokens say.
    pub metadata: Option<Metadata>,
    pub route: Arc<str>,
    pub cluster: Option<Rc<Cluster<Pool>>>,
    pub host: Option<Rc<Host<Pool>>>,
    pub session: Option<Rc<Session>>,
    pub upload: Option<Rc<Upload>>,
    pub bytes_out: u64,
    complete: bool,
}

impl Call {
    pub fn new(
        connection: Rc<Connection>,
        method: Method,
        uri: Uri,
        version: Version,
        grpc: bool,
    ) -> Box<Self> {
        connection.request_begins();
        Box::new(Self {
            connection,
            started: Instant::now(),
            method,
            uri,
            version,
            authority: None,
            request_id: None,
            user_agent: None,
            traceparent: None,
            headers: None,
            traced: None,
            grpc,
            status: 0,
            grpc_status: None,
            flags: Flags::default(),
            decision: Decision::allowed(),
            audited: None,
            tried: None,
            authorizer: None,
            early: Early::default(),
            reroute: false,
            metadata: None,
            route: Arc::from(""),
            cluster: None,
            host: None,
            session: None,
            upload: None,
            bytes_out: 0,
            complete: false,
        })
    }

    pub fn flag(&mut self, flag: Flag) {
        self.flags.insert(flag);
    }

    /// Whether a flag says already why the call ended.
    fn ended_for_a_reason(&self) -> bool {
        self.flags.iter().any(|flag| flag != Flag::DelayInjected)
    }

    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if self.grpc {
            self.grpc_status = status_of(trailers).or(self.grpc_status);
        }
    }

    /// The whole response went to the caller.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// The verdict, as records have it.
    pub fn policy(&self) -> record::Policy {
        let policy = self.connection.policy(&self.decision);
        record::Policy {
            audit: self.audited.clone().or(policy.audit.clone()),
            dry_run: self.tried.as_ref().map(dry_run).or(policy.dry_run.clone()),
            authorizer: self.authorizer.clone(),
            ..policy
        }
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_ref()?.to_str().ok()?.split('-').nth(1)
    }

    fn exemplar(&self, call: record::Id) -> Exemplar {
        let trace = self.trace_id().filter(|id| {
            // The caller may have written anything there.
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        Exemplar {
            call,
            trace: trace.map(Arc::from),
            time: Timestamp::now(),
        }
    }

    /// With the query.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("", |path| path.as_str())
    }

    fn record(&self, id: record::Id, bytes_in: u64) {
        let duration = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let connection = &self.connection;
        let record = record::Request {
            id,
            connection: connection.id,
            time: Timestamp::now(),
            reporter: connection.reporter,
            method: self.method.to_string(),
            authority: text(self.authority.as_ref()),
            path: self.path().to_owned(),
            status: self.status,
            duration_us: duration,
            bytes_in,
            bytes_out: self.bytes_out,
            flags: self.flags,
            route: Arc::clone(&self.route),
            cluster: self.cluster.as_ref().map_or_else(
                || Arc::from(""),
                |cluster| Arc::clone(&cluster.target.config.name),
            ),
            upstream: self
                .host
                .as_ref()
                .map_or_else(String::new, |host| host.address.to_string()),
            policy: self.policy(),
            trace_id: self.trace_id().unwrap_or_default().to_owned(),
            request_id: text(self.request_id.as_ref()),
        };
        connection
            .worker
            .sink
            .record(Record::Request(Box::new(record)));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.connection.request_ends();
        if !self.complete && !self.ended_for_a_reason() {
            self.flag(Flag::DownstreamConnectionTermination);
        }
        let connection = &self.connection;
        let bytes_in = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        connection
            .bytes_in
            .set(connection.bytes_in.get() + bytes_in);
        connection
            .bytes_out
            .set(connection.bytes_out.get() + self.bytes_out);
        connection.open(self.policy());
        let key = RequestKey {
            edge: connection.edge(
                self.cluster.as_deref(),
                self.host.as_ref(),
                self.session.as_deref(),
            ),
            protocol: if self.grpc {
                Protocol::Grpc
            } else {
                Protocol::Http
            },
            response_code: self.status,
            flags: self.flags,
            grpc_status: self.grpc_status,
        };
        if let Some(policy) = &self.audited {
            connection.worker.metrics.audited(AuditKey {
                policy: Arc::clone(policy),
                source_principal: connection.peer_id().unwrap_or_default().into(),
            });
        }
        if let Some(tried) = &self.tried {
            connection.tried(tried);
        }
        let milliseconds = self.started.elapsed().as_secs_f64() * 1000.0;
        let worker = &connection.worker;
        worker.metrics.route(
            RouteKey {
                reporter: connection.reporter,
                service: Arc::clone(key.edge.service()),
                route: Arc::clone(&self.route),
                class: u8::try_from(self.status / 100).unwrap_or_default(),
            },
            milliseconds,
        );
        let would_refuse = self.tried.as_ref().is_some_and(|tried| !tried.allowed);
        let telling = !self.decision.allowed
            || !self.flags.is_empty()
            || self.audited.is_some()
            || would_refuse;
        let recorded = (telling || worker.sink.tapped() || random().is_multiple_of(SAMPLE))
            .then(|| record::Id(random()));
        let exemplified = recorded.map(|call| (key.clone(), call));
        worker
            .metrics
            .request(key, milliseconds, bytes_in, self.bytes_out);
        if let Some((key, call)) = exemplified {
            worker
                .metrics
                .exemplar(&key, milliseconds, self.exemplar(call));
        }
        let traced = self.traced.take();
        let connection = &self.connection;
        let ended = Ended {
            connection,
            call: Some(self),
            bytes_in,
            bytes_out: self.bytes_out,
        };
        connection.chain.borrow().access_logs.write(&ended);
        if let Some(traced) = traced {
            trace::end(traced, self, &ended);
        }
        if let Some(id) = recorded {
            self.record(id, bytes_in);
        }
    }
}

/// `grpc-status` of trailers, or of headers that are all there is.
pub fn status_of(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

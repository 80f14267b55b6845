//! What a proxy with a given program would do with a call, and why: its listeners, chains, filters, policies and routes are
//! asked as the call itself would ask them, and nothing is sent.

use std::net::SocketAddr;
use std::sync::Arc;

use hauberk_config::cluster::Discovery;
use hauberk_config::listener::{Direction, TerminalFilter, Traffic};
use hauberk_config::route::{ClusterTarget, Forward, RouteAction};
use hauberk_config::tls::UpstreamTransport;
use hauberk_policy::{Asked, Decision, Judgement, Metadata, RulesKind, Subject, Unknown};
use hauberk_route::{Matched, Normalized, RequestFacts, Routes, normalized, set_path};
use http::{HeaderMap, Request};
use serde_json::{Value, json};

use crate::headers::caller_address;
use crate::listener::{Facts, Listener, Manager, RouteTable};
use crate::program::Program;
use crate::service::settle_authority;

/// A call that nobody makes.
pub struct Question {
    pub direction: Direction,
    /// `None`: not known.
    pub source: Option<SocketAddr>,
    pub destination: SocketAddr,
    /// The URI names that the caller proves; `None`: nothing.
    pub names: Option<Vec<String>>,
    pub tls: bool,
    /// `None`: it asks for none, or that is not known.
    pub server_name: Option<String>,
    pub server_name_known: bool,
    /// ALPN, or what the bytes show.
    pub protocols: Vec<String>,
    /// With a `host` header; `None`: a TCP connection.
    pub request: Option<Request<()>>,
}

/// The whole answer, as JSON. `allowed` is null where it depends on what is not known.
pub fn explain(program: &Program, question: &Question) -> Value {
    let Some(listener) = listener_for(program, question) else {
        return json!({"allowed": false, "reason": "no listener takes this destination"});
    };
    let source = question
        .source
        .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    let facts = Facts {
        source,
        destination: question.destination,
        tls: question.tls,
        server_name: question.server_name.clone(),
        protocols: question.protocols.clone(),
    };
    let told = json!({
        "listener": *listener.config.name,
        "service": *listener.config.service,
        "policy_revision": *listener.config.policy_revision,
    });
    let Some(chain) = listener.chain(&facts) else {
        let reason = "the listener does not take this kind of connection: no filter chain matches";
        return merged(told, json!({"allowed": false, "reason": reason}));
    };
    let subject = Subject {
        source: facts.source,
        destination: facts.destination,
        server_name: facts.server_name.as_deref(),
        names: question.names.as_deref(),
    };
    let unknown = Unknown {
        source: question.source.is_none(),
        server_name: !question.server_name_known,
    };
    let told = merged(told, json!({"filter_chain": *chain.config.name}));
    let mut verdict = Verdict::default();
    for access in &chain.rbac {
        verdict.hear(access.judge(&subject, None, unknown));
    }
    let (Some(manager), Some(request)) = (&chain.http, &question.request) else {
        for _ in &chain.config.external_authorizations {
            verdict.depends("an authorizer that is asked about connections");
        }
        let cluster = match &chain.config.terminal {
            TerminalFilter::TcpProxy(proxy) => proxy.choose(0),
            TerminalFilter::Http(_) => None,
        };
        let cluster = cluster.map_or(Value::Null, |name| described_cluster(program, name));
        return merged(
            merged(told, verdict.told()),
            json!({"protocol": "tcp", "cluster": cluster}),
        );
    };
    let told = merged(told, json!({"protocol": "http"}));
    let asked = ask_http(
        program,
        manager,
        request,
        &facts,
        &subject,
        unknown,
        &mut verdict,
    );
    merged(merged(told, verdict.told()), asked)
}

fn listener_for<'a>(program: &'a Program, question: &Question) -> Option<&'a Arc<Listener>> {
    let bound = || {
        let mut bound = program.bound().filter(|listener| {
            let address = listener.config.address;
            let same = listener.config.direction == question.direction;
            let transparent =
                matches!(&listener.config.traffic, Traffic::Tcp(tcp) if tcp.use_original_dst);
            matches!(listener.config.traffic, Traffic::Tcp(_))
                && same
                && (transparent
                    || listener.config.transparent
                    || address.port() == question.destination.port())
        });
        bound.next()
    };
    match question.direction {
        Direction::Inbound => bound(),
        _ => program.listener_at(question.destination).or_else(bound),
    }
}

/// Collects what filters say, in their order.
#[derive(Default)]
struct Verdict {
    decision: Option<Decision>,
    /// The first refusal is final.
    refused: bool,
    depends: Vec<String>,
    told: Vec<Value>,
    notes: Vec<&'static str>,
}

impl Verdict {
    fn hear(&mut self, judgements: Vec<Judgement>) {
        for judgement in judgements {
            self.told.push(told(&judgement));
            if !matches!(judgement.kind, RulesKind::Allow | RulesKind::Deny) {
                continue;
            }
            match judgement.decision {
                Some(decision) => self.decide(decision),
                None => self.depends("policies that ask what is not known"),
            }
        }
    }

    fn decide(&mut self, decision: Decision) {
        if !self.refused {
            self.refused = !decision.allowed;
            self.decision = Some(match self.decision.take() {
                Some(before) => before.then(decision),
                None => decision,
            });
        }
    }

    fn depends(&mut self, on: &str) {
        if !self.refused {
            self.depends.push(on.to_owned());
        }
    }

    fn told(self) -> Value {
        let decision = self.decision.unwrap_or_else(Decision::allowed);
        // A refusal is one whatever the rest would say; an answer that is not known can only make a refusal of a yes.
        let allowed = match (decision.allowed, self.depends.is_empty()) {
            (false, _) => Value::Bool(false),
            (true, true) => Value::Bool(true),
            (true, false) => Value::Null,
        };
        json!({
            "allowed": allowed,
            "policy": *decision.policy,
            "reason": *decision.reason,
            "depends_on": self.depends,
            "rules": self.told,
            "notes": self.notes,
        })
    }
}

fn told(judgement: &Judgement) -> Value {
    let policies = judgement.policies.iter().map(|policy| {
        let conditions = policy
            .conditions
            .iter()
            .map(|(words, holds)| json!({"condition": words, "holds": holds}));
        json!({
            "policy": *policy.name,
            "matches": policy.matches,
            "conditions": conditions.collect::<Vec<_>>(),
        })
    });
    json!({
        "rules": match judgement.kind {
            RulesKind::Allow => "ALLOW",
            RulesKind::Deny => "DENY",
            RulesKind::Note => "AUDIT",
            RulesKind::DryRunAllow => "ALLOW in dry run",
            RulesKind::DryRunDeny => "DENY in dry run",
        },
        "policies": policies.collect::<Vec<_>>(),
    })
}

fn ask_http(
    program: &Program,
    manager: &Manager,
    request: &Request<()>,
    facts: &Facts,
    subject: &Subject<'_>,
    unknown: Unknown,
    verdict: &mut Verdict,
) -> Value {
    let config = &manager.config;
    let mut request = request.clone();
    let refused =
        |status: u16, reason: &str| json!({"allowed": false, "status": status, "reason": reason});
    if let Err(reason) = settle_authority(&mut request, config, facts.destination.port()) {
        return refused(400, reason);
    }
    match normalized(request.uri(), &config.path) {
        Normalized::Same => {}
        Normalized::Path(path) => {
            if !set_path(&mut request, &path) {
                return refused(400, "the path is none");
            }
        }
        Normalized::Redirect(path) => return json!({"status": 307, "location": path}),
        Normalized::Reject => return refused(400, "the path is refused: it has escaped slashes"),
    }
    let routes = match &manager.routes {
        RouteTable::Named(name) => program.routes.get(name),
        RouteTable::Inline(routes) => Some(routes),
    };
    let matched = routes.and_then(|routes| routes.find(&request, 0));
    let mut metadata = None;
    manager.filters.judge(
        &mut request,
        matched.as_ref(),
        &mut metadata,
        &mut |judged| match judged {
            Judged::Rules(access, metadata, request) => {
                let asked = Asked {
                    facts: RequestFacts::of(request),
                    remote: caller_address(
                        request.headers(),
                        &config.forwarding,
                        facts.source.ip(),
                    ),
                    metadata,
                };
                verdict.hear(access.judge(subject, Some(&asked), unknown));
            }
            Judged::Authorizer(selection, authorizer, metadata, request) => {
                let asked = Asked {
                    facts: RequestFacts::of(request),
                    remote: caller_address(
                        request.headers(),
                        &config.forwarding,
                        facts.source.ip(),
                    ),
                    metadata,
                };
                let selected = selection.is_none_or(|access| {
                    let judged = access.judge(subject, Some(&asked), unknown);
                    let mut policies = judged.iter().flat_map(|one| &one.policies);
                    policies.any(|policy| policy.matches != Some(false))
                });
                if selected {
                    verdict.depends(&format!("what the authorizer {authorizer} says"));
                }
            }
            Judged::Refused(reason) => verdict.decide(Decision::denied(reason)),
            Judged::Note(note) => verdict.notes.push(note),
        },
    );
    let (Some(routes), Some(matched)) = (routes, matched) else {
        return json!({"route": null, "status_without_route": 404, "path": request.uri().path()});
    };
    json!({"route": described_route(program, routes, &matched, request)})
}

/// What a filter asks about a request, told by [`crate::filters::Filters::judge`].
pub enum Judged<'a> {
    Rules(
        &'a hauberk_policy::Access,
        Option<&'a Metadata>,
        &'a Request<()>,
    ),
    /// Asked about what these rules select; `None`: about everything.
    Authorizer(
        Option<&'a hauberk_policy::Access>,
        &'a str,
        Option<&'a Metadata>,
        &'a Request<()>,
    ),
    Refused(&'a str),
    /// It decides nothing about who may call.
    Note(&'static str),
}

fn described_route(
    program: &Program,
    routes: &Routes,
    matched: &Matched,
    mut request: Request<()>,
) -> Value {
    let route = &matched.route;
    let told = json!({
        "configuration": *routes.config().name,
        "virtual_host": *matched.host().name,
        "domains": matched.host().domains,
        "name": *route.name,
        "match": route.matches,
        "object": route.metadata.get("config"),
    });
    let action = match &route.action {
        RouteAction::Redirect(_) => {
            let (status, location) = matched.redirect(&request, false);
            json!({"redirect": {"status": status, "location": location}})
        }
        RouteAction::Direct(direct) => json!({"direct_response": {"status": direct.status}}),
        RouteAction::Forward(forward) => {
            matched.change_request(routes, &mut request, &|_| None);
            described_forward(program, routes, matched, forward, request)
        }
    };
    merged(told, action)
}

fn described_forward(
    program: &Program,
    routes: &Routes,
    matched: &Matched,
    forward: &Forward,
    request: Request<()>,
) -> Value {
    let clusters = match &forward.target {
        ClusterTarget::Weighted(clusters) => clusters
            .iter()
            .map(|one| {
                let cluster = described_cluster(program, &one.cluster);
                merged(cluster, json!({"weight": one.weight}))
            })
            .collect(),
        _ => {
            let name = matched.cluster(forward, request.headers());
            name.map_or_else(Vec::new, |name| vec![described_cluster(program, &name)])
        }
    };
    json!({
        "forward": {
            "clusters": clusters,
            "path": request.uri().path_and_query().map(|path| path.as_str()),
            "host": host(request.headers()),
            "timeout_seconds": forward.timeout.map(|timeout| timeout.as_secs_f64()),
            "idle_timeout_seconds": forward.idle_timeout.map(|timeout| timeout.as_secs_f64()),
            "retry": matched.retry(forward),
            "mirrors": matched.mirrors(routes, forward),
            "status_without_cluster": forward.cluster_not_found_status,
        }
    })
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get("host")?.to_str().ok()
}

fn described_cluster(program: &Program, name: &str) -> Value {
    let Some(target) = program.clusters.get(name) else {
        return json!({"name": name, "exists": false, "endpoints": []});
    };
    let config = &target.config;
    let endpoints = target
        .endpoints
        .iter()
        .flat_map(|all| &all.localities)
        .flat_map(|locality| {
            locality.endpoints.iter().map(|endpoint| {
                let transport = config.transport_for(endpoint);
                json!({
                    "address": endpoint.address.socket().map(|address| address.to_string()),
                    "priority": locality.priority,
                    "weight": endpoint.weight,
                    "health": endpoint.health,
                    "workload": endpoint.workload,
                    "mutual_tls": matches!(transport, UpstreamTransport::Tls(_)),
                    "server_name": match transport {
                        UpstreamTransport::Tls(tls) => tls.server_name.as_deref(),
                        UpstreamTransport::Plain => None,
                    },
                })
            })
        });
    json!({
        "name": name,
        "exists": true,
        "service": config.service,
        "original_destination": matches!(config.discovery, Discovery::OriginalDestination { .. }),
        "connect_timeout_seconds": config.connect_timeout.as_secs_f64(),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

/// Two objects as one; the second's values count.
fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

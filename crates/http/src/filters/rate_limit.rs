//! Limits on requests: buckets of this proxy, and leased shares of limits that a service knows.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use hauberk_config::rate_limit::{DescriptorEntry, GlobalRateLimit, LimitedAnswer, LocalRateLimit};
use hauberk_external::rate_limit::{SHOULD_RATE_LIMIT, question, verdict};
use hauberk_limit::{Answer, Bucket, Buckets, Lease, Leases, Taken, Wanted};
use hauberk_policy::Decision;
use hauberk_route::{RequestFacts, header_fits};
use hauberk_telemetry::flags::Flag;
use hauberk_telemetry::metrics::LimitKey;
use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Afterward, Afterwards, Passed};
use crate::ask;
use crate::call::Call;
use crate::incoming::Incoming;
use crate::reply::{grpc, reply};
use crate::worker::Worker;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// Where Envoy itself was the one that limited.
const LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
/// Descriptors of a global limit of which a share is held.
const MOST_LEASES: usize = 10_000;
const RESOURCE_EXHAUSTED: u32 = 8;

/// What limits remember. It outlives the configuration: a change of something else fills no bucket.
#[derive(Default)]
pub struct Limits {
    local: Mutex<Vec<(Arc<LocalRateLimit>, Weak<Local>)>>,
    global: Mutex<Vec<(Arc<GlobalRateLimit>, Weak<Global>)>>,
}

impl Limits {
    pub fn local(&self, config: &Arc<LocalRateLimit>) -> Arc<Local> {
        kept(&self.local, config, || Local::new(config))
    }

    pub fn global(&self, config: &Arc<GlobalRateLimit>) -> Arc<Global> {
        kept(&self.global, config, || Global {
            config: Arc::clone(config),
            leases: Leases::new(MOST_LEASES),
        })
    }
}

/// The one of an equal configuration, if it is still in use.
fn kept<C: PartialEq, T>(
    known: &Mutex<Vec<(Arc<C>, Weak<T>)>>,
    config: &Arc<C>,
    make: impl FnOnce() -> T,
) -> Arc<T> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|(_, one)| one.strong_count() > 0);
    let found = known.iter().find(|(told, _)| told == config);
    if let Some(one) = found.and_then(|(_, one)| one.upgrade()) {
        return one;
    }
    let made = Arc::new(make());
    known.push((Arc::clone(config), Arc::downgrade(&made)));
    made
}

/// Buckets of this proxy, its workers' together.
pub struct Local {
    config: Arc<LocalRateLimit>,
    default: Option<Bucket>,
    described: Vec<Buckets>,
    began: Instant,
}

impl Local {
    fn new(config: &Arc<LocalRateLimit>) -> Self {
        let described = config.buckets.iter();
        Self {
            default: config.default.map(Bucket::new),
            described: described
                .map(|one| Buckets::new(one.bucket, config.most_buckets))
                .collect(),
            config: Arc::clone(config),
            began: Instant::now(),
        }
    }

    pub fn request(
        &self,
        call: Box<Call>,
        request: &Request<Incoming>,
        after: &mut Afterwards,
    ) -> Passed {
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut taken: Option<Taken> = None;
        for told in &self.config.descriptors {
            let Some(entries) = entries(told, &call, request) else {
                continue;
            };
            let Some(place) = self.place(&entries) else {
                continue;
            };
            let found = self.described[place].take(&key(&entries), now);
            taken = Some(stricter(taken, found));
        }
        if let Some(default) = &self.default
            && (taken.is_none() || self.config.always_consume_default)
            && taken.is_none_or(|taken| taken.within)
        {
            taken = Some(stricter(taken, default.take(now)));
        }
        let Some(taken) = taken else {
            return Ok(call);
        };
        let standing = Standing {
            limit: taken.most,
            remaining: taken.remaining,
            reset: Duration::from_nanos(taken.next),
        };
        finish(
            call,
            &self.config.name,
            self.config.answer,
            taken.within,
            standing,
            "local_rate_limited",
            after,
        )
    }

    /// The bucket for a descriptor: the first whose entries are these, an empty value being any.
    fn place(&self, entries: &[(String, String)]) -> Option<usize> {
        self.config.buckets.iter().position(|one| {
            one.entries.len() == entries.len()
                && one.entries.iter().zip(entries).all(|(told, found)| {
                    told.0 == found.0 && (told.1.is_empty() || told.1 == found.1)
                })
        })
    }
}

/// The one that refuses, else the one with the least left.
fn stricter(one: Option<Taken>, other: Taken) -> Taken {
    match one {
        Some(one) if !one.within => one,
        Some(one) if other.within && one.remaining <= other.remaining => one,
        _ => other,
    }
}

/// Shares of limits that a service knows.
pub struct Global {
    config: Arc<GlobalRateLimit>,
    leases: Leases,
}

impl Global {
    pub fn request(
        self: &Arc<Self>,
        call: Box<Call>,
        request: &Request<Incoming>,
        after: &mut Afterwards,
    ) -> Passed {
        let mut worst: Option<Wanted> = None;
        for told in &self.config.descriptors {
            let Some(entries) = entries(told, &call, request) else {
                continue;
            };
            let now = Instant::now();
            let lease = self.leases.of(&key(&entries), now);
            let wanted = lease.take(now, self.config.failure_mode_deny);
            if let Some(hits) = wanted.ask {
                let worker = Rc::clone(&call.connection.worker);
                let asking = Arc::clone(self).ask(worker, lease, entries, hits);
                tokio::task::spawn_local(asking);
            }
            worst = match worst {
                Some(one) if !one.within || wanted.within && one.remaining <= wanted.remaining => {
                    Some(one)
                }
                _ => Some(wanted),
            };
        }
        let Some(wanted) = worst else {
            return Ok(call);
        };
        let standing = Standing {
            limit: wanted.limit.unwrap_or(0).into(),
            remaining: wanted.remaining.into(),
            reset: wanted.reset,
        };
        finish(
            call,
            &self.config.name,
            self.config.answer,
            wanted.within,
            standing,
            "",
            after,
        )
    }

    /// Asks the service for a share; no request waits for it.
    async fn ask(
        self: Arc<Self>,
        worker: Rc<Worker>,
        lease: Arc<Lease>,
        entries: Vec<(String, String)>,
        hits: u32,
    ) {
        let config = &self.config;
        let message = question(&config.domain, &entries, hits);
        let answer = ask::grpc(&worker, &config.service, SHOULD_RATE_LIMIT, message, None).await;
        let verdict = answer.map_err(|error| error.to_string()).and_then(verdict);
        if let Err(reason) = &verdict {
            tracing::info!(
                limit = &*config.name,
                reason,
                "the rate limit service gave no answer"
            );
            count(&worker, &config.name, "unanswered");
        }
        let answer = verdict.ok().map(|verdict| Answer {
            within: verdict.within,
            limit: verdict.limit,
            remaining: verdict.remaining,
            reset: verdict.reset.or(verdict.unit),
        });
        lease.settle(Instant::now(), hits, answer);
    }
}

/// What the headers say.
pub struct Standing {
    limit: u64,
    remaining: u64,
    reset: Duration,
}

fn finish(
    mut call: Box<Call>,
    name: &Arc<str>,
    answer: LimitedAnswer,
    within: bool,
    standing: Standing,
    text: &str,
    after: &mut Afterwards,
) -> Passed {
    let outcome = if within { "passed" } else { "limited" };
    count(&call.connection.worker, name, outcome);
    if answer.headers {
        after.0.push(Afterward::Standing(standing));
    }
    if within {
        return Ok(call);
    }
    call.decision = Decision::denied(&format!("the limit {name} is reached"));
    let connection = Rc::clone(&call.connection);
    connection.open(call.policy());
    call.flag(Flag::RateLimited);
    if call.grpc && answer.resource_exhausted {
        return Err(Box::new(grpc(call, RESOURCE_EXHAUSTED)));
    }
    let mut response = reply(call, answer.status, Flag::RateLimited, text);
    let limited = HeaderValue::from_static("true");
    response.headers_mut().insert(LIMITED, limited);
    Err(Box::new(response))
}

fn count(worker: &Worker, name: &Arc<str>, outcome: &'static str) {
    worker.metrics.limited(LimitKey {
        limit: Arc::clone(name),
        outcome,
    });
}

impl Standing {
    pub fn write(&self, headers: &mut HeaderMap) {
        let seconds = self.reset.as_secs() + u64::from(self.reset.subsec_nanos() > 0);
        for (name, value) in [
            (LIMIT, self.limit),
            (REMAINING, self.remaining),
            (RESET, seconds),
        ] {
            headers.insert(name, value.into());
        }
    }
}

/// The entries of a request's descriptor; `None`: it has none.
fn entries(
    told: &[DescriptorEntry],
    call: &Call,
    request: &Request<Incoming>,
) -> Option<Vec<(String, String)>> {
    let facts = RequestFacts::of(request);
    let mut made = Vec::with_capacity(told.len());
    for one in told {
        match one {
            DescriptorEntry::Generic { key, value } => made.push((key.clone(), value.clone())),
            DescriptorEntry::HeadersMatch {
                key,
                value,
                expected,
                headers,
            } => {
                let fits = headers.iter().all(|matcher| header_fits(matcher, &facts));
                if fits != *expected {
                    return None;
                }
                made.push((key.clone(), value.clone()));
            }
            DescriptorEntry::Header {
                key,
                name,
                skip_if_absent,
            } => match joined(request.headers(), name) {
                Some(value) => made.push((key.clone(), value)),
                None if *skip_if_absent => {}
                None => return None,
            },
            DescriptorEntry::Address => {
                let address = call.connection.facts.source.ip().to_string();
                made.push(("remote_address".to_owned(), address));
            }
            DescriptorEntry::Caller {
                key,
                skip_if_absent,
            } => match call.connection.peer_id() {
                Some(id) => made.push((key.clone(), id.to_owned())),
                None if *skip_if_absent => {}
                None => return None,
            },
        }
    }
    Some(made)
}

/// All values of a header; none that is empty, which would be any.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let joined = values.join(",");
    (!joined.is_empty()).then_some(joined)
}

/// One text for a descriptor. Lengths stand before the parts, so that no two descriptors have the same.
fn key(entries: &[(String, String)]) -> String {
    let mut made = String::new();
    for (key, value) in entries {
        made.push_str(&format!("{}:{key}{}:{value}", key.len(), value.len()));
    }
    made
}

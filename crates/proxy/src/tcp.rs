//! TCP connections, copied to an endpoint.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::listener::TcpProxy;
use hauberk_config::route::Priority;
use hauberk_http::connection::{Connection, Standing};
use hauberk_http::pool::Pool;
use hauberk_net::copy::{Copied, End, copy_both};
use hauberk_policy::Decision;
use hauberk_telemetry::flags::Flag;
use hauberk_tls::{Carried, Session, TlsStream};
use hauberk_upstream::{Choice, Cluster, Connected, Host, Limited, Outcome, Stream, hash, random};

use crate::tunnel::{self, TunnelError};

/// Counters go to the metrics after so many bytes, so that long connections show while they live.
const REPORT: u64 = 256 * 1024;

pub async fn serve(
    connection: Rc<Connection>,
    stream: Stream<TlsStream>,
    proxy: &Arc<TcpProxy>,
    decision: &Decision,
) {
    let refuse = |flag: Flag, reason: &str| {
        connection.flags.set(flag.into());
        let denied = Decision {
            policy: Arc::clone(&decision.policy),
            ..Decision::denied(reason)
        };
        connection.open(connection.policy(&denied));
    };
    let name = proxy.choose(random());
    let Some(cluster) = name.and_then(|name| connection.worker.cluster(name)) else {
        return refuse(Flag::NoCluster, "the destination's cluster is not known");
    };
    *connection.cluster.borrow_mut() = Some(Arc::clone(&cluster.target.config.name));
    let Some(_slot) = cluster.admit(Limited::Connection, Priority::Default) else {
        return refuse(
            Flag::UpstreamOverflow,
            "the cluster's connection limit is reached",
        );
    };
    let reached = match reach(&connection, &cluster, proxy).await {
        Ok(reached) => reached,
        Err(Unreached::NoHost) if cluster.target.config.name.as_ref() == "BlackHoleCluster" => {
            let destination = connection.facts.destination;
            return refuse(
                Flag::NoHealthyUpstream,
                &format!("{destination} is no service of the mesh"),
            );
        }
        Err(Unreached::NoHost) => {
            connection.flags.set(Flag::NoHealthyUpstream.into());
            return connection.open(connection.policy(decision));
        }
        Err(Unreached::Failed) => {
            connection.flags.set(Flag::UpstreamConnectionFailure.into());
            return connection.open(connection.policy(decision));
        }
    };
    let (host, session, far) = reached;
    connection.reached(&cluster, &host, session.as_ref());
    connection.open(connection.policy(decision));
    let key = || connection.tcp_key(Some(&cluster), Some(&host), session.as_deref());
    let metrics = &connection.worker.metrics;
    metrics.opened(key());
    let unreported = Cell::new(Copied::default());
    let report = |moved: Copied, last: bool| {
        let mut sum = unreported.get();
        sum.forward += moved.forward;
        sum.backward += moved.backward;
        if last || sum.forward + sum.backward >= REPORT {
            metrics.moved(key(), sum.backward, sum.forward);
            sum = Copied::default();
        }
        unreported.set(sum);
    };
    let counted = |moved: Copied| {
        connection
            .bytes_in
            .set(connection.bytes_in.get() + moved.forward);
        connection
            .bytes_out
            .set(connection.bytes_out.get() + moved.backward);
        report(moved, false);
    };
    let idle = proxy.idle_timeout;
    let ended = match far {
        Far::Direct(far) => {
            let copying = pin!(copy_both(stream, far, idle, counted));
            within(&connection, proxy.longest, copying).await
        }
        Far::Tunnel(far) => {
            let copying = pin!(copy_both(stream, far, idle, counted));
            within(&connection, proxy.longest, copying).await
        }
    };
    match ended {
        Ended::Over(End::First(error)) => {
            tracing::debug!(%error, "the caller's connection ended");
            connection
                .flags
                .set(Flag::DownstreamConnectionTermination.into());
        }
        Ended::Over(End::Second(error)) => {
            tracing::debug!(%error, "the endpoint's connection ended");
            connection
                .flags
                .set(Flag::UpstreamConnectionTermination.into());
        }
        Ended::Over(End::Idle) => connection.flags.set(Flag::StreamIdleTimeout.into()),
        Ended::Over(End::Finished) => {}
        Ended::TooLong => connection.flags.set(Flag::DurationTimeout.into()),
        Ended::Forbidden => {
            let decision = connection.decide();
            let judged = if decision.allowed {
                Decision::denied("the listener no longer takes this kind of connection")
            } else {
                decision
            };
            connection.judged(connection.policy(&judged));
        }
    }
    report(Copied::default(), true);
    metrics.closed(key());
    host.end();
}

/// The endpoint's side of the copying.
enum Far {
    Direct(Stream<TlsStream>),
    Tunnel(Box<dyn tunnel::Stream>),
}

enum Unreached {
    NoHost,
    Failed,
}

async fn reach(
    connection: &Connection,
    cluster: &Cluster<Pool>,
    proxy: &TcpProxy,
) -> Result<(Rc<Host<Pool>>, Option<Rc<Session>>, Far), Unreached> {
    let origin = connection.worker.origin(cluster, connection.caller());
    let source = connection.facts.source.ip().to_string();
    let choice = Choice {
        original: Some(connection.facts.destination),
        hash: proxy.hash_source_ip.then(|| hash(source.as_bytes(), 0)),
        tried: &[],
    };
    let mut tried = Vec::new();
    for _ in 0..proxy.max_connect_attempts.max(1) {
        let avoid = |host: &Host<Pool>| tried.contains(&host.address);
        let chosen = cluster.choose(choice, &avoid);
        let host = chosen.ok_or(Unreached::NoHost)?;
        let name = connection.facts.server_name.as_deref();
        match cluster
            .connect(&host, origin, name, Carried::AsConfigured)
            .await
        {
            Ok(connected) => {
                let Connected { stream, session } = connected;
                let far = match &proxy.tunnel {
                    None => Ok(Far::Direct(stream)),
                    Some(told) => {
                        let opening = tunnel::open(stream, told, version(cluster));
                        let opened = tokio::time::timeout(cluster.connect_timeout(), opening).await;
                        opened.unwrap_or(Err(TunnelError::TooLate)).map(Far::Tunnel)
                    }
                };
                match far {
                    Ok(far) => {
                        cluster.judge(&host, Outcome::Joined);
                        host.begin();
                        return Ok((host, session, far));
                    }
                    Err(error) => {
                        cluster.judge(&host, Outcome::Failed);
                        tracing::debug!(%error, address = %host.address, "no connection through the endpoint");
                        tried.push(host.address);
                    }
                }
            }
            Err(error) => {
                cluster.judge(&host, error.outcome());
                tracing::debug!(%error, address = %host.address, "no connection to the endpoint");
                tried.push(host.address);
            }
        }
    }
    Err(Unreached::Failed)
}

/// What a tunnel is asked for in.
fn version(cluster: &Cluster<Pool>) -> http::Version {
    match cluster.target.config.http.protocol {
        UpstreamProtocol::Http2 => http::Version::HTTP_2,
        _ => http::Version::HTTP_11,
    }
}

/// How a connection ended.
enum Ended {
    Over(End),
    TooLong,
    /// A change of the program forbids it.
    Forbidden,
}

/// Copies for `longest` at most, from when the connection was accepted.
async fn within(
    connection: &Connection,
    longest: Option<Duration>,
    copying: impl Future<Output = (Copied, End)> + Unpin,
) -> Ended {
    let copying = while_allowed(connection, copying);
    let ended = match longest {
        None => copying.await,
        Some(longest) => {
            let left = longest.saturating_sub(connection.age());
            match tokio::time::timeout(left, copying).await {
                Ok(ended) => ended,
                Err(_elapsed) => return Ended::TooLong,
            }
        }
    };
    ended.map_or(Ended::Forbidden, |(_, end)| Ended::Over(end))
}

/// `None`: a change of the program forbids the connection.
async fn while_allowed<F: Future + Unpin>(
    connection: &Connection,
    mut work: F,
) -> Option<F::Output> {
    let mut watch = connection.worker.watch();
    loop {
        watch.borrow_and_update();
        if connection.reconsider() == Standing::Forbidden {
            return None;
        }
        tokio::select! {
            biased;
            output = &mut work => return Some(output),
            changed = watch.changed() => changed.ok()?,
        }
    }
}

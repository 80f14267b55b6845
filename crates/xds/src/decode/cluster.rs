//! Clusters. What is passed over, and why, stands in `fields.rs`.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::common::matcher::v3 as matcher;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream_http;
use envoy_types::pb::google::protobuf as pb;
use hauberk_config::cluster::{
    Cluster, Discovery, Http2KeepAlive, Limits, LoadBalancing, OutlierDetection, Rate, RetryBudget,
    ServiceName, SlowStart, TcpKeepalive, TransportMatch, UpstreamBind, UpstreamHttp,
    UpstreamProtocol,
};
use hauberk_config::endpoint::ClusterLoadAssignment;

use super::endpoint::load_assignment;
use super::tls;
use super::value::{duration, limit, number};
use super::{At, Decoded, required, unpack};
use crate::fields;

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Points of a hash ring, places of a Maglev table: Envoy's bounds.
const MOST_RING: u64 = 8 << 20;
const MOST_MAGLEV: u64 = 5_000_011;
const DNS_REFRESH: Duration = Duration::from_secs(5);

pub fn cluster(told: &cluster::Cluster) -> Decoded<Cluster> {
    if told.load_balancing_policy.is_some() || told.lb_subset_config.is_some() {
        return Err(
            "load_balancing_policy, lb_subset_config: expected lb_policy, found these".into(),
        );
    }
    for filter in &told.filters {
        if filter
            .typed_config
            .as_ref()
            .and_then(fields::passed_over)
            .is_none()
        {
            return Err(format!("filters[{}]: not understood", filter.name));
        }
    }
    if !told.health_checks.is_empty() {
        return Err("health_checks: expected none, hosts are judged by outlier_detection".into());
    }
    let http = told
        .typed_extension_protocol_options
        .get(HTTP_OPTIONS)
        .map(|any| unpack::<upstream_http::HttpProtocolOptions>(any, HTTP_OPTIONS))
        .transpose()?;
    let common = http
        .as_ref()
        .and_then(|http| http.common_http_protocol_options.as_ref());
    let (default_limits, high_priority_limits) = limits(told);
    let alternate = if told.alt_stat_name.is_empty() {
        &told.name
    } else {
        &told.alt_stat_name
    };
    Ok(Cluster {
        name: told.name.as_str().into(),
        alternate_name: alternate.as_str().into(),
        discovery: discovery(told)?,
        load_balancing: load_balancing(told)?,
        locality_weighted: matches!(
            told.common_lb_config.as_ref().and_then(|common| common.locality_config_specifier.as_ref()),
            Some(cluster::cluster::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        ),
        slow_start: slow_start(told).at("slow_start_config")?,
        panic_threshold: panic_threshold(told),
        connect_timeout: told.connect_timeout.as_ref().map_or(Ok(CONNECT_TIMEOUT), duration)?,
        default_limits,
        high_priority_limits,
        outlier_detection: told.outlier_detection.as_ref().map(outlier_detection).transpose()?,
        http: http.as_ref().map_or(Ok(UpstreamHttp::default()), upstream)?,
        idle_timeout: common.map_or(Ok(None), |common| limit(common.idle_timeout.as_ref()))?,
        max_requests_per_connection: common
            .and_then(|common| number(common.max_requests_per_connection.as_ref()))
            .filter(|&most| most > 0),
        max_connection_duration: common
            .map_or(Ok(None), |common| limit(common.max_connection_duration.as_ref()))?,
        transport: tls::upstream(told.transport_socket.as_ref()).at("transport_socket")?,
        transport_matches: told
            .transport_socket_matches
            .iter()
            .map(|one| transport_match(one).at(&format!("transport_socket_matches[{}]", one.name)))
            .collect::<Decoded<_>>()?,
        bind: told.upstream_bind_config.as_ref().map(bind).transpose()?,
        keepalive: told
            .upstream_connection_options
            .as_ref()
            .and_then(|options| options.tcp_keepalive.as_ref())
            .map(|told| TcpKeepalive {
                probes: number(told.keepalive_probes.as_ref()),
                time: number(told.keepalive_time.as_ref()).map(|s| Duration::from_secs(s.into())),
                interval: number(told.keepalive_interval.as_ref()).map(|s| Duration::from_secs(s.into())),
            }),
        service: service(told.metadata.as_ref()),
    })
}

/// The first service that the metadata names.
fn service(metadata: Option<&core::Metadata>) -> Option<ServiceName> {
    use pb::value::Kind;
    let istio = metadata?.filter_metadata.get("istio")?;
    let Kind::ListValue(services) = istio.fields.get("services")?.kind.as_ref()? else {
        return None;
    };
    let Kind::StructValue(first) = services.values.first()?.kind.as_ref()? else {
        return None;
    };
    let field = |name: &str| match first.fields.get(name)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.clone()),
        _ => None,
    };
    Some(ServiceName {
        host: field("host")?,
        name: field("name")?,
        namespace: field("namespace")?,
    })
}

fn discovery(told: &cluster::Cluster) -> Decoded<Discovery> {
    use cluster::cluster::ClusterDiscoveryType as T;
    use cluster::cluster::DiscoveryType as D;
    let kind = match &told.cluster_discovery_type {
        None => Ok(D::Static),
        Some(T::Type(kind)) => D::try_from(*kind),
        Some(T::ClusterType(custom)) => {
            return Err(format!("cluster_type: not understood: {}", custom.name));
        }
    };
    let inline = || -> Decoded<Arc<ClusterLoadAssignment>> {
        let assignment = match &told.load_assignment {
            Some(told) => load_assignment(told).at("load_assignment")?,
            None => load_assignment(&Default::default())?,
        };
        Ok(Arc::new(assignment))
    };
    let refresh = told
        .dns_refresh_rate
        .as_ref()
        .map_or(Ok(DNS_REFRESH), duration)?;
    match kind {
        Ok(D::Static) => Ok(Discovery::Static(inline()?)),
        Ok(D::StrictDns) => Ok(Discovery::StrictDns {
            endpoints: inline()?,
            refresh,
        }),
        Ok(D::LogicalDns) => Ok(Discovery::LogicalDns {
            endpoints: inline()?,
            refresh,
        }),
        Ok(D::Eds) => {
            let other = told
                .eds_cluster_config
                .as_ref()
                .map(|eds| eds.service_name.as_str())
                .unwrap_or_default();
            let name = if other.is_empty() {
                told.name.as_str()
            } else {
                other
            };
            Ok(Discovery::Eds {
                service_name: name.into(),
            })
        }
        Ok(D::OriginalDst) => {
            let port = match &told.lb_config {
                Some(cluster::cluster::LbConfig::OriginalDstLbConfig(config)) => {
                    number(config.upstream_port_override.as_ref())
                }
                _ => None,
            };
            let port = port.map(|port| {
                u16::try_from(port).map_err(|_| format!("upstream_port_override: {port}"))
            });
            Ok(Discovery::OriginalDestination {
                port: port.transpose()?,
            })
        }
        Err(_) => Err("type: expected a known discovery type".into()),
    }
}

fn load_balancing(told: &cluster::Cluster) -> Decoded<LoadBalancing> {
    use cluster::cluster::{LbConfig as C, LbPolicy as P};
    let wide =
        |value: Option<&pb::UInt64Value>, default| value.map_or(default, |value| value.value);
    match P::try_from(told.lb_policy) {
        Ok(P::RoundRobin) => Ok(LoadBalancing::RoundRobin),
        Ok(P::Random) => Ok(LoadBalancing::Random),
        Ok(P::ClusterProvided) => Ok(LoadBalancing::ClusterProvided),
        Ok(P::LeastRequest) => {
            let choices = match &told.lb_config {
                Some(C::LeastRequestLbConfig(config)) => number(config.choice_count.as_ref()),
                _ => None,
            };
            Ok(LoadBalancing::LeastRequest {
                choices: choices.unwrap_or(2).max(2),
            })
        }
        Ok(P::RingHash) => {
            let (minimum, maximum) = match &told.lb_config {
                Some(C::RingHashLbConfig(config)) => (
                    config.minimum_ring_size.as_ref(),
                    config.maximum_ring_size.as_ref(),
                ),
                _ => (None, None),
            };
            let (minimum, maximum) = (wide(minimum, 1024), wide(maximum, MOST_RING));
            if minimum > maximum || maximum > MOST_RING {
                return Err(format!(
                    "ring_hash_lb_config: expected minimum_ring_size <= maximum_ring_size <= {MOST_RING}, found {minimum} \
                     and {maximum}"
                ));
            }
            Ok(LoadBalancing::RingHash {
                minimum_size: minimum,
                maximum_size: maximum,
            })
        }
        Ok(P::Maglev) => {
            let size = match &told.lb_config {
                Some(C::MaglevLbConfig(config)) => config.table_size.as_ref(),
                _ => None,
            };
            let table_size = wide(size, 65_537);
            if !(2..=MOST_MAGLEV).contains(&table_size) || !is_prime(table_size) {
                return Err(format!(
                    "maglev_lb_config.table_size: expected a prime up to {MOST_MAGLEV}, found {table_size}"
                ));
            }
            Ok(LoadBalancing::Maglev { table_size })
        }
        Ok(P::LoadBalancingPolicyConfig) | Err(_) => Err(format!(
            "lb_policy: expected a known one, found {}",
            told.lb_policy
        )),
    }
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..)
            .take_while(|n| n * n <= number)
            .all(|n| !number.is_multiple_of(n))
}

fn panic_threshold(told: &cluster::Cluster) -> u8 {
    let percent = told
        .common_lb_config
        .as_ref()
        .and_then(|common| common.healthy_panic_threshold.as_ref())
        .map_or(50.0, |percent| percent.value);
    percent.clamp(0.0, 100.0) as u8
}

/// In hundredths.
fn percent(told: Option<&envoy_types::pb::envoy::r#type::v3::Percent>, default: f64) -> u32 {
    let percent = told.map_or(default, |told| told.value);
    (percent.clamp(0.0, 100.0) * 100.0) as u32
}

fn limits(told: &cluster::Cluster) -> (Limits, Limits) {
    let mut found = (Limits::default(), Limits::default());
    for threshold in told
        .circuit_breakers
        .iter()
        .flat_map(|breakers| &breakers.thresholds)
    {
        let limits = if threshold.priority == core::RoutingPriority::High as i32 {
            &mut found.1
        } else {
            &mut found.0
        };
        let or = |value: Option<&pb::UInt32Value>, default| number(value).unwrap_or(default);
        limits.max_connections = or(threshold.max_connections.as_ref(), limits.max_connections);
        limits.max_pending_requests = or(
            threshold.max_pending_requests.as_ref(),
            limits.max_pending_requests,
        );
        limits.max_requests = or(threshold.max_requests.as_ref(), limits.max_requests);
        limits.max_retries = or(threshold.max_retries.as_ref(), limits.max_retries);
        limits.retry_budget = threshold.retry_budget.as_ref().map(|told| RetryBudget {
            share: percent(told.budget_percent.as_ref(), 20.0),
            least: number(told.min_retry_concurrency.as_ref()).unwrap_or(3),
        });
    }
    found
}

fn outlier_detection(told: &cluster::OutlierDetection) -> Decoded<OutlierDetection> {
    let or = |value: Option<&pb::UInt32Value>, default| number(value).unwrap_or(default);
    let percent =
        |value: Option<&pb::UInt32Value>, default: u8| or(value, default.into()).min(100) as u8;
    let time =
        |value: Option<&pb::Duration>, default: Duration| value.map_or(Ok(default), duration);
    if told.successful_active_health_check_uneject_host.is_some()
        || told.max_ejection_time_jitter.is_some()
        || !told.monitors.is_empty()
    {
        return Err(
            "outlier_detection: successful_active_health_check_uneject_host, max_ejection_time_jitter, monitors: not \
             honoured"
                .into(),
        );
    }
    let usual = OutlierDetection::default();
    let rate = Rate {
        enforcing_success_rate: percent(
            told.enforcing_success_rate.as_ref(),
            usual.answers.enforcing_success_rate,
        ),
        success_rate_minimum_hosts: or(
            told.success_rate_minimum_hosts.as_ref(),
            usual.answers.success_rate_minimum_hosts,
        ),
        success_rate_request_volume: or(
            told.success_rate_request_volume.as_ref(),
            usual.answers.success_rate_request_volume,
        ),
        success_rate_stdev_factor: or(
            told.success_rate_stdev_factor.as_ref(),
            usual.answers.success_rate_stdev_factor,
        ),
        enforcing_failure_percentage: percent(
            told.enforcing_failure_percentage.as_ref(),
            usual.answers.enforcing_failure_percentage,
        ),
        failure_percentage_threshold: percent(
            told.failure_percentage_threshold.as_ref(),
            usual.answers.failure_percentage_threshold,
        ),
        failure_percentage_minimum_hosts: or(
            told.failure_percentage_minimum_hosts.as_ref(),
            usual.answers.failure_percentage_minimum_hosts,
        ),
        failure_percentage_request_volume: or(
            told.failure_percentage_request_volume.as_ref(),
            usual.answers.failure_percentage_request_volume,
        ),
    };
    Ok(OutlierDetection {
        interval: time(told.interval.as_ref(), usual.interval)?,
        base_ejection_time: time(told.base_ejection_time.as_ref(), usual.base_ejection_time)?,
        max_ejection_time: time(told.max_ejection_time.as_ref(), usual.max_ejection_time)?,
        max_ejection_percent: percent(
            told.max_ejection_percent.as_ref(),
            usual.max_ejection_percent,
        ),
        always_eject_one_host: told
            .always_eject_one_host
            .as_ref()
            .is_some_and(|told| told.value),
        consecutive_5xx: or(told.consecutive_5xx.as_ref(), usual.consecutive_5xx),
        enforcing_consecutive_5xx: percent(
            told.enforcing_consecutive_5xx.as_ref(),
            usual.enforcing_consecutive_5xx,
        ),
        consecutive_gateway_failure: or(
            told.consecutive_gateway_failure.as_ref(),
            usual.consecutive_gateway_failure,
        ),
        enforcing_consecutive_gateway_failure: percent(
            told.enforcing_consecutive_gateway_failure.as_ref(),
            usual.enforcing_consecutive_gateway_failure,
        ),
        split_local_origin_errors: told.split_external_local_origin_errors,
        consecutive_local_origin_failure: or(
            told.consecutive_local_origin_failure.as_ref(),
            usual.consecutive_local_origin_failure,
        ),
        enforcing_consecutive_local_origin_failure: percent(
            told.enforcing_consecutive_local_origin_failure.as_ref(),
            usual.enforcing_consecutive_local_origin_failure,
        ),
        answers: rate,
        local_origin: Rate {
            enforcing_success_rate: percent(
                told.enforcing_local_origin_success_rate.as_ref(),
                usual.local_origin.enforcing_success_rate,
            ),
            enforcing_failure_percentage: percent(
                told.enforcing_failure_percentage_local_origin.as_ref(),
                usual.local_origin.enforcing_failure_percentage,
            ),
            ..rate
        },
    })
}

/// Of the balancers that have it.
fn slow_start(told: &cluster::Cluster) -> Decoded<Option<SlowStart>> {
    use cluster::cluster::LbConfig as C;
    let config = match &told.lb_config {
        Some(C::LeastRequestLbConfig(config)) => config.slow_start_config.as_ref(),
        Some(C::RoundRobinLbConfig(config)) => config.slow_start_config.as_ref(),
        _ => None,
    };
    let Some(config) = config else {
        return Ok(None);
    };
    let aggression = config
        .aggression
        .as_ref()
        .map_or(1.0, |told| told.default_value);
    let least = config
        .min_weight_percent
        .as_ref()
        .map_or(10.0, |told| told.value);
    let window = config
        .slow_start_window
        .as_ref()
        .map(duration)
        .transpose()?;
    Ok(window
        .filter(|window| !window.is_zero())
        .map(|window| SlowStart {
            window,
            aggression: (aggression.clamp(0.001, 1000.0) * 1000.0) as u32,
            least_weight: least.clamp(0.0, 100.0) as u8,
        }))
}

fn upstream(told: &upstream_http::HttpProtocolOptions) -> Decoded<UpstreamHttp> {
    use upstream_http::http_protocol_options::UpstreamProtocolOptions as U;
    use upstream_http::http_protocol_options::explicit_http_config::ProtocolConfig as P;
    let (protocol, http2) = match required(
        told.upstream_protocol_options.as_ref(),
        "upstream_protocol_options",
    )? {
        U::ExplicitHttpConfig(explicit) => {
            match required(explicit.protocol_config.as_ref(), "explicit_http_config")? {
                P::HttpProtocolOptions(_) => (UpstreamProtocol::Http1, None),
                P::Http2ProtocolOptions(options) => (UpstreamProtocol::Http2, Some(options)),
                P::Http3ProtocolOptions(_) => {
                    return Err("explicit_http_config: HTTP/3 is not spoken".into());
                }
            }
        }
        U::UseDownstreamProtocolConfig(config) => (
            UpstreamProtocol::UseDownstream,
            config.http2_protocol_options.as_ref(),
        ),
        U::AutoConfig(config) => (
            UpstreamProtocol::Negotiated,
            config.http2_protocol_options.as_ref(),
        ),
    };
    Ok(UpstreamHttp {
        protocol,
        max_concurrent_streams: http2.and_then(|told| number(told.max_concurrent_streams.as_ref())),
        initial_stream_window: http2
            .and_then(|told| number(told.initial_stream_window_size.as_ref())),
        initial_connection_window: http2
            .and_then(|told| number(told.initial_connection_window_size.as_ref())),
        keep_alive: http2
            .and_then(|told| told.connection_keepalive.as_ref())
            .map_or(Ok(None), keep_alive)
            .at("connection_keepalive")?,
        errors: told
            .outlier_detection
            .as_ref()
            .and_then(|told| told.error_matcher.as_ref())
            .map_or(Ok(Vec::new()), statuses)
            .at("outlier_detection.error_matcher")?,
    })
}

fn keep_alive(told: &core::KeepaliveSettings) -> Decoded<Option<Http2KeepAlive>> {
    let Some(interval) = &told.interval else {
        return Ok(None);
    };
    Ok(Some(Http2KeepAlive {
        interval: duration(interval)?,
        timeout: duration(required(told.timeout.as_ref(), "timeout")?)?,
    }))
}

/// The statuses that a matcher names, each exactly.
fn statuses(told: &matcher::MatchPredicate) -> Decoded<Vec<u16>> {
    use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier as H;
    use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern as S;
    use matcher::match_predicate::Rule as R;
    match &told.rule {
        Some(R::OrMatch(several)) => {
            let each = several.rules.iter().map(statuses);
            Ok(each.collect::<Decoded<Vec<_>>>()?.concat())
        }
        Some(R::HttpResponseHeadersMatch(headers)) => match headers.headers.as_slice() {
            [header] if header.name == ":status" && !header.invert_match => {
                let exact = match &header.header_match_specifier {
                    Some(H::StringMatch(text)) => text.match_pattern.as_ref(),
                    _ => None,
                };
                match exact {
                    Some(S::Exact(code)) => {
                        Ok(vec![code.parse().map_err(|_| {
                            format!("expected a status, found {code:?}")
                        })?])
                    }
                    _ => Err("expected :status by exact text".into()),
                }
            }
            _ => Err("expected one header, :status".into()),
        },
        other => Err(format!("expected statuses, found {other:?}")),
    }
}

fn transport_match(told: &cluster::cluster::TransportSocketMatch) -> Decoded<TransportMatch> {
    let mut labels = told
        .r#match
        .iter()
        .flat_map(|labels| &labels.fields)
        .map(|(key, value)| match &value.kind {
            Some(pb::value::Kind::StringValue(text)) => Ok((key.clone(), text.clone())),
            other => Err(format!("match.{key}: expected a string, found {other:?}")),
        })
        .collect::<Decoded<Vec<_>>>()?;
    labels.sort();
    let transport = tls::upstream(told.transport_socket.as_ref())?;
    Ok(TransportMatch {
        name: told.name.clone(),
        labels,
        transport,
    })
}

fn bind(told: &core::BindConfig) -> Decoded<UpstreamBind> {
    let source = required(
        told.source_address.as_ref(),
        "upstream_bind_config.source_address",
    )?;
    let address = source.address.parse().map_err(|_| {
        format!(
            "source_address: expected an IP address, found {:?}",
            source.address
        )
    })?;
    Ok(UpstreamBind {
        address,
        freebind: super::value::on(told.freebind.as_ref()) || !told.socket_options.is_empty(),
    })
}

//! Listeners. What is passed over, and why, stands in `fields.rs`.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::data::dns::v3 as dns;
use envoy_types::pb::envoy::extensions::filters;
use envoy_types::pb::google::protobuf::Any;
use hauberk_config::dns::{DnsRecord, DnsTable};
use hauberk_config::listener::{
    Direction, FilterChain, FilterChainMatch, HttpInspection, Inspection, Listener, OriginalSource,
    SourceKind, TcpProxy, TcpTraffic, TerminalFilter, TlsInspection, Traffic, TransportProtocol,
    Tunnel, WeightedTcpCluster,
};
use hauberk_config::matcher::PrefixRange;

use super::access_log::access_logs;
use super::external_authorization::Selections;
use super::value::{
    duration, limit, limit_or, metadata_string, number, on, prefix_range, socket_address,
};
use super::{At, Decoded, external_authorization, http, rbac, required, tls, unpack};
use crate::fields;

const DNS: &str = "envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig";
const HTTP_INSPECTOR: &str = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
const ORIGINAL_DST: &str = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
const ORIGINAL_SRC: &str = "envoy.extensions.filters.listener.original_src.v3.OriginalSrc";
const RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";
const EXTERNAL_AUTHORIZATION: &str = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const HTTP: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// Tells Envoy which ALPN to offer upstream; this proxy chooses it by what it carries.
const FILTER_STATE: &str = "envoy.extensions.filters.network.set_filter_state.v3.Config";

const INSPECTION_TIMEOUT: Duration = Duration::from_secs(15);
const TCP_IDLE: Duration = Duration::from_secs(3600);

pub fn listener(told: &listener::Listener) -> Decoded<Listener> {
    if told.filter_chain_matcher.is_some() || told.fcds_config.is_some() {
        return Err("filter_chain_matcher, fcds_config: not honoured".into());
    }
    let (address, udp) = socket_address(told.address.as_ref())?;
    let additional_addresses = told
        .additional_addresses
        .iter()
        .map(|one| match socket_address(one.address.as_ref())? {
            (_, other) if other != udp => {
                Err("additional_addresses: expected the protocol of address".into())
            }
            (additional, _) => Ok(additional),
        })
        .collect::<Decoded<_>>()?;
    let metadata = told.metadata.as_ref();
    Ok(Listener {
        name: told.name.as_str().into(),
        address,
        additional_addresses,
        bind: told.bind_to_port.as_ref().is_none_or(|bind| bind.value),
        transparent: on(told.transparent.as_ref()),
        direction: direction(told.traffic_direction),
        policy_revision: metadata_string(metadata, "hauberk.io", "policy_revision").into(),
        service: metadata_string(metadata, "hauberk.io", "service").into(),
        traffic: if udp {
            Traffic::Dns(dns_table(told)?)
        } else {
            Traffic::Tcp(tcp(told)?)
        },
    })
}

fn direction(told: i32) -> Direction {
    match core::TrafficDirection::try_from(told) {
        Ok(core::TrafficDirection::Inbound) => Direction::Inbound,
        Ok(core::TrafficDirection::Outbound) => Direction::Outbound,
        _ => Direction::Unspecified,
    }
}

fn tcp(told: &listener::Listener) -> Decoded<TcpTraffic> {
    Ok(TcpTraffic {
        use_original_dst: on(told.use_original_dst.as_ref()),
        inspection: inspection(told)?,
        filter_chains: told
            .filter_chains
            .iter()
            .map(|chain| {
                filter_chain(chain)
                    .map(Arc::new)
                    .at(&format!("filter_chains[{}]", chain.name))
            })
            .collect::<Decoded<_>>()?,
        default_filter_chain: told
            .default_filter_chain
            .as_ref()
            .map(|chain| filter_chain(chain).map(Arc::new).at("default_filter_chain"))
            .transpose()?,
    })
}

fn inspection(told: &listener::Listener) -> Decoded<Inspection> {
    let mut found = Inspection {
        http: HttpInspection::Off,
        tls: TlsInspection::Off,
        http_off_at: Vec::new(),
        tls_off_at: Vec::new(),
        original_source: None,
        timeout: limit_or(told.listener_filters_timeout.as_ref(), INSPECTION_TIMEOUT)?,
        continue_on_timeout: told.continue_on_listener_filters_timeout,
    };
    for filter in &told.listener_filters {
        let place = format!("listener_filters[{}]", filter.name);
        let any = listener_filter(filter).at(&place)?;
        let off_at = disabled_at(filter.filter_disabled.as_ref()).at(&place)?;
        match any.type_url.rsplit('/').next().unwrap_or_default() {
            HTTP_INSPECTOR => {
                found.http = HttpInspection::On;
                found.http_off_at = off_at;
            }
            TLS_INSPECTOR => {
                found.tls = TlsInspection::On;
                found.tls_off_at = off_at;
            }
            _ if !off_at.is_empty() => {
                return Err(format!(
                    "{place}: filter_disabled: honoured for tls_inspector and http_inspector only"
                ));
            }
            ORIGINAL_DST => {}
            ORIGINAL_SRC => {
                let told: filters::listener::original_src::v3::OriginalSrc =
                    unpack(any, ORIGINAL_SRC)?;
                found.original_source = Some(OriginalSource {
                    mark: told.mark,
                    bind_port: told.bind_port,
                });
            }
            other => {
                return Err(format!(
                    "listener_filters[{}]: not understood: {other:?}",
                    filter.name
                ));
            }
        }
    }
    Ok(found)
}

/// The destination ports at which a listener filter is off: one range, or any of several.
fn disabled_at(
    told: Option<&listener::ListenerFilterChainMatchPredicate>,
) -> Decoded<Vec<RangeInclusive<u16>>> {
    use listener::listener_filter_chain_match_predicate::Rule as R;
    let Some(told) = told else {
        return Ok(Vec::new());
    };
    match &told.rule {
        Some(R::DestinationPortRange(range)) => {
            // Protocol Buffers' ranges are without their end.
            let bounds = (
                u16::try_from(range.start),
                u16::try_from(range.end.saturating_sub(1)),
            );
            match bounds {
                (Ok(first), Ok(last)) if first <= last => Ok(vec![first..=last]),
                _ => Err(format!(
                    "filter_disabled.destination_port_range: expected ports, found {} to {}",
                    range.start, range.end
                )),
            }
        }
        Some(R::OrMatch(any)) => {
            let each = any.rules.iter().map(|rule| disabled_at(Some(rule)));
            Ok(each.collect::<Decoded<Vec<_>>>()?.concat())
        }
        other => Err(format!(
            "filter_disabled: expected ranges of destination ports, found {other:?}"
        )),
    }
}

fn listener_filter(told: &listener::ListenerFilter) -> Decoded<&Any> {
    match &told.config_type {
        Some(listener::listener_filter::ConfigType::TypedConfig(any)) => Ok(any),
        other => Err(format!("expected typed_config, found {other:?}")),
    }
}

fn filter_chain(told: &listener::FilterChain) -> Decoded<FilterChain> {
    let mut found_rbac = Vec::new();
    let mut selections = Selections::default();
    let mut external_authorizations = Vec::new();
    let mut terminal = None;
    for filter in &told.filters {
        let Some(listener::filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            return Err(format!(
                "filters[{}]: expected typed_config, found another",
                filter.name
            ));
        };
        if terminal.is_some() {
            return Err(format!(
                "filters[{}]: expected nothing after the terminal filter",
                filter.name
            ));
        }
        let place = format!("filters[{}]", filter.name);
        match any.type_url.rsplit('/').next().unwrap_or_default() {
            RBAC => {
                let told: filters::network::rbac::v3::Rbac = unpack(any, RBAC)?;
                let rules = rbac::network_filter(&told).at(&place)?;
                if !selections.take(&told.shadow_rules_stat_prefix, &rules) {
                    found_rbac.push(rules);
                }
            }
            EXTERNAL_AUTHORIZATION => {
                let told = unpack(any, EXTERNAL_AUTHORIZATION)?;
                let found = external_authorization::network_filter(&told, &selections);
                external_authorizations.push(Arc::new(found.at(&place)?));
            }
            TCP_PROXY => {
                terminal = Some(TerminalFilter::TcpProxy(Arc::new(
                    tcp_proxy(&unpack(any, TCP_PROXY)?).at(&place)?,
                )));
            }
            HTTP => {
                terminal = Some(TerminalFilter::Http(Arc::new(
                    http::connection_manager(&unpack(any, HTTP)?).at(&place)?,
                )));
            }
            FILTER_STATE => {}
            _ if fields::passed_over(any).is_some() => {}
            other => return Err(format!("{place}: not understood: {other:?}")),
        }
    }
    Ok(FilterChain {
        name: told.name.as_str().into(),
        matches: told
            .filter_chain_match
            .as_ref()
            .map_or(Ok(FilterChainMatch::default()), chain_match)?,
        transport: tls::downstream(told.transport_socket.as_ref()).at("transport_socket")?,
        transport_timeout: told
            .transport_socket_connect_timeout
            .as_ref()
            .map(duration)
            .transpose()?,
        rbac: found_rbac,
        external_authorizations,
        terminal: terminal
            .ok_or("filters: expected tcp_proxy or http_connection_manager, found neither")?,
    })
}

fn chain_match(told: &listener::FilterChainMatch) -> Decoded<FilterChainMatch> {
    use listener::filter_chain_match::ConnectionSourceType as S;
    if !told.address_suffix.is_empty() {
        return Err("filter_chain_match.address_suffix: not honoured".into());
    }
    let port = |port: u32| {
        u16::try_from(port).map_err(|_| format!("port: expected at most 65535, found {port}"))
    };
    let ranges = |told: &[core::CidrRange]| {
        told.iter()
            .map(prefix_range)
            .collect::<Decoded<Vec<PrefixRange>>>()
    };
    Ok(FilterChainMatch {
        destination_port: number(told.destination_port.as_ref())
            .map(port)
            .transpose()?,
        destination_ranges: ranges(&told.prefix_ranges)?,
        server_names: told
            .server_names
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
        transport_protocol: match told.transport_protocol.as_str() {
            "" => None,
            "tls" => Some(TransportProtocol::Tls),
            "raw_buffer" => Some(TransportProtocol::RawBuffer),
            other => {
                return Err(format!(
                    "transport_protocol: expected tls or raw_buffer, found {other:?}"
                ));
            }
        },
        application_protocols: told.application_protocols.clone(),
        direct_source_ranges: ranges(&told.direct_source_prefix_ranges)?,
        source_kind: match S::try_from(told.source_type) {
            Ok(S::Any) => SourceKind::Any,
            Ok(S::SameIpOrLoopback) => SourceKind::SameAddressOrLoopback,
            Ok(S::External) => SourceKind::External,
            Err(_) => {
                return Err(format!(
                    "source_type: expected a known one, found {}",
                    told.source_type
                ));
            }
        },
        source_ranges: ranges(&told.source_prefix_ranges)?,
        source_ports: told
            .source_ports
            .iter()
            .copied()
            .map(port)
            .collect::<Decoded<_>>()?,
    })
}

fn tcp_proxy(told: &filters::network::tcp_proxy::v3::TcpProxy) -> Decoded<TcpProxy> {
    use filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier as C;
    if told.metadata_match.is_some() {
        return Err("metadata_match: not honoured".into());
    }
    let clusters = match required(told.cluster_specifier.as_ref(), "cluster_specifier")? {
        C::Cluster(name) => vec![WeightedTcpCluster {
            cluster: name.as_str().into(),
            weight: 1,
        }],
        C::WeightedClusters(weighted) => weighted
            .clusters
            .iter()
            .map(|one| WeightedTcpCluster {
                cluster: one.name.as_str().into(),
                weight: one.weight,
            })
            .collect(),
    };
    if clusters.iter().all(|cluster| cluster.weight == 0) {
        return Err("weighted_clusters: expected weights above 0, found none".into());
    }
    Ok(TcpProxy {
        stat_prefix: told.stat_prefix.clone(),
        clusters,
        idle_timeout: limit_or(told.idle_timeout.as_ref(), TCP_IDLE)?,
        max_connect_attempts: number(told.max_connect_attempts.as_ref())
            .unwrap_or(1)
            .max(1),
        access_logs: access_logs(&told.access_log)?,
        hash_source_ip: !told.hash_policy.is_empty(),
        longest: limit(told.max_downstream_connection_duration.as_ref())?,
        tunnel: told
            .tunneling_config
            .as_ref()
            .map(tunnel)
            .transpose()
            .at("tunneling_config")?,
    })
}

fn tunnel(told: &filters::network::tcp_proxy::v3::tcp_proxy::TunnelingConfig) -> Decoded<Tunnel> {
    if !told.headers_to_add.is_empty()
        || told.propagate_response_headers
        || told.propagate_response_trailers
        || !told.post_path.is_empty()
    {
        return Err(
            "expected hostname and use_post, found headers, propagation or post_path, which are not honoured".into(),
        );
    }
    if told.hostname.contains('%') {
        return Err(format!(
            "hostname: expected a name, found the command {:?}",
            told.hostname
        ));
    }
    Ok(Tunnel {
        target: told.hostname.clone(),
        post: told.use_post,
    })
}

fn dns_table(told: &listener::Listener) -> Decoded<Arc<DnsTable>> {
    use dns::dns_table::dns_endpoint::EndpointConfig as E;
    use filters::udp::dns_filter::v3::dns_filter_config::server_context_config::ConfigSource as S;
    let [filter] = told.listener_filters.as_slice() else {
        return Err("listener_filters: expected one dns_filter on a UDP listener".into());
    };
    let config: filters::udp::dns_filter::v3::DnsFilterConfig =
        unpack(listener_filter(filter)?, DNS)?;
    let source = config
        .server_config
        .as_ref()
        .and_then(|server| server.config_source.as_ref());
    let Some(S::InlineDnsTable(table)) = source else {
        return Err("dns_filter: expected inline_dns_table, found another".into());
    };
    let mut records = HashMap::with_capacity(table.virtual_domains.len());
    for domain in &table.virtual_domains {
        let config = domain
            .endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.endpoint_config.as_ref());
        let Some(E::AddressList(list)) = config else {
            return Err(format!(
                "dns table, {}: expected an address list, found another",
                domain.name
            ));
        };
        let addresses = list
            .address
            .iter()
            .map(|text| {
                text.parse().map_err(|_| {
                    format!(
                        "dns table, {}: expected an address, found {text:?}",
                        domain.name
                    )
                })
            })
            .collect::<Decoded<_>>()?;
        let time_to_live = domain
            .answer_ttl
            .as_ref()
            .map_or(Ok(Duration::from_secs(30)), duration)?;
        let name = domain.name.trim_end_matches('.').to_ascii_lowercase();
        records.insert(
            name,
            DnsRecord {
                addresses,
                time_to_live,
            },
        );
    }
    Ok(Arc::new(DnsTable {
        records,
        known_suffixes: Vec::new(),
        upstream_resolvers: Vec::new(),
    }))
}

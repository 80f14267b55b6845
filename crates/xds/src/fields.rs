//! The one list of what a resource may say: for the messages that carry behaviour, the fields that this proxy honours,
//! and those that it takes and passes over, each with its reason. Any other field that is set is refused, so that nobody
//! relies on what does not happen. What a field's own message holds is judged where it is decoded.

use envoy_types::pb::google::protobuf::Any;

use crate::decode::{Decoded, kind};

struct Message {
    name: &'static str,
    /// Read by `decode`, which refuses what it does not understand within.
    honoured: &'static [u32],
    ignored: &'static [(u32, &'static str, &'static str)],
    /// Fields that hold messages of this list.
    within: &'static [(u32, &'static str)],
}

const LISTENER: &str = "envoy.config.listener.v3.Listener";
const FILTER_CHAIN: &str = "envoy.config.listener.v3.FilterChain";
const FILTER: &str = "envoy.config.listener.v3.Filter";
const ANY: &str = "google.protobuf.Any";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";
const VIRTUAL_HOST: &str = "envoy.config.route.v3.VirtualHost";
const ROUTE: &str = "envoy.config.route.v3.Route";
const ROUTE_ACTION: &str = "envoy.config.route.v3.RouteAction";
const RETRY: &str = "envoy.config.route.v3.RetryPolicy";
const HTTP: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

const STATISTICS: &str = "names Envoy's own statistics; ours have Istio's names";
const DESCRIPTION: &str = "describes, and changes nothing";
const BUFFERS: &str = "nothing is gathered: what is under way is bounded by windows of its own";
const KEPT: &str = "a body is kept for another attempt up to 64 KiB";
const ACCEPTS: &str = "workers share a port by SO_REUSEPORT, with the kernel's backlog";
const OVERLOAD: &str = "there is no overload manager or global limit to pass by";
const NAMES: &str = "of name resolution, which clusters do not have yet";
const LOAD_REPORTS: &str = "load is not reported to the control plane";

/// Filters that the proxy takes and passes over, by the type of their configuration: none of them lets anybody in, keeps
/// anybody out, or changes what arrives. They are Istio's own; the first five are what its control plane sends by default.
const FILTERS: &[(&str, &str)] = &[
    ("io.istio.http.peer_metadata.Config", PEERS),
    (EXCHANGE, PEERS),
    (
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "the ALPN toward another proxy is chosen by what is carried",
    ),
    (
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        STATISTICS,
    ),
    ("stats.PluginConfig", STATISTICS),
];
/// It speaks a protocol of its own before the connection's, if both sides agree to the ALPN `istio-peer-exchange`: that
/// protocol is never offered or accepted (`decode/tls.rs`), so that the filter's absence is seen by nobody.
const EXCHANGE: &str = "envoy.tcp.metadataexchange.config.MetadataExchange";
const PEERS: &str =
    "tells peers each other's labels for statistics; ours are known by certificate and endpoint";
/// Messages that hold another one as a structure, with its type in field 1.
const TYPED_STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];

const MESSAGES: &[Message] = &[
    Message {
        name: LISTENER,
        honoured: &[1, 2, 33, 3, 36, 32, 4, 25, 6, 9, 15, 17, 10, 16, 26],
        ignored: &[
            (28, "stat_prefix", STATISTICS),
            (5, "per_connection_buffer_limit_bytes", BUFFERS),
            (
                8,
                "drain_type",
                "connections of a listener that goes finish what is under way",
            ),
            (
                12,
                "tcp_fast_open_queue_length",
                "costs a round trip, and changes nothing",
            ),
            (
                18,
                "udp_listener_config",
                "DNS is answered one datagram at a time",
            ),
            (20, "connection_balance_config", ACCEPTS),
            (21, "reuse_port", ACCEPTS),
            (29, "enable_reuse_port", ACCEPTS),
            (24, "tcp_backlog_size", ACCEPTS),
            (34, "max_connections_to_accept_per_socket_event", ACCEPTS),
            (
                22,
                "access_log",
                "what no filter chain takes has a call record, which says so",
            ),
            (31, "ignore_global_conn_limit", OVERLOAD),
            (35, "bypass_overload_manager", OVERLOAD),
        ],
        within: &[(3, FILTER_CHAIN), (25, FILTER_CHAIN)],
    },
    Message {
        name: FILTER_CHAIN,
        honoured: &[1, 3, 6, 9, 7],
        ignored: &[(5, "metadata", DESCRIPTION)],
        within: &[(3, FILTER)],
    },
    Message {
        name: FILTER,
        honoured: &[1, 4],
        ignored: &[],
        within: &[(4, ANY)],
    },
    Message {
        name: HTTP,
        honoured: &[
            1, 3, 4, 31, 5, 7, 35, 8, 9, 10, 34, 48, 29, 24, 28, 41, 13, 14, 19, 46, 52, 25, 21,
            15, 32, 37, 16, 17, 23, 30, 33, 45, 36, 38, 39, 42, 43, 47, 51,
        ],
        ignored: &[
            (2, "stat_prefix", STATISTICS),
            (12, "drain_timeout", "the process's own time to drain holds"),
            (26, "delayed_close_timeout", "the kernel sends what is left"),
            (
                18,
                "proxy_100_continue",
                "who waits for 100 is told at once to go on, and the body goes on as it comes",
            ),
        ],
        within: &[(4, ROUTES)],
    },
    Message {
        name: TCP,
        honoured: &[2, 10, 9, 8, 5, 7, 11, 12, 13],
        ignored: &[(1, "stat_prefix", STATISTICS)],
        within: &[],
    },
    Message {
        name: CLUSTER,
        honoured: &[
            43, 1, 28, 2, 38, 3, 4, 6, 33, 8, 10, 36, 16, 19, 21, 22, 23, 52, 34, 37, 27, 24, 25,
            30, 40, 41, 56,
        ],
        ignored: &[
            (5, "per_connection_buffer_limit_bytes", BUFFERS),
            (17, "dns_lookup_family", NAMES),
            (18, "dns_resolvers", NAMES),
            (39, "respect_dns_ttl", NAMES),
            (44, "dns_failure_refresh_rate", NAMES),
            (45, "use_tcp_for_dns_lookups", NAMES),
            (53, "dns_resolution_config", NAMES),
            (55, "typed_dns_resolver_config", NAMES),
            (58, "dns_jitter", NAMES),
            (
                20,
                "cleanup_interval",
                "original destinations go when too many are known",
            ),
            (
                32,
                "ignore_health_on_host_removal",
                "a host that EDS leaves out goes at once",
            ),
            (42, "lrs_server", LOAD_REPORTS),
            (57, "lrs_report_endpoint_metrics", LOAD_REPORTS),
            (47, "track_timeout_budgets", STATISTICS),
            (49, "track_cluster_stats", STATISTICS),
            (
                50,
                "preconnect_policy",
                "connections are made when they are needed",
            ),
            (
                54,
                "wait_for_warm_on_init",
                "a cluster always waits for its endpoints",
            ),
        ],
        within: &[],
    },
    Message {
        name: ROUTES,
        honoured: &[1, 2, 9, 4, 5, 6, 8, 10, 12, 13, 14, 16],
        ignored: &[
            (
                7,
                "validate_clusters",
                "a cluster that is not there answers 503, 404 or 500",
            ),
            (
                11,
                "max_direct_response_body_size_bytes",
                "the resource holds the body already",
            ),
            (17, "metadata", DESCRIPTION),
        ],
        within: &[(2, VIRTUAL_HOST)],
    },
    Message {
        name: VIRTUAL_HOST,
        honoured: &[1, 2, 3, 21, 4, 6, 7, 13, 10, 11, 8, 15, 14, 19, 16, 22],
        ignored: &[
            (5, "virtual_clusters", STATISTICS),
            (18, "per_request_buffer_limit_bytes", KEPT),
            (25, "request_body_buffer_limit", KEPT),
            (24, "metadata", DESCRIPTION),
        ],
        within: &[(3, ROUTE), (16, RETRY)],
    },
    Message {
        name: ROUTE,
        honoured: &[14, 1, 2, 3, 7, 17, 18, 4, 5, 13, 9, 12, 10, 11],
        ignored: &[
            (16, "per_request_buffer_limit_bytes", KEPT),
            (20, "request_body_buffer_limit", KEPT),
            (19, "stat_prefix", STATISTICS),
        ],
        within: &[(2, ROUTE_ACTION)],
    },
    Message {
        name: ROUTE_ACTION,
        honoured: &[
            1, 2, 3, 37, 39, 20, 4, 5, 32, 6, 7, 29, 35, 44, 38, 8, 24, 9, 30, 11, 13, 15, 17, 23,
            25, 34, 36,
        ],
        ignored: &[(40, "early_data_policy", "early data of TLS is never taken")],
        within: &[(9, RETRY)],
    },
    Message {
        name: RETRY,
        honoured: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        ignored: &[],
        within: &[],
    },
];

/// Whether all that a serialized message of this name sets is honoured or knowingly passed over. A message that is not in
/// the list is for `decode` to judge.
///
/// # Errors
/// The field that is neither, by its number (`envoy`'s proto files say the name), or what is wrong with the bytes.
pub fn known(name: &str, bytes: &[u8]) -> Decoded<()> {
    let Some(message) = MESSAGES.iter().find(|message| message.name == name) else {
        return Ok(());
    };
    let short = name.rsplit('.').next().unwrap_or(name);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, content) = field(&mut rest).ok_or_else(|| format!("{short}: cut off"))?;
        let ignored = || {
            message
                .ignored
                .iter()
                .any(|(ignored, _, _)| *ignored == number)
        };
        if !message.honoured.contains(&number) && !ignored() {
            return Err(format!(
                "{short}: field {number} is set, which this proxy does not honour"
            ));
        }
        let within = message.within.iter().find(|(within, _)| *within == number);
        match (within, content) {
            (Some((_, inner)), Some(content)) if *inner == ANY => any(content)?,
            (Some((_, inner)), Some(content)) => known(inner, content)?,
            _ => {}
        }
    }
    Ok(())
}

/// Why the filter with this configuration may be passed over; `None` if it may not.
pub fn passed_over(configuration: &Any) -> Option<&'static str> {
    let told = kind(&configuration.type_url);
    let named = if TYPED_STRUCTS.contains(&told) {
        inner_type(&configuration.value)?
    } else {
        told
    };
    let found = FILTERS.iter().find(|(name, _)| *name == named);
    found.map(|(_, reason)| *reason)
}

/// Field 1 of a `TypedStruct`, without its prefix.
fn inner_type(bytes: &[u8]) -> Option<&str> {
    let mut rest = bytes;
    while !rest.is_empty() {
        if let (1, Some(content)) = field(&mut rest)? {
            return std::str::from_utf8(content).ok().map(kind);
        }
    }
    None
}

/// A message in its envelope: field 1 its type, field 2 its bytes.
fn any(bytes: &[u8]) -> Decoded<()> {
    let (mut rest, mut name, mut value) = (bytes, "", &[][..]);
    while !rest.is_empty() {
        match field(&mut rest).ok_or("Any: cut off")? {
            (1, Some(content)) => name = std::str::from_utf8(content).unwrap_or_default(),
            (2, Some(content)) => value = content,
            _ => {}
        }
    }
    known(kind(name), value)
}

/// The next field of the wire format: its number, and its bytes if it is length-delimited.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).ok()?;
    let length = match key & 7 {
        0 => {
            varint(rest)?;
            return Some((number, None));
        }
        1 => 8,
        5 => 4,
        2 => usize::try_from(varint(rest)?).ok()?,
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((number, (key & 7 == 2).then_some(content)))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::config::route::v3 as route;
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_field_is_honoured_or_ignored_for_a_reason_and_never_both() {
        for message in MESSAGES {
            for (number, name, reason) in message.ignored {
                assert!(
                    !message.honoured.contains(number),
                    "{} {name}",
                    message.name
                );
                assert!(!reason.is_empty(), "{} {name}", message.name);
            }
        }
    }

    #[test]
    fn what_is_neither_is_refused_however_deep_it_lies() {
        let mut action = route::RouteAction::default();
        let resource = |action: &route::RouteAction| {
            let route = route::Route {
                action: Some(route::route::Action::Route(action.clone())),
                ..Default::default()
            };
            let host = route::VirtualHost {
                routes: vec![route],
                ..Default::default()
            };
            let routes = route::RouteConfiguration {
                virtual_hosts: vec![host],
                ..Default::default()
            };
            routes.encode_to_vec()
        };
        assert_eq!(known(ROUTES, &resource(&action)), Ok(()));
        action.hedge_policy = Some(Default::default());
        let refused = known(ROUTES, &resource(&action));
        assert!(refused.is_err_and(|reason| reason.contains("RouteAction: field 27")));
    }

    #[test]
    fn a_filter_is_passed_over_by_its_type_and_never_by_its_name_or_place() {
        let plain = |name: &str| Any {
            type_url: format!("type.googleapis.com/{name}"),
            value: Vec::new(),
        };
        // A TypedStruct begins with its type, field 1.
        let structured = |name: &str| {
            let inner = plain(name).type_url;
            let mut value = vec![0x0a, u8::try_from(inner.len()).unwrap_or_default()];
            value.extend(inner.into_bytes());
            Any {
                value,
                ..plain(TYPED_STRUCTS[0])
            }
        };
        for (name, reason) in FILTERS {
            assert_eq!(passed_over(&plain(name)), Some(*reason));
            assert_eq!(passed_over(&structured(name)), Some(*reason));
        }
        let lua = "envoy.extensions.filters.http.lua.v3.Lua";
        for other in [plain(lua), structured(lua), plain(TYPED_STRUCTS[0])] {
            assert_eq!(passed_over(&other), None);
        }
    }

    #[test]
    fn what_is_ignored_is_taken_and_broken_bytes_are_not() {
        let cluster = Cluster {
            name: "c".into(),
            ignore_health_on_host_removal: true,
            ..Default::default()
        };
        let bytes = cluster.encode_to_vec();
        assert_eq!(known(CLUSTER, &bytes), Ok(()));
        for length in 1..bytes.len() {
            let _ = known(CLUSTER, &bytes[..length]);
        }
        assert!(known(CLUSTER, &[0x0a, 0xff]).is_err());
    }
}

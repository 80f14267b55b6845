//! Route configurations. What is passed over, and why, stands in `fields.rs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http as filters;
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::google::protobuf as pb;
use hauberk_config::connection_manager::Upgrade;
use hauberk_config::fault::{AbortStatus, Fault, FaultAbort, FaultDelay, Fraction};
use hauberk_config::matcher::{QueryMatch, QueryMatcher};
use hauberk_config::route::{
    AppendAction, BackOff, ClusterTarget, CorsPolicy, DirectResponse, FilterOverride, Forward,
    HEADER_COMMANDS, HashPolicy, HashSource, HeaderAddition, HeaderMutations, HostRewrite, Mirror,
    Mutations, Overrides, PathMatch, PathRewrite, Priority, Redirect, RedirectPath, RedirectScheme,
    RequireTls, RetryOn, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch,
    VirtualHost, WeightedCluster,
};

use super::rbac;
use super::value::{
    duration, fraction, header_matchers, inline, limit, limit_or, metadata_strings, number, on,
    pattern, regex, runtime_fraction, string_matcher,
};
use super::{At, Decoded, required, unpack};

const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
const CORS: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const PREVIOUS_PRIORITIES: &str =
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";
const ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

pub fn route_configuration(told: &route::RouteConfiguration) -> Decoded<RouteConfiguration> {
    if told.vhds.is_some() || !told.cluster_specifier_plugins.is_empty() {
        return Err("vhds, cluster_specifier_plugins: expected virtual hosts, found these".into());
    }
    Ok(RouteConfiguration {
        name: told.name.as_str().into(),
        virtual_hosts: told
            .virtual_hosts
            .iter()
            .map(|host| {
                virtual_host(host)
                    .map(Arc::new)
                    .at(&format!("virtual_hosts[{}]", host.name))
            })
            .collect::<Decoded<_>>()?,
        headers: mutations(
            &told.request_headers_to_add,
            &told.request_headers_to_remove,
            &told.response_headers_to_add,
            &told.response_headers_to_remove,
        )?,
        ignore_port_in_host: told.ignore_port_in_host_matching,
        most_specific_headers_win: told.most_specific_header_mutations_wins,
        overrides: overrides(&told.typed_per_filter_config)?,
        mirrors: mirrors(&told.request_mirror_policies)?,
    })
}

fn virtual_host(told: &route::VirtualHost) -> Decoded<VirtualHost> {
    use route::virtual_host::TlsRequirementType as T;
    if told.matcher.is_some() || !told.rate_limits.is_empty() || told.cors.is_some() {
        return Err("matcher, rate_limits, cors: not honoured on a virtual host".into());
    }
    Ok(VirtualHost {
        name: told.name.as_str().into(),
        domains: told
            .domains
            .iter()
            .map(|domain| domain.to_ascii_lowercase())
            .collect(),
        routes: told
            .routes
            .iter()
            .enumerate()
            .map(|(index, one)| {
                one_route(one)
                    .map(Arc::new)
                    .at(&format!("routes[{index}] {}", one.name))
            })
            .collect::<Decoded<_>>()?,
        headers: mutations(
            &told.request_headers_to_add,
            &told.request_headers_to_remove,
            &told.response_headers_to_add,
            &told.response_headers_to_remove,
        )?,
        require_tls: match T::try_from(told.require_tls) {
            Ok(T::None) => RequireTls::No,
            Ok(T::ExternalOnly) => RequireTls::ExternalOnly,
            Ok(T::All) => RequireTls::All,
            Err(_) => {
                return Err(format!(
                    "require_tls: expected a known one, found {}",
                    told.require_tls
                ));
            }
        },
        retry: told
            .retry_policy
            .as_ref()
            .map(retry_policy)
            .transpose()?
            .map(Arc::new),
        include_attempt_count_in_request: told.include_request_attempt_count,
        include_attempt_count_in_response: told.include_attempt_count_in_response,
        overrides: overrides(&told.typed_per_filter_config)?,
        mirrors: mirrors(&told.request_mirror_policies)?,
    })
}

fn one_route(told: &route::Route) -> Decoded<Route> {
    use route::route::Action as A;
    let action = match required(told.action.as_ref(), "action")? {
        A::Route(action) => RouteAction::Forward(Box::new(forward(action).at("route")?)),
        A::Redirect(action) => RouteAction::Redirect(redirect(action).at("redirect")?),
        A::DirectResponse(action) => RouteAction::Direct(DirectResponse {
            status: u16::try_from(action.status)
                .map_err(|_| format!("status: found {}", action.status))?,
            body: inline(action.body.as_ref()).at("body")?,
        }),
        other => {
            return Err(format!(
                "action: expected route, redirect or direct_response, found {other:?}"
            ));
        }
    };
    Ok(Route {
        name: told.name.as_str().into(),
        matches: route_match(required(told.r#match.as_ref(), "match")?).at("match")?,
        action,
        headers: mutations(
            &told.request_headers_to_add,
            &told.request_headers_to_remove,
            &told.response_headers_to_add,
            &told.response_headers_to_remove,
        )?,
        overrides: overrides(&told.typed_per_filter_config)?,
        metadata: metadata_strings(told.metadata.as_ref(), "istio")
            .into_iter()
            .collect(),
        operation: told
            .decorator
            .as_ref()
            .map(|decorator| decorator.operation.clone()),
    })
}

fn route_match(told: &route::RouteMatch) -> Decoded<RouteMatch> {
    use route::route_match::PathSpecifier as P;
    if !told.cookies.is_empty()
        || told.tls_context.is_some()
        || !told.dynamic_metadata.is_empty()
        || !told.filter_state.is_empty()
    {
        return Err("cookies, tls_context, dynamic_metadata, filter_state: not honoured".into());
    }
    Ok(RouteMatch {
        path: match required(told.path_specifier.as_ref(), "path_specifier")? {
            P::Prefix(text) => PathMatch::Prefix(text.clone()),
            P::Path(text) => PathMatch::Exact(text.clone()),
            P::PathSeparatedPrefix(text) => PathMatch::SeparatedPrefix(text.clone()),
            P::SafeRegex(value) => PathMatch::Regex(regex(value)?),
            P::ConnectMatcher(_) => PathMatch::Connect,
            other @ P::PathMatchPolicy(_) => {
                return Err(format!("path: not understood: {other:?}"));
            }
        },
        case_sensitive: told.case_sensitive.as_ref().is_none_or(|value| value.value),
        headers: header_matchers(&told.headers)?,
        query: told
            .query_parameters
            .iter()
            .map(query_matcher)
            .collect::<Decoded<_>>()?,
        share: match &told.runtime_fraction {
            Some(share) => Some(runtime_fraction(Some(share))?),
            None => None,
        },
        grpc: told.grpc.is_some(),
    })
}

fn query_matcher(told: &route::QueryParameterMatcher) -> Decoded<QueryMatcher> {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier as Q;
    let matches = match &told.query_parameter_match_specifier {
        None => QueryMatch::Present(true),
        Some(Q::PresentMatch(present)) => QueryMatch::Present(*present),
        Some(Q::StringMatch(text)) => QueryMatch::String(string_matcher(text).at(&told.name)?),
    };
    Ok(QueryMatcher {
        name: told.name.clone(),
        matches,
    })
}

fn forward(told: &route::RouteAction) -> Decoded<Forward> {
    use route::route_action::ClusterNotFoundResponseCode as N;
    if told.cors.is_some()
        || !told.rate_limits.is_empty()
        || told.internal_redirect_policy.is_some()
        || told.metadata_match.is_some()
    {
        return Err(
            "cors, rate_limits, internal_redirect_policy, metadata_match: not honoured".into(),
        );
    }
    Ok(Forward {
        target: target(told)?,
        cluster_not_found_status: match N::try_from(told.cluster_not_found_response_code) {
            Ok(N::NotFound) => 404,
            Ok(N::InternalServerError) => 500,
            _ => 503,
        },
        path_rewrite: match (&told.regex_rewrite, told.prefix_rewrite.as_str()) {
            (Some(rewrite), _) => {
                let (pattern, substitution) = substitution(rewrite).at("regex_rewrite")?;
                Some(PathRewrite::Regex {
                    pattern,
                    substitution,
                })
            }
            (None, "") => None,
            (None, prefix) => Some(PathRewrite::Prefix(prefix.to_owned())),
        },
        host_rewrite: host_rewrite(told.host_rewrite_specifier.as_ref())?,
        append_x_forwarded_host: told.append_x_forwarded_host,
        timeout: limit_or(told.timeout.as_ref(), ROUTE_TIMEOUT)?,
        idle_timeout: told.idle_timeout.as_ref().map(duration).transpose()?,
        max_grpc_timeout: max_grpc_timeout(told)?,
        retry: told
            .retry_policy
            .as_ref()
            .map(retry_policy)
            .transpose()
            .at("retry_policy")?
            .map(Arc::new),
        hash_policy: told
            .hash_policy
            .iter()
            .map(hash_policy)
            .collect::<Decoded<_>>()?,
        mirrors: mirrors(&told.request_mirror_policies)?,
        cors: None,
        priority: if told.priority == core::RoutingPriority::High as i32 {
            Priority::High
        } else {
            Priority::Default
        },
        upgrades: told
            .upgrade_configs
            .iter()
            .map(|one| Upgrade {
                kind: one.upgrade_type.clone(),
                enabled: one.enabled.as_ref().is_none_or(|e| e.value),
            })
            .collect(),
    })
}

fn target(told: &route::RouteAction) -> Decoded<ClusterTarget> {
    use route::route_action::ClusterSpecifier as C;
    match required(told.cluster_specifier.as_ref(), "cluster_specifier")? {
        C::Cluster(name) => Ok(ClusterTarget::Single(name.as_str().into())),
        C::ClusterHeader(name) => Ok(ClusterTarget::Header(name.to_ascii_lowercase())),
        C::WeightedClusters(weighted) => {
            let clusters = weighted
                .clusters
                .iter()
                .map(weighted_cluster)
                .collect::<Decoded<Vec<_>>>()?;
            if clusters.iter().all(|cluster| cluster.weight == 0) {
                return Err("weighted_clusters: expected weights above 0, found none".into());
            }
            Ok(ClusterTarget::Weighted(clusters))
        }
        other => Err(format!("cluster_specifier: not understood: {other:?}")),
    }
}

fn weighted_cluster(told: &route::weighted_cluster::ClusterWeight) -> Decoded<WeightedCluster> {
    use route::weighted_cluster::cluster_weight::HostRewriteSpecifier as H;
    Ok(WeightedCluster {
        cluster: told.name.as_str().into(),
        weight: number(told.weight.as_ref()).unwrap_or(0),
        headers: mutations(
            &told.request_headers_to_add,
            &told.request_headers_to_remove,
            &told.response_headers_to_add,
            &told.response_headers_to_remove,
        )?,
        host_rewrite: told
            .host_rewrite_specifier
            .as_ref()
            .map(|H::HostRewriteLiteral(host)| host.clone()),
        overrides: overrides(&told.typed_per_filter_config)?,
    })
}

fn host_rewrite(
    told: Option<&route::route_action::HostRewriteSpecifier>,
) -> Decoded<Option<HostRewrite>> {
    use route::route_action::HostRewriteSpecifier as H;
    Ok(match told {
        None => None,
        Some(H::HostRewriteLiteral(host)) => Some(HostRewrite::Literal(host.clone())),
        Some(H::AutoHostRewrite(auto)) => auto.value.then_some(HostRewrite::Auto),
        Some(H::HostRewriteHeader(name)) => Some(HostRewrite::Header(name.to_ascii_lowercase())),
        Some(H::HostRewritePathRegex(rewrite)) => {
            let (pattern, substitution) = substitution(rewrite)?;
            Some(HostRewrite::PathRegex {
                pattern,
                substitution,
            })
        }
        Some(other) => return Err(format!("host_rewrite: not understood: {other:?}")),
    })
}

fn substitution(told: &matcher::RegexMatchAndSubstitute) -> Decoded<(String, String)> {
    Ok((
        pattern(&required(told.pattern.as_ref(), "pattern")?.regex)?,
        told.substitution.clone(),
    ))
}

fn redirect(told: &route::RedirectAction) -> Decoded<Redirect> {
    use route::redirect_action::{
        PathRewriteSpecifier as P, RedirectResponseCode as R, SchemeRewriteSpecifier as S,
    };
    Ok(Redirect {
        scheme: match &told.scheme_rewrite_specifier {
            Some(S::HttpsRedirect(true)) => RedirectScheme::Https,
            Some(S::SchemeRedirect(scheme)) => RedirectScheme::Other(scheme.clone()),
            _ => RedirectScheme::Keep,
        },
        host: (!told.host_redirect.is_empty()).then(|| told.host_redirect.clone()),
        port: match told.port_redirect {
            0 => None,
            port => Some(u16::try_from(port).map_err(|_| format!("port_redirect: found {port}"))?),
        },
        path: match &told.path_rewrite_specifier {
            None => RedirectPath::Keep,
            Some(P::PathRedirect(path)) => RedirectPath::Replace(path.clone()),
            Some(P::PrefixRewrite(prefix)) => RedirectPath::Prefix(prefix.clone()),
            Some(P::RegexRewrite(rewrite)) => {
                let (pattern, substitution) = substitution(rewrite)?;
                RedirectPath::Regex {
                    pattern,
                    substitution,
                }
            }
        },
        status: match R::try_from(told.response_code) {
            Ok(R::MovedPermanently) => 301,
            Ok(R::Found) => 302,
            Ok(R::SeeOther) => 303,
            Ok(R::TemporaryRedirect) => 307,
            Ok(R::PermanentRedirect) => 308,
            Err(_) => {
                return Err(format!(
                    "response_code: expected a known one, found {}",
                    told.response_code
                ));
            }
        },
        strip_query: told.strip_query,
    })
}

/// How much of a caller's `grpc-timeout` counts, said in either of two ways; zero: all of it.
fn max_grpc_timeout(told: &route::RouteAction) -> Decoded<Option<Duration>> {
    let stream = told.max_stream_duration.unwrap_or_default();
    if limit(stream.max_stream_duration.as_ref())?.is_some()
        || limit(stream.grpc_timeout_header_offset.as_ref())?.is_some()
    {
        return Err(
            "max_stream_duration: expected no limit or offset of its own, found one: set timeout"
                .into(),
        );
    }
    let maximum = stream
        .grpc_timeout_header_max
        .as_ref()
        .or(told.max_grpc_timeout.as_ref());
    maximum.map(duration).transpose()
}

fn retry_policy(told: &route::RetryPolicy) -> Decoded<RetryPolicy> {
    let (on, mut status_codes) = RetryOn::parse(&told.retry_on)
        .map_err(|word| format!("retry_on: expected a known condition, found {word:?}"))?;
    for code in &told.retriable_status_codes {
        status_codes.push(
            u16::try_from(*code).map_err(|_| format!("retriable_status_codes: found {code}"))?,
        );
    }
    let previous = told
        .retry_host_predicate
        .iter()
        .any(|predicate| predicate.name == "envoy.retry_host_predicates.previous_hosts");
    let priorities = match &told.retry_priority {
        None => None,
        Some(told) => Some(previous_priorities(told).at("retry_priority")?),
    };
    let back_off = match &told.retry_back_off {
        None => BackOff::default(),
        Some(told) => {
            let base = duration(required(told.base_interval.as_ref(), "base_interval")?)?;
            BackOff {
                base,
                maximum: told
                    .max_interval
                    .as_ref()
                    .map_or(Ok(base.saturating_mul(10)), duration)?,
            }
        }
    };
    Ok(RetryPolicy {
        on,
        retries: number(told.num_retries.as_ref()).unwrap_or(1),
        per_try_timeout: limit(told.per_try_timeout.as_ref())?,
        status_codes,
        response_headers: header_matchers(&told.retriable_headers)?,
        request_headers: header_matchers(&told.retriable_request_headers)?,
        back_off,
        avoid_previous_hosts: previous
            .then(|| u32::try_from(told.host_selection_retry_max_attempts.max(1)).unwrap_or(1)),
        avoid_previous_priorities: priorities,
    })
}

fn previous_priorities(told: &route::retry_policy::RetryPriority) -> Decoded<u32> {
    use route::retry_policy::retry_priority::ConfigType;
    let ConfigType::TypedConfig(any) = required(told.config_type.as_ref(), "typed_config")?;
    let config: PreviousPrioritiesConfig = unpack(any, PREVIOUS_PRIORITIES)?;
    match u32::try_from(config.update_frequency) {
        Ok(often) if often > 0 => Ok(often),
        _ => Err(format!(
            "update_frequency: expected more than 0, found {}",
            config.update_frequency
        )),
    }
}

fn hash_policy(told: &route::route_action::HashPolicy) -> Decoded<HashPolicy> {
    use route::route_action::hash_policy::PolicySpecifier as P;
    let source = match required(told.policy_specifier.as_ref(), "hash_policy")? {
        P::Header(header) => HashSource::Header(header.header_name.to_ascii_lowercase()),
        P::Cookie(cookie) => HashSource::Cookie {
            name: cookie.name.clone(),
            time_to_live: cookie.ttl.as_ref().map(duration).transpose()?,
            path: cookie.path.clone(),
            attributes: cookie
                .attributes
                .iter()
                .map(|one| (one.name.clone(), one.value.clone()))
                .collect(),
        },
        P::ConnectionProperties(_) => HashSource::SourceIp,
        P::QueryParameter(query) => HashSource::QueryParameter(query.name.clone()),
        other @ P::FilterState(_) => return Err(format!("hash_policy: not understood: {other:?}")),
    };
    Ok(HashPolicy {
        source,
        terminal: told.terminal,
    })
}

fn mirrors(told: &[route::route_action::RequestMirrorPolicy]) -> Decoded<Vec<Mirror>> {
    told.iter()
        .map(|one| {
            Ok(Mirror {
                cluster: one.cluster.as_str().into(),
                share: runtime_fraction(one.runtime_fraction.as_ref())?,
                keep_host: one.disable_shadow_host_suffix_append,
            })
        })
        .collect()
}

fn mutations(
    request_add: &[core::HeaderValueOption],
    request_remove: &[String],
    response_add: &[core::HeaderValueOption],
    response_remove: &[String],
) -> Decoded<HeaderMutations> {
    let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
    Ok(Mutations {
        request_add: request_add.iter().map(addition).collect::<Decoded<_>>()?,
        request_remove: lower(request_remove),
        response_add: response_add.iter().map(addition).collect::<Decoded<_>>()?,
        response_remove: lower(response_remove),
    }
    .into())
}

fn addition(told: &core::HeaderValueOption) -> Decoded<HeaderAddition> {
    use core::header_value_option::HeaderAppendAction as A;
    let header = required(told.header.as_ref(), "header")?;
    let commands = header.value.split('%').skip(1).step_by(2);
    for command in commands.filter(|command| !command.is_empty()) {
        if !HEADER_COMMANDS.contains(&command) {
            return Err(format!(
                "header {}: expected %COMMAND% to be one of {}, found {command:?}",
                header.key,
                HEADER_COMMANDS.join(", ")
            ));
        }
    }
    let action = match A::try_from(told.append_action) {
        Ok(A::AppendIfExistsOrAdd) => AppendAction::AppendOrAdd,
        Ok(A::AddIfAbsent) => AppendAction::AddIfAbsent,
        Ok(A::OverwriteIfExistsOrAdd) => AppendAction::OverwriteOrAdd,
        Ok(A::OverwriteIfExists) => AppendAction::OverwriteIfPresent,
        Err(_) => {
            return Err(format!(
                "append_action: expected a known one, found {}",
                told.append_action
            ));
        }
    };
    let action = if told.append.as_ref().is_some_and(|append| !append.value) {
        AppendAction::OverwriteOrAdd
    } else {
        action
    };
    Ok(HeaderAddition {
        name: header.key.to_ascii_lowercase(),
        value: header.value.clone(),
        action,
        keep_empty: told.keep_empty_value,
    })
}

fn overrides(told: &HashMap<String, pb::Any>) -> Decoded<Overrides> {
    let mut found: Overrides = BTreeMap::new();
    for (name, any) in told {
        let kind = any.type_url.rsplit('/').next().unwrap_or_default();
        let setting = match kind {
            FAULT => FilterOverride::Fault(fault(&unpack(any, FAULT)?).at("fault")?),
            CORS => FilterOverride::Cors(Arc::new(cors(&unpack(any, CORS)?).at("cors")?)),
            RBAC => {
                let told: filters::rbac::v3::RbacPerRoute = unpack(any, RBAC)?;
                let filter = told.rbac.as_ref().map(rbac::http_filter).transpose()?;
                FilterOverride::Rbac(filter.map(Arc::new))
            }
            _ => {
                return Err(format!(
                    "typed_per_filter_config[{name}]: not understood: {kind:?}"
                ));
            }
        };
        found.insert(name.as_str().into(), setting);
    }
    Ok(found)
}

pub fn fault(told: &filters::fault::v3::HttpFault) -> Decoded<Fault> {
    use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier as D;
    use filters::fault::v3::fault_abort::ErrorType as E;
    let share = |percentage: Option<&_>| percentage.map_or(Ok(Fraction::NEVER), fraction);
    let delay = match &told.delay {
        None => None,
        Some(delay) => match &delay.fault_delay_secifier {
            Some(D::FixedDelay(fixed)) => Some(FaultDelay {
                duration: duration(fixed)?,
                share: share(delay.percentage.as_ref())?,
            }),
            other => return Err(format!("delay: expected fixed_delay, found {other:?}")),
        },
    };
    let abort = match &told.abort {
        None => None,
        Some(abort) => {
            let status = match &abort.error_type {
                Some(E::HttpStatus(status)) => AbortStatus::Http(
                    u16::try_from(*status).map_err(|_| format!("http_status: found {status}"))?,
                ),
                Some(E::GrpcStatus(status)) => AbortStatus::Grpc(*status),
                other => return Err(format!("abort: expected a status, found {other:?}")),
            };
            Some(FaultAbort {
                status,
                share: share(abort.percentage.as_ref())?,
            })
        }
    };
    Ok(Fault {
        delay,
        abort,
        headers: header_matchers(&told.headers)?,
        max_active: number(told.max_active_faults.as_ref()),
    })
}

fn cors(told: &filters::cors::v3::CorsPolicy) -> Decoded<CorsPolicy> {
    Ok(CorsPolicy {
        allow_origins: told
            .allow_origin_string_match
            .iter()
            .map(string_matcher)
            .collect::<Decoded<_>>()?,
        allow_methods: told.allow_methods.clone(),
        allow_headers: told.allow_headers.clone(),
        expose_headers: told.expose_headers.clone(),
        max_age: told.max_age.clone(),
        allow_credentials: on(told.allow_credentials.as_ref()),
        forward_not_matching_preflights: told
            .forward_not_matching_preflights
            .as_ref()
            .is_none_or(|value| value.value),
        enabled: runtime_fraction(told.filter_enabled.as_ref())?,
        shadow_enabled: told
            .shadow_enabled
            .as_ref()
            .map_or(Ok(Fraction::NEVER), |share| runtime_fraction(Some(share)))?,
    })
}

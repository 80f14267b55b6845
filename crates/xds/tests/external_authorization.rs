//! Which authorizers are understood, and what is refused because it would ask about less than was meant.
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

mod resources;

use envoy_types::pb::envoy::config::core::v3::{GrpcService, grpc_service};
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac, permission, principal,
};
use envoy_types::pb::envoy::extensions::filters::network::ext_authz::v3::ExtAuthz;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as network;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use envoy_types::pb::envoy::r#type::matcher::v3::metadata_matcher::{PathSegment, path_segment};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    MetadataMatcher, StringMatcher, ValueMatcher, string_matcher, value_matcher,
};
use hauberk_config::listener::{FilterChain, Traffic};
use hauberk_xds::state::{CLUSTER, ENDPOINT, LISTENER, State};
use resources::{answer, any, eds_cluster, endpoints, listener, network_filter};

const RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";
const EXT_AUTHZ: &str = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

fn shadow(prefix: &str) -> network::Rbac {
    let policy = Policy {
        permissions: vec![Permission {
            rule: Some(permission::Rule::Any(true)),
        }],
        principals: vec![Principal {
            identifier: Some(principal::Identifier::Any(true)),
        }],
        ..Default::default()
    };
    network::Rbac {
        shadow_rules: Some(Rbac {
            action: 1,
            policies: [("istio-ext-authz-p".to_owned(), policy)].into(),
            ..Default::default()
        }),
        shadow_rules_stat_prefix: prefix.into(),
        ..Default::default()
    }
}

fn authorizer(key: &str) -> ExtAuthz {
    let value = string_matcher::MatchPattern::Prefix("istio-ext-authz".into());
    let value = StringMatcher {
        match_pattern: Some(value),
        ..Default::default()
    };
    ExtAuthz {
        stat_prefix: "asker".into(),
        grpc_service: Some(GrpcService {
            target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(
                grpc_service::EnvoyGrpc {
                    cluster_name: "c".into(),
                    ..Default::default()
                },
            )),
            ..Default::default()
        }),
        filter_enabled_metadata: Some(MetadataMatcher {
            filter: "envoy.filters.network.rbac".into(),
            path: vec![PathSegment {
                segment: Some(path_segment::Segment::Key(key.into())),
            }],
            value: Some(ValueMatcher {
                match_pattern: Some(value_matcher::MatchPattern::StringMatch(value)),
            }),
            invert: false,
        }),
        ..Default::default()
    }
}

fn decoded(rules: network::Rbac, authorizer: ExtAuthz) -> Result<FilterChain, String> {
    let proxy = TcpProxy {
        stat_prefix: "s".into(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster("c".into())),
        ..Default::default()
    };
    let filters = vec![
        network_filter("rbac", any(RBAC, &rules)),
        network_filter("ask", any(EXT_AUTHZ, &authorizer)),
        network_filter("tcp", any(TCP_PROXY, &proxy)),
    ];
    let mut state = State::default();
    let clusters = answer(CLUSTER, &[("c", "1", eds_cluster("c"))], &[]);
    state.apply(&clusters).expect("clusters");
    let endpoints = answer(ENDPOINT, &[("c", "1", endpoints("c", "10.0.0.1"))], &[]);
    state.apply(&endpoints).expect("endpoints");
    state.apply(&answer(
        LISTENER,
        &[("x", "1", listener("x", filters))],
        &[],
    ))?;
    let snapshot = state.publish().expect("something changed");
    let listener = snapshot.listeners.get("x").expect("a listener");
    let Traffic::Tcp(tcp) = &listener.traffic else {
        return Err("expected TCP".into());
    };
    Ok((**tcp.chains().next().expect("a chain")).clone())
}

#[test]
fn selecting_rules_become_a_part_of_the_authorizer_and_refuse_nothing_themselves() {
    let prefix = "istio_ext_authz_";
    let key = "istio_ext_authz_shadow_effective_policy_id";
    let chain = decoded(shadow(prefix), authorizer(key)).expect("understood");
    assert!(chain.rbac.is_empty());
    let [one] = chain.external_authorizations.as_slice() else {
        panic!("expected one authorizer");
    };
    assert_eq!(&*one.authorizer, "asker");
    let selection = one.selection.as_ref().expect("a selection");
    assert!(selection.rules.shadow_rules.is_some());
    let audited = decoded(
        shadow("audit_"),
        ExtAuthz {
            filter_enabled_metadata: None,
            ..authorizer(key)
        },
    );
    let audited = audited.expect("understood");
    assert_eq!(audited.rbac.len(), 1);
    assert!(audited.external_authorizations[0].selection.is_none());
}

#[test]
fn a_selection_that_nobody_makes_is_refused_since_nothing_would_be_asked_about() {
    let refused = decoded(shadow("istio_ext_authz_"), authorizer("other"));
    assert!(refused.is_err_and(|reason| reason.contains("expected a key that shadow rules")));
    let mut inverted = authorizer("istio_ext_authz_shadow_effective_policy_id");
    if let Some(matcher) = &mut inverted.filter_enabled_metadata {
        matcher.invert = true;
    }
    assert!(decoded(shadow("istio_ext_authz_"), inverted).is_err());
    let mut certificate = authorizer("istio_ext_authz_shadow_effective_policy_id");
    certificate.include_peer_certificate = true;
    let refused = decoded(shadow("istio_ext_authz_"), certificate);
    assert!(refused.is_err_and(|reason| reason.contains("include_peer_certificate")));
}

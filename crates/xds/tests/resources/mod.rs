//! Resources as a control plane would send them.
#![allow(dead_code, reason = "shared by several tests")]

use envoy_types::pb::envoy::config::cluster::v3::{Cluster, cluster as parts};
use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, TransportSocket, transport_socket,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action,
    route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

const PREFIX: &str = "type.googleapis.com/";

pub fn any(kind: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("{PREFIX}{kind}"),
        value: message.encode_to_vec(),
    }
}

/// A delta answer with resources as (name, version, message).
pub fn answer<M: Message>(
    type_url: &str,
    resources: &[(&str, &str, M)],
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    let kind = type_url.trim_start_matches(PREFIX);
    let resource = |(name, version, message): &(&str, &str, M)| Resource {
        name: (*name).into(),
        version: (*version).into(),
        resource: Some(any(kind, message)),
        ..Default::default()
    };
    DeltaDiscoveryResponse {
        type_url: type_url.into(),
        resources: resources.iter().map(resource).collect(),
        removed_resources: removed.iter().map(|name| (*name).into()).collect(),
        ..Default::default()
    }
}

pub fn address(ip: &str, port: u32) -> Option<Address> {
    let socket = SocketAddress {
        address: ip.into(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..Default::default()
    };
    Some(Address {
        address: Some(Kind::SocketAddress(socket)),
    })
}

/// A listener with one HTTP chain, whose routes come over RDS.
pub fn http_listener(name: &str, routes: &str) -> Listener {
    let router = http::HttpFilter {
        name: "router".into(),
        config_type: Some(http::http_filter::ConfigType::TypedConfig(any(
            "envoy.extensions.filters.http.router.v3.Router",
            &Router::default(),
        ))),
        ..Default::default()
    };
    let manager = http::HttpConnectionManager {
        route_specifier: Some(http::http_connection_manager::RouteSpecifier::Rds(
            http::Rds {
                route_config_name: routes.into(),
                ..Default::default()
            },
        )),
        http_filters: vec![router],
        ..Default::default()
    };
    let kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    listener(name, vec![network_filter("http", any(kind, &manager))])
}

pub fn network_filter(name: &str, config: Any) -> Filter {
    Filter {
        name: name.into(),
        config_type: Some(filter::ConfigType::TypedConfig(config)),
    }
}

pub fn listener(name: &str, filters: Vec<Filter>) -> Listener {
    Listener {
        name: name.into(),
        address: address("10.96.0.1", 80),
        filter_chains: vec![FilterChain {
            filters,
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// One virtual host for all, with one route.
pub fn routes(name: &str, cluster: &str) -> RouteConfiguration {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    let prefix = route_match::PathSpecifier::Prefix("/".into());
    one_route(name, prefix, action)
}

pub fn one_route(
    name: &str,
    path: route_match::PathSpecifier,
    action: RouteAction,
) -> RouteConfiguration {
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(path),
            ..Default::default()
        }),
        action: Some(route::Action::Route(action)),
        ..Default::default()
    };
    RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes: vec![route],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn eds_cluster(name: &str) -> Cluster {
    Cluster {
        name: name.into(),
        cluster_discovery_type: Some(parts::ClusterDiscoveryType::Type(
            parts::DiscoveryType::Eds as i32,
        )),
        ..Default::default()
    }
}

/// An EDS cluster reached over TLS with the secrets `default` and `ROOTCA`.
pub fn tls_cluster(name: &str) -> Cluster {
    let combined = CombinedCertificateValidationContext {
        validation_context_sds_secret_config: Some(secret("ROOTCA")),
        ..Default::default()
    };
    let context = tls::CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret("default")],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
        ..Default::default()
    };
    Cluster {
        transport_socket: Some(upstream_tls(context)),
        ..eds_cluster(name)
    }
}

/// TLS that needs one secret only.
pub fn tls_with(name: &str) -> TransportSocket {
    upstream_tls(tls::CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret(name)],
        ..Default::default()
    })
}

fn secret(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: name.into(),
        ..Default::default()
    }
}

fn upstream_tls(context: tls::CommonTlsContext) -> TransportSocket {
    let kind = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let context = tls::UpstreamTlsContext {
        common_tls_context: Some(context),
        ..Default::default()
    };
    TransportSocket {
        name: "tls".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(
            kind, &context,
        ))),
    }
}

pub fn endpoints(cluster: &str, ip: &str) -> ClusterLoadAssignment {
    let host = Endpoint {
        address: address(ip, 8080),
        ..Default::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(host)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub type Clusters = Cluster;
pub type Endpoints = ClusterLoadAssignment;
pub type Listeners = Listener;
pub type Routes = RouteConfiguration;

//! What ten thousand virtual hosts cost in memory, stated and compiled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hauberk_config::route::{
    ClusterTarget, Forward, HeaderMutations, PathMatch, Priority, RequireTls, RetryOn, RetryPolicy,
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use hauberk_route::Routes;

const HOSTS: usize = 10_000;

#[test]
fn a_virtual_host_takes_less_than_two_kilobytes() {
    let before = resident();
    let config = Arc::new(RouteConfiguration {
        name: "80".into(),
        virtual_hosts: (0..HOSTS).map(|number| Arc::new(host(number))).collect(),
        headers: HeaderMutations::default(),
        ignore_port_in_host: true,
        most_specific_headers_win: false,
        overrides: BTreeMap::new(),
        mirrors: Vec::new(),
    });
    let stated = resident();
    let routes = Routes::new(&config);
    let compiled = resident();
    let (stated, compiled) = ((stated - before) / HOSTS, (compiled - stated) / HOSTS);
    println!("a virtual host: {stated} bytes stated, {compiled} bytes compiled");
    assert!(stated + compiled <= 2048, "{stated} + {compiled}");
    assert_eq!(routes.config().virtual_hosts.len(), HOSTS);
}

/// As the control plane makes one for a Service: its names and its address, one route with a retry policy.
fn host(number: usize) -> VirtualHost {
    let name = format!(
        "service-{number}.namespace-{}.svc.cluster.local",
        number % 100
    );
    let domains = [
        name.clone(),
        format!("service-{number}.namespace-{}.svc", number % 100),
        format!("service-{number}.namespace-{}", number % 100),
        format!("10.96.{}.{}", number / 256, number % 256),
    ];
    VirtualHost {
        name: format!("{name}:80").into(),
        domains: domains.into(),
        routes: vec![Arc::new(Route {
            name: "default".into(),
            matches: RouteMatch {
                path: PathMatch::Prefix("/".into()),
                case_sensitive: true,
                headers: Vec::new(),
                query: Vec::new(),
                share: None,
                grpc: false,
            },
            action: RouteAction::Forward(Box::new(Forward {
                target: ClusterTarget::Single(format!("outbound|80||{name}").into()),
                cluster_not_found_status: 503,
                path_rewrite: None,
                host_rewrite: None,
                append_x_forwarded_host: false,
                timeout: None,
                idle_timeout: None,
                max_grpc_timeout: Some(Duration::ZERO),
                retry: Some(Arc::new(RetryPolicy {
                    on: RetryOn::default(),
                    retries: 2,
                    per_try_timeout: None,
                    status_codes: vec![503],
                    response_headers: Vec::new(),
                    request_headers: Vec::new(),
                    back_off: Default::default(),
                    avoid_previous_hosts: Some(5),
                    avoid_previous_priorities: None,
                })),
                hash_policy: Vec::new(),
                mirrors: Vec::new(),
                cors: None,
                priority: Priority::Default,
                upgrades: Vec::new(),
            })),
            headers: HeaderMutations::default(),
            overrides: BTreeMap::new(),
            metadata: BTreeMap::new(),
            operation: Some(format!("{name}:80/*")),
        })],
        headers: HeaderMutations::default(),
        require_tls: RequireTls::No,
        retry: None,
        include_attempt_count_in_request: true,
        include_attempt_count_in_response: false,
        overrides: BTreeMap::new(),
        mirrors: Vec::new(),
    }
}

/// Resident memory in bytes (proc(5): the second field of `statm`, in pages of 4 KiB).
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

//! A mesh of proxies in one process: snapshots made by hand, certificates made here, real sockets on loopback.
#![allow(
    dead_code,
    clippy::expect_used,
    reason = "shared by several tests, which fail by panicking"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hauberk_config::Snapshot;
use hauberk_config::cluster::{
    Cluster, Discovery, Limits, LoadBalancing, UpstreamHttp, UpstreamProtocol,
};
use hauberk_config::connection_manager::{
    Codec, ConnectionManager, Forwarding, HttpFilter, HttpFilterKind, PathNormalization, RequestId,
    RouteSource, ServerHeader, StripPort, Upgrade,
};
use hauberk_config::endpoint::{
    ClusterLoadAssignment, Endpoint, EndpointAddress, Health, Locality, LocalityEndpoints,
};
use hauberk_config::listener::{
    Direction, FilterChain, FilterChainMatch, HttpInspection, Inspection, Listener, TcpProxy,
    TcpTraffic, TerminalFilter, TlsInspection, Traffic, WeightedTcpCluster,
};
use hauberk_config::matcher::StringMatcher;
use hauberk_config::rbac::{Permission, Policy, Principal, Rbac, RbacAction, RbacFilter};
use hauberk_config::route::{
    ClusterTarget, Forward, HeaderMutations, PathMatch, Priority, RequireTls, Route, RouteAction,
    RouteConfiguration, RouteMatch, VirtualHost,
};
use hauberk_config::secret::{KeyPair, Material, Secret};
use hauberk_config::tls::{
    DownstreamTls, DownstreamTransport, PeerValidation, SanKind, SanMatcher, TlsContext,
    TlsVersion, UpstreamTls, UpstreamTransport,
};
use hauberk_http::worker::Workload;
use hauberk_net::socket::Origin;
use hauberk_proxy::engine::Engine;
use hauberk_telemetry::edge::Peer;
use hauberk_telemetry::writer::{Files, start};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair as Key,
    KeyUsagePurpose, SanType,
};

/// A proxy and the file of its records.
pub struct Proxy {
    pub engine: Arc<Engine>,
    pub records: PathBuf,
}

impl Proxy {
    pub fn start(name: &str) -> Self {
        let file = format!(
            "hauberk-test-{}-{name}-{}.log",
            std::process::id(),
            free_port()
        );
        let records = std::env::temp_dir().join(file);
        let files = Files {
            records: Some(records.clone()),
            access: Some(records.with_extension("access")),
        };
        let (sink, _writer) = start(files).expect("a writer");
        let workload = Workload {
            pod: format!("{name}-0.bank").into(),
            peer: Peer {
                workload: name.into(),
                namespace: "bank".into(),
                ..Peer::of_principal("")
            },
            origin: Origin::default(),
            access_log: true,
        };
        let engine = Arc::new(Engine::start(&workload, sink, 1).expect("workers"));
        Self { engine, records }
    }

    pub async fn publish(&self, snapshot: Snapshot) {
        let problems = self.engine.publish(Arc::new(snapshot)).await;
        assert_eq!(problems, Vec::<String>::new());
    }

    /// Waits until a record has all of `parts`.
    pub async fn recorded(&self, parts: &[&str]) -> String {
        let text = written(&self.records, parts).await;
        let found = text
            .lines()
            .find(|line| parts.iter().all(|part| line.contains(part)));
        found.expect("the line").to_owned()
    }

    /// The access log, once a line of it has all of `parts`.
    pub async fn logged(&self, parts: &[&str]) -> String {
        written(&self.records.with_extension("access"), parts).await
    }
}

async fn written(path: &Path, parts: &[&str]) -> String {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let text = std::fs::read_to_string(path).expect("the file");
        if text
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part)))
        {
            return text;
        }
        assert!(
            Instant::now() < deadline,
            "no line with {parts:?} in:\n{text}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        std::fs::remove_file(&self.records).ok();
        std::fs::remove_file(self.records.with_extension("access")).ok();
    }
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

pub fn insert_listener(snapshot: &mut Snapshot, listener: Listener) {
    snapshot.generation += 1;
    snapshot
        .listeners
        .insert(Arc::clone(&listener.name), "1".into(), Arc::new(listener));
}

pub fn insert_cluster(snapshot: &mut Snapshot, cluster: Cluster) {
    snapshot.generation += 1;
    snapshot
        .clusters
        .insert(Arc::clone(&cluster.name), "1".into(), Arc::new(cluster));
}

/// A cluster named `name` with endpoints at `addresses`.
pub fn cluster(name: &str, addresses: &[SocketAddr], protocol: UpstreamProtocol) -> Cluster {
    let endpoints = addresses
        .iter()
        .map(|address| Endpoint {
            address: EndpointAddress::Socket(*address),
            hostname: String::new(),
            weight: 1,
            health: Health::Healthy,
            transport_labels: Vec::new(),
            subset_labels: Vec::new(),
            workload: None,
        })
        .collect();
    Cluster {
        name: name.into(),
        alternate_name: name.into(),
        discovery: Discovery::Static(Arc::new(ClusterLoadAssignment {
            cluster: name.into(),
            localities: vec![LocalityEndpoints {
                locality: Locality::default(),
                priority: 0,
                weight: None,
                endpoints,
            }],
            overprovisioning_factor: 140,
        })),
        load_balancing: LoadBalancing::RoundRobin,
        locality_weighted: false,
        slow_start: None,
        panic_threshold: 0,
        connect_timeout: Duration::from_secs(2),
        default_limits: Limits::default(),
        high_priority_limits: Limits::default(),
        outlier_detection: None,
        http: UpstreamHttp {
            protocol,
            ..UpstreamHttp::default()
        },
        idle_timeout: None,
        max_requests_per_connection: None,
        max_connection_duration: None,
        transport: UpstreamTransport::Plain,
        transport_matches: Vec::new(),
        bind: None,
        keepalive: None,
        service: None,
    }
}

pub fn no_inspection() -> Inspection {
    Inspection {
        http_off_at: Vec::new(),
        tls_off_at: Vec::new(),
        http: HttpInspection::Off,
        tls: TlsInspection::Off,
        original_source: None,
        timeout: Some(Duration::from_millis(100)),
        continue_on_timeout: true,
    }
}

pub fn chain(terminal: TerminalFilter, transport: DownstreamTransport) -> FilterChain {
    FilterChain {
        name: "".into(),
        matches: FilterChainMatch::default(),
        transport,
        transport_timeout: None,
        rbac: Vec::new(),
        external_authorizations: Vec::new(),
        terminal,
    }
}

pub fn listener(name: &str, port: u16, direction: Direction, chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.into(),
        address: loopback(port),
        additional_addresses: Vec::new(),
        bind: true,
        transparent: false,
        direction,
        policy_revision: "r1".into(),
        service: "web.bank.svc.cluster.local".into(),
        traffic: Traffic::Tcp(TcpTraffic {
            use_original_dst: false,
            inspection: no_inspection(),
            filter_chains: chains.into_iter().map(Arc::new).collect(),
            default_filter_chain: None,
        }),
    }
}

pub fn forward_to(cluster: &str) -> Forward {
    Forward {
        target: ClusterTarget::Single(cluster.into()),
        cluster_not_found_status: 503,
        path_rewrite: None,
        host_rewrite: None,
        append_x_forwarded_host: false,
        timeout: None,
        idle_timeout: None,
        max_grpc_timeout: None,
        retry: None,
        hash_policy: Vec::new(),
        mirrors: Vec::new(),
        cors: None,
        priority: Priority::Default,
        upgrades: Vec::new(),
    }
}

pub fn route(prefix: &str, action: RouteAction) -> Route {
    Route {
        name: "default".into(),
        matches: RouteMatch {
            path: PathMatch::Prefix(prefix.into()),
            case_sensitive: true,
            headers: Vec::new(),
            query: Vec::new(),
            share: None,
            grpc: false,
        },
        action,
        headers: HeaderMutations::default(),
        overrides: Default::default(),
        metadata: Default::default(),
        operation: None,
    }
}

/// A connection manager with `routes` for every host, asking `rbac` first.
pub fn manager(routes: Vec<Route>, rbac: Vec<RbacFilter>) -> ConnectionManager {
    let mut filters: Vec<HttpFilter> = rbac
        .into_iter()
        .map(|rbac| HttpFilter {
            name: "envoy.filters.http.rbac".into(),
            kind: HttpFilterKind::Rbac(rbac),
        })
        .collect();
    filters.push(HttpFilter {
        name: "envoy.filters.http.router".into(),
        kind: HttpFilterKind::Router {
            suppress_envoy_headers: false,
        },
    });
    ConnectionManager {
        stat_prefix: "test".into(),
        codec: Codec::Auto,
        routes: RouteSource::Inline(Arc::new(RouteConfiguration {
            name: "test".into(),
            virtual_hosts: vec![Arc::new(VirtualHost {
                name: "all".into(),
                domains: vec!["*".into()],
                routes: routes.into_iter().map(Arc::new).collect(),
                headers: HeaderMutations::default(),
                require_tls: RequireTls::No,
                retry: None,
                include_attempt_count_in_request: false,
                include_attempt_count_in_response: false,
                overrides: Default::default(),
                mirrors: Vec::new(),
            })],
            headers: HeaderMutations::default(),
            ignore_port_in_host: false,
            most_specific_headers_win: false,
            overrides: Default::default(),
            mirrors: Vec::new(),
        })),
        filters,
        access_logs: Vec::new(),
        tracing: None,
        server_name: "istio-envoy".into(),
        server_header: ServerHeader::PassThrough,
        stream_idle_timeout: None,
        request_timeout: None,
        request_headers_timeout: Some(Duration::from_millis(500)),
        idle_timeout: None,
        max_connection_duration: None,
        max_requests_per_connection: None,
        max_request_headers_kb: 60,
        max_headers_count: 100,
        max_concurrent_streams: None,
        upgrades: vec![Upgrade {
            kind: "websocket".into(),
            enabled: true,
        }],
        forwarding: Forwarding {
            use_remote_address: false,
            skip_xff_append: false,
            trusted_hops: 0,
            client_certificate: Default::default(),
            client_certificate_details: Default::default(),
        },
        request_id: RequestId {
            generate: true,
            preserve_external: false,
            always_in_response: false,
        },
        path: PathNormalization {
            normalize: true,
            merge_slashes: false,
            escaped_slashes: Default::default(),
        },
        strip_port: StripPort::Keep,
        accept_http_10: true,
        default_host_for_http_10: None,
    }
}

pub fn http(manager: ConnectionManager) -> TerminalFilter {
    TerminalFilter::Http(Arc::new(manager))
}

pub fn tcp(cluster: &str) -> TerminalFilter {
    TerminalFilter::TcpProxy(Arc::new(TcpProxy {
        stat_prefix: "test".into(),
        clusters: vec![WeightedTcpCluster {
            cluster: cluster.into(),
            weight: 1,
        }],
        idle_timeout: None,
        max_connect_attempts: 1,
        access_logs: Vec::new(),
        hash_source_ip: false,
        longest: None,
        tunnel: None,
    }))
}

/// Only the caller with this SPIFFE ID.
pub fn allow(id: &str) -> RbacFilter {
    RbacFilter {
        dry_run: None,
        rules: Some(Arc::new(Rbac {
            action: RbacAction::Allow,
            policies: vec![Policy {
                name: "ns[bank]-policy[web]-rule[0]".into(),
                permissions: vec![Permission::Any],
                principals: vec![Principal::Authenticated(Some(StringMatcher::exact(id)))],
            }],
        })),
        shadow_rules: None,
    }
}

/// A certificate authority of the mesh.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, Key>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = Key::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    pub fn bundle(&self) -> Secret {
        Secret {
            name: "ROOTCA".into(),
            material: Material::TrustBundle {
                pem: self.pem.clone().into(),
            },
        }
    }

    pub fn svid(&self, id: &str) -> Secret {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("a URI"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = Key::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Secret {
            name: "default".into(),
            material: Material::Certificate(KeyPair {
                private_key_pem: key.serialize_pem().into(),
                chain_pem: certificate.pem().into(),
            }),
        }
    }

    /// Gives a snapshot's proxy the identity `id`.
    pub fn equip(&self, snapshot: &mut Snapshot, id: &str) {
        for secret in [self.bundle(), self.svid(id)] {
            snapshot.generation += 1;
            snapshot
                .secrets
                .insert(Arc::clone(&secret.name), "1".into(), Arc::new(secret));
        }
    }
}

fn context(alpn: &[&str], san: Option<&str>) -> TlsContext {
    TlsContext {
        certificate_secrets: vec!["default".into()],
        validation: PeerValidation {
            trust_secret: Some("ROOTCA".into()),
            san_matchers: san
                .map(|id| SanMatcher {
                    kind: SanKind::Uri,
                    matcher: StringMatcher::exact(id),
                })
                .into_iter()
                .collect(),
        },
        alpn: alpn.iter().map(|one| (*one).to_owned()).collect(),
        minimum_version: TlsVersion::Tls13,
        maximum_version: TlsVersion::Tls13,
        curves: Vec::new(),
    }
}

pub fn server_tls() -> DownstreamTransport {
    DownstreamTransport::Tls(Arc::new(DownstreamTls {
        context: context(&["h2", "http/1.1", "istio"], None),
        require_client_certificate: true,
    }))
}

pub fn client_tls(alpn: &[&str], server: &str) -> UpstreamTransport {
    UpstreamTransport::Tls(Arc::new(UpstreamTls {
        context: context(alpn, Some(server)),
        server_name: None,
        server_name_from_authority: false,
        validate_authority: false,
    }))
}

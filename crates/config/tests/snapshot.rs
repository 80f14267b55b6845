//! A snapshot derived from another shares what did not change, and never shows a key.
#![allow(clippy::expect_used, reason = "a test may fail")]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hauberk_config::Snapshot;
use hauberk_config::dns::{DnsRecord, DnsTable};
use hauberk_config::endpoint::Workload;
use hauberk_config::fault::Fraction;
use hauberk_config::listener::{TcpProxy, WeightedTcpCluster};
use hauberk_config::matcher::PrefixRange;
use hauberk_config::route::RetryOn;
use hauberk_config::secret::{KeyPair, Material, Secret};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn secret(name: &str) -> Arc<Secret> {
    let pair = KeyPair {
        private_key_pem: "TOP SECRET KEY".into(),
        chain_pem: "CHAIN".into(),
    };
    Arc::new(Secret {
        name: name.into(),
        material: Material::Certificate(pair),
    })
}

#[test]
fn a_derived_snapshot_shares_the_rest_and_leaves_the_old_one_alone() {
    let mut first = Snapshot::default();
    first
        .secrets
        .insert("default".into(), "1".into(), secret("default"));
    let mut second = first.clone();
    assert!(second.secrets.same(&first.secrets));
    second
        .secrets
        .insert("other".into(), "2".into(), secret("other"));
    assert!(second.routes.same(&first.routes));
    assert!(!second.secrets.same(&first.secrets));
    assert!(!first.secrets.contains("other"));
    let (old, new) = (first.secrets.get("default"), second.secrets.get("default"));
    assert!(old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(old, new)));
    assert!(second.secrets.remove("default") && !second.secrets.remove("default"));
    assert!(first.secrets.contains("default"));
}

#[test]
fn no_key_is_printed() {
    let mut snapshot = Snapshot::default();
    snapshot
        .secrets
        .insert("default".into(), "1".into(), secret("default"));
    assert!(!format!("{snapshot:?} {snapshot:#?}").contains("TOP SECRET"));
    let pem = b"TOP SECRET KEY".map(|byte| byte.to_string()).join(", ");
    assert!(!format!("{snapshot:?}").contains(&pem));
}

#[test]
fn an_address_block_holds_what_its_bits_say() {
    for length in 0..=32 {
        let block = PrefixRange::new(address("10.66.3.129"), length).expect("a block");
        for bit in 0..32 {
            let flipped = IpAddr::V4((0x0A42_0381_u32 ^ (1 << (31 - bit))).into());
            assert_eq!(
                block.contains(flipped),
                bit >= length,
                "bit {bit} of /{length}"
            );
        }
        assert!(block.contains(address("::ffff:10.66.3.129")));
        assert!(!block.contains(address("fe80::1")));
    }
    assert_eq!(PrefixRange::new(address("10.0.0.0"), 33), None);
    assert_eq!(PrefixRange::new(address("fe80::"), 129), None);
}

#[test]
fn each_tcp_cluster_gets_its_weight() {
    let clusters = [("a", 1), ("none", 0), ("b", 3)];
    let proxy = TcpProxy {
        stat_prefix: String::new(),
        clusters: clusters
            .map(|(name, weight)| WeightedTcpCluster {
                cluster: name.into(),
                weight,
            })
            .to_vec(),
        idle_timeout: None,
        max_connect_attempts: 1,
        access_logs: Vec::new(),
        hash_source_ip: false,
        longest: None,
        tunnel: None,
    };
    let mut drawn = HashMap::new();
    for random in 0..400 {
        *drawn
            .entry(proxy.choose(random).expect("a cluster").to_string())
            .or_insert(0) += 1;
    }
    assert_eq!(drawn, HashMap::from([("a".into(), 100), ("b".into(), 300)]));
    assert_eq!(
        TcpProxy {
            clusters: Vec::new(),
            ..proxy
        }
        .choose(7),
        None
    );
}

#[test]
fn shares_of_calls_are_exact() {
    let half = Fraction {
        numerator: 5_000,
        denominator: 10_000,
    };
    assert_eq!(
        (0..10_000).filter(|random| half.includes(*random)).count(),
        5_000
    );
    assert!(
        (0..1_000)
            .all(|random| Fraction::ALWAYS.includes(random) && !Fraction::NEVER.includes(random))
    );
    assert!(
        !Fraction {
            numerator: 0,
            denominator: 0
        }
        .includes(0)
    );
}

#[test]
fn names_are_found_exactly_before_by_wildcard_and_the_closest_wildcard_first() {
    let record = |text| DnsRecord {
        addresses: vec![address(text)],
        time_to_live: Duration::from_secs(30),
    };
    let records = [
        ("a.bank", "10.0.0.1"),
        ("*.bank", "10.0.0.2"),
        ("*.deep.bank", "10.0.0.3"),
    ];
    let records = records.map(|(name, at)| (name.to_owned(), record(at)));
    let table = DnsTable {
        records: records.into(),
        ..DnsTable::default()
    };
    let at = |name: &str| {
        table
            .lookup(name)
            .map(|found| found.addresses[0].to_string())
    };
    assert_eq!(at("a.bank").as_deref(), Some("10.0.0.1"));
    assert_eq!(at("b.bank").as_deref(), Some("10.0.0.2"));
    assert_eq!(at("x.y.deep.bank").as_deref(), Some("10.0.0.3"));
    assert_eq!(at("bank"), None);
    assert_eq!(at("shop"), None);
}

#[test]
fn conditions_for_retries_are_read_and_others_named() {
    let (on, codes) = RetryOn::parse("5xx, connect-failure,503,unavailable,").expect("conditions");
    assert!(
        on.server_error && on.connect_failure && on.grpc_unavailable && on.retriable_status_codes
    );
    assert!(!on.reset && !on.grpc_cancelled);
    assert_eq!(codes, [503]);
    assert_eq!(RetryOn::parse("5xx,sometimes"), Err("sometimes".into()));
    assert_eq!(RetryOn::parse("99"), Err("99".into()));
}

#[test]
fn a_workload_may_lack_fields() {
    let workload = Workload::parse("web;bank;web");
    assert_eq!(
        (
            workload.name.as_str(),
            workload.app.as_str(),
            workload.version.as_str()
        ),
        ("web", "web", "")
    );
}

//! Certificates that are not what they should be, and what becomes of connections made with them.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints,
    SanType,
};
use support::{Authority, LEDGER, WEB, authority_params, client, leaf_params, server, shake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the server says of a caller with a leaf of `params` below `authority`; `root` is trusted.
async fn refusal_of_caller(authority: &Authority, params: &CertificateParams) -> Option<String> {
    let ours = server(&authority.secrets(authority.svid(LEDGER)), None);
    let theirs = client(&authority.secrets(authority.leaf(params)), None);
    let (_, far) = shake(&theirs, &ours).await;
    far.err().map(|error| error.to_string())
}

/// What a caller that expects `LEDGER` says of a server with a leaf of `params`.
async fn refusal_of_server(authority: &Authority, params: &CertificateParams) -> Option<String> {
    let ours = client(&authority.secrets(authority.svid(WEB)), Some(LEDGER));
    let theirs = server(&authority.secrets(authority.leaf(params)), None);
    let (near, _) = shake(&ours, &theirs).await;
    near.err().map(|error| error.to_string())
}

#[tokio::test]
async fn a_good_certificate_is_taken_on_both_sides() {
    let root = Authority::root();
    assert_eq!(refusal_of_caller(&root, &leaf_params(&[WEB])).await, None);
    assert_eq!(
        refusal_of_server(&root, &leaf_params(&[LEDGER])).await,
        None
    );
    let below = root.intermediate(authority_params());
    assert_eq!(refusal_of_caller(&below, &leaf_params(&[WEB])).await, None);
}

#[tokio::test]
async fn two_uris_are_no_identity() {
    let root = Authority::root();
    let two = leaf_params(&[LEDGER, WEB]);
    assert!(refusal_of_caller(&root, &two).await.is_some());
    assert!(refusal_of_server(&root, &two).await.is_some());
    // Nor is a SPIFFE ID beside any other URI.
    let mixed = leaf_params(&[LEDGER, "https://ledger.bank"]);
    assert!(refusal_of_caller(&root, &mixed).await.is_some());
    assert!(refusal_of_server(&root, &mixed).await.is_some());
}

#[tokio::test]
async fn look_alike_trust_domains_and_ids_are_others() {
    let root = Authority::root();
    for other in [
        "spiffe://cluster.local.evil/ns/bank/sa/ledger",
        "spiffe://evil.cluster.local/ns/bank/sa/ledger",
        "spiffe://cluster.locaI/ns/bank/sa/ledger",
        "spiffe://CLUSTER.LOCAL/ns/bank/sa/ledger",
        "spiffe://cluster.local:443/ns/bank/sa/ledger",
        "spiffe://cluster.local/ns/bank/sa/ledger/",
        "spiffe://cluster.local/ns/bank/sa//ledger",
        "spiffe://cluster.local/ns/bank/../bank/sa/ledger",
        "spiffe://cluster.local/ns/bank/sa/ledger2",
        "spiffe://cluster.local/ns/bank/sa/Ledger",
        "spiffe://cluster.local/ns/bank/sa/ledger?a",
        "SPIFFE://cluster.local/ns/bank/sa/ledger",
        "https://cluster.local/ns/bank/sa/ledger",
    ] {
        let found = refusal_of_server(&root, &leaf_params(&[other])).await;
        assert!(found.is_some(), "{other} was taken for {LEDGER}");
    }
}

#[tokio::test]
async fn a_name_of_another_kind_is_no_identity() {
    let root = Authority::root();
    let mut named = leaf_params(&[]);
    let dns = "cluster.local".try_into().expect("a name");
    named.subject_alt_names = vec![SanType::DnsName(dns)];
    assert!(refusal_of_server(&root, &named).await.is_some());
}

#[tokio::test]
async fn a_wrong_extended_key_usage_is_refused() {
    let root = Authority::root();
    for usages in [
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::ClientAuth],
        vec![ExtendedKeyUsagePurpose::CodeSigning],
        vec![
            ExtendedKeyUsagePurpose::EmailProtection,
            ExtendedKeyUsagePurpose::OcspSigning,
        ],
    ] {
        let mut caller = leaf_params(&[WEB]);
        caller.extended_key_usages.clone_from(&usages);
        assert!(
            refusal_of_caller(&root, &caller).await.is_some(),
            "{usages:?}"
        );
        let mut callee = leaf_params(&[LEDGER]);
        callee.extended_key_usages = usages.clone();
        assert!(
            refusal_of_server(&root, &callee).await.is_some(),
            "{usages:?}"
        );
    }
}

#[tokio::test]
async fn a_leaf_signs_nobody() {
    let root = Authority::root();
    let mut pretended = leaf_params(&[WEB]);
    pretended.is_ca = rcgen::IsCa::ExplicitNoCa;
    let below_a_leaf = root.intermediate(pretended);
    assert!(
        refusal_of_caller(&below_a_leaf, &leaf_params(&[LEDGER]))
            .await
            .is_some()
    );
}

#[tokio::test]
async fn another_authority_is_not_believed() {
    let (ours, theirs) = (Authority::root(), Authority::root());
    let listening = server(&ours.secrets(ours.svid(LEDGER)), None);
    let calling = client(&ours.secrets(theirs.svid(WEB)), None);
    assert!(shake(&calling, &listening).await.1.is_err());
}

#[tokio::test]
async fn certificates_of_the_past_and_the_future_are_refused() {
    let root = Authority::root();
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    for (from, until) in [(now - 2 * day, now - day), (now + day, now + 2 * day)] {
        let mut caller = leaf_params(&[WEB]);
        (caller.not_before, caller.not_after) = (from.into(), until.into());
        assert!(refusal_of_caller(&root, &caller).await.is_some());
        let mut callee = leaf_params(&[LEDGER]);
        (callee.not_before, callee.not_after) = (from.into(), until.into());
        assert!(refusal_of_server(&root, &callee).await.is_some());
    }
}

/// What docs/architecture.md says of it: who was there stays, nobody new comes.
#[tokio::test]
async fn a_certificate_that_expires_mid_connection_ends_no_connection_and_begins_no_new_one() {
    let root = Authority::root();
    let mut short = leaf_params(&[WEB]);
    short.not_after = (SystemTime::now() + Duration::from_secs(3)).into();
    let listening = server(&root.secrets(root.svid(LEDGER)), None);
    let calling = client(&root.secrets(root.leaf(&short)), None);
    let (near, far) = shake(&calling, &listening).await;
    let (mut near, mut far) = (near.expect("a client").0, far.expect("a server").0);

    let refused = async {
        loop {
            if let Err(error) = shake(&calling, &listening).await.1 {
                return error.to_string();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let reason = tokio::time::timeout(Duration::from_secs(20), refused)
        .await
        .expect("an expired certificate is refused");
    assert!(reason.contains("expired"), "{reason}");

    let mut heard = [0; 4];
    near.write_all(b"ping").await.expect("sent");
    near.flush().await.expect("flushed");
    far.read_exact(&mut heard)
        .await
        .expect("the connection lives");
    assert_eq!(&heard, b"ping");
}

/// An intermediate that may vouch for names of one kind within bounds alone (RFC 5280 §4.2.1.10).
#[tokio::test]
async fn name_constraints_bind() {
    let root = Authority::root();
    let mut bounded = authority_params();
    bounded.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("bank.example".into())],
        excluded_subtrees: Vec::new(),
    });
    let authority = root.intermediate(bounded);
    let named = |name: &str| {
        let mut params = leaf_params(&[WEB]);
        let dns = name.try_into().expect("a name");
        params.subject_alt_names.push(SanType::DnsName(dns));
        params
    };
    assert_eq!(
        refusal_of_caller(&authority, &named("web.bank.example")).await,
        None
    );
    assert!(
        refusal_of_caller(&authority, &named("web.bank.example.evil"))
            .await
            .is_some()
    );
    assert!(
        refusal_of_caller(&authority, &named("web.evil"))
            .await
            .is_some()
    );
}

/// Constraints on URIs: identities outside the permitted host are refused.
#[tokio::test]
async fn name_constraints_on_uris_are_not_passed_over() {
    let root = Authority::root();
    let constrained = |host: &str| {
        let length = u8::try_from(host.len()).expect("a short name");
        let mut der = vec![
            0x30,
            length + 6,
            0xA0,
            length + 4,
            0x30,
            length + 2,
            0x86,
            length,
        ];
        der.extend_from_slice(host.as_bytes());
        let mut params = authority_params();
        let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], der);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
        root.intermediate(params)
    };
    let elsewhere = constrained("elsewhere.example");
    assert!(
        refusal_of_caller(&elsewhere, &leaf_params(&[WEB]))
            .await
            .is_some()
    );
}

//! The policy engine against the model: random rules, a connection, several requests on it.

use std::net::SocketAddr;
use std::sync::Arc;

use hauberk_config::matcher::StringMatcher;
use hauberk_config::rbac::{
    MetadataMatch, MetadataMatcher, Permission, Policy, Principal, Rbac, RbacAction, RbacFilter,
};
use hauberk_policy::{Access, Asked, Decision, Metadata, RulesKind, Subject, Unknown};
use hauberk_route::RequestFacts;
use serde_json::{Value, json};

use crate::choices::Choices;
use crate::generate::{self, HOSTS, NAMES, PATHS};
use crate::reference::policy::{self as reference, Question};

const FILTERS: [&str; 2] = ["jwt", "other"];
const ADDRESSES: [&str; 4] = [
    "10.0.0.1:80",
    "10.0.0.2:443",
    "10.1.0.1:8080",
    "[fd00::1]:80",
];
const CLAIMS: [&str; 4] = ["iss", "sub", "groups", "nested"];
const CLAIM_TEXTS: [&str; 4] = ["a", "b", "admin", "a\nb"];

/// # Panics
/// If engine and model differ.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let filter = filter(&mut choices);
    let access = Access::new(&filter);
    let names = choices.maybe(|choices| choices.list(2, |choices| choices.pick(&NAMES).to_owned()));
    let subject = Subject {
        source: address(&mut choices),
        destination: address(&mut choices),
        server_name: choices.maybe(|choices| choices.pick(&HOSTS)),
        names: names.as_deref(),
    };
    let context = || format!("{filter:?}\n{subject:?}");
    assert_eq!(
        reference::verdict(access.connection(&subject)),
        reference::decide(&filter, &subject, None),
        "{}",
        context()
    );
    assert_eq!(
        access.audit_connection(&subject),
        audited(&filter, &subject, None),
        "{}",
        context()
    );
    let tried = filter
        .dry_run
        .clone()
        .filter(|rules| rules.action != RbacAction::Log)
        .map(|rules| RbacFilter {
            rules: Some(rules),
            ..RbacFilter::default()
        });
    assert_eq!(
        access.try_connection(&subject).map(reference::verdict),
        tried
            .as_ref()
            .map(|tried| reference::decide(tried, &subject, None)),
        "{}",
        context()
    );
    let standing = access.settle(&subject);
    for _ in 0..4 {
        let request = generate::request(&mut choices);
        let metadata = choices.maybe(metadata);
        let remote = address(&mut choices).ip();
        let question = Some(Question {
            request: &request,
            remote,
            metadata: metadata.as_ref(),
        });
        let asked = Asked {
            facts: RequestFacts::of(&request),
            remote,
            metadata: metadata.as_ref(),
        };
        assert_eq!(
            reference::verdict(access.request(&standing, &subject, &asked)),
            reference::decide(&filter, &subject, question),
            "{request:?} {metadata:?}\n{}",
            context()
        );
        assert_eq!(
            access
                .try_request(&standing, &subject, &asked)
                .map(reference::verdict),
            tried
                .as_ref()
                .map(|tried| reference::decide(tried, &subject, question)),
            "{request:?} {metadata:?}\n{}",
            context()
        );
        assert_eq!(
            access.audit(&standing, &subject, &asked),
            audited(&filter, &subject, question),
            "{request:?} {metadata:?}\n{}",
            context()
        );
        check_judgement(
            &access,
            &subject,
            &asked,
            access.request(&standing, &subject, &asked),
        );
    }
}

/// Whoever asks why hears what the engine decides; where something is not known, never the contrary of it.
fn check_judgement(access: &Access, subject: &Subject<'_>, asked: &Asked<'_>, decision: Decision) {
    for source in [false, true] {
        let unknown = Unknown {
            source,
            server_name: source,
        };
        let judged = access.judge(subject, Some(asked), unknown);
        let enforced = judged
            .into_iter()
            .find(|one| matches!(one.kind, RulesKind::Allow | RulesKind::Deny));
        let judged = enforced.map_or_else(|| Some(Decision::allowed()), |one| one.decision);
        match judged {
            Some(judged) if source => assert_eq!(judged.allowed, decision.allowed),
            Some(judged) => assert_eq!(judged, decision),
            None => assert!(source, "everything is known"),
        }
    }
}

fn audited(
    filter: &RbacFilter,
    subject: &Subject<'_>,
    question: Option<Question<'_>>,
) -> Option<Arc<str>> {
    let noted = filter
        .rules
        .as_ref()
        .filter(|rules| rules.action == RbacAction::Log);
    let mut rules = filter.shadow_rules.iter().chain(noted);
    rules.find_map(|rules| reference::matched(rules, subject, question))
}

fn filter(choices: &mut Choices<'_>) -> RbacFilter {
    let (shadow, dry_run) = (choices.once_in(3), choices.once_in(3));
    RbacFilter {
        rules: (!choices.once_in(10)).then(|| rules(choices)),
        shadow_rules: shadow.then(|| rules(choices)),
        dry_run: dry_run.then(|| rules(choices)),
    }
}

fn rules(choices: &mut Choices<'_>) -> Arc<Rbac> {
    let action = choices.pick(&[
        RbacAction::Allow,
        RbacAction::Deny,
        RbacAction::Allow,
        RbacAction::Log,
    ]);
    // Few are tried one by one, many are found by their literals.
    let policies = choices.pick(&[2, 9, 20]);
    let depth = choices.pick(&[0, 1, 3]);
    let policies = (0..policies)
        .map(|number| Policy {
            name: format!("rule[{number}]").into(),
            permissions: choices.list(2, |choices| permission(choices, depth)),
            principals: choices.list(2, |choices| principal(choices, depth)),
        })
        .collect();
    Arc::new(Rbac { action, policies })
}

fn permission(choices: &mut Choices<'_>, depth: usize) -> Permission {
    let kinds = if depth == 0 { 8 } else { 12 };
    match choices.below(kinds) {
        0 | 1 => Permission::Any,
        2 => Permission::Header(generate::header(choices)),
        3 => Permission::UrlPath(generate::string(choices, &PATHS)),
        4 => match choices.below(3) {
            0 => Permission::DestinationPort(choices.pick(&[80, 443])),
            1 => Permission::DestinationPortRange {
                start: 80,
                end: choices.pick(&[80, 81, 9000]),
            },
            _ => Permission::DestinationIp(generate::range(choices)),
        },
        5 => Permission::RequestedServerName(generate::string(choices, &HOSTS)),
        6 => Permission::Metadata(claim(choices)),
        7 => Permission::UrlPath(StringMatcher::exact(choices.pick(&PATHS))),
        8 => Permission::Not(Box::new(permission(choices, depth - 1))),
        9 => Permission::And(choices.list(3, |choices| permission(choices, depth - 1))),
        _ => Permission::Or(choices.list(3, |choices| permission(choices, depth - 1))),
    }
}

fn principal(choices: &mut Choices<'_>, depth: usize) -> Principal {
    let kinds = if depth == 0 { 9 } else { 13 };
    match choices.below(kinds) {
        0 => Principal::Any,
        1 | 2 => {
            Principal::Authenticated(choices.maybe(|choices| generate::string(choices, &NAMES)))
        }
        3 => Principal::PeerPrincipal(generate::string(choices, &NAMES)),
        4 => Principal::SourceIp(generate::range(choices)),
        5 => Principal::RemoteIp(generate::range(choices)),
        6 => Principal::Header(generate::header(choices)),
        7 => Principal::UrlPath(generate::string(choices, &PATHS)),
        8 => Principal::Metadata(claim(choices)),
        9 => Principal::Not(Box::new(principal(choices, depth - 1))),
        10 => Principal::And(choices.list(3, |choices| principal(choices, depth - 1))),
        _ => Principal::Or(choices.list(3, |choices| principal(choices, depth - 1))),
    }
}

fn claim(choices: &mut Choices<'_>) -> MetadataMatcher {
    MetadataMatcher {
        filter: choices.pick(&FILTERS).to_owned(),
        path: choices.list(2, |choices| choices.pick(&CLAIMS).to_owned()),
        value: claimed(choices, 2),
        invert: choices.once_in(6),
    }
}

fn claimed(choices: &mut Choices<'_>, depth: usize) -> MetadataMatch {
    let kinds = if depth == 0 { 5 } else { 7 };
    match choices.below(kinds) {
        0 => MetadataMatch::Present(choices.once_in(2)),
        1 => MetadataMatch::Null,
        2 => MetadataMatch::Bool(choices.once_in(2)),
        3 | 4 => MetadataMatch::String(generate::string(choices, &CLAIM_TEXTS)),
        5 => MetadataMatch::OneOf(Box::new(claimed(choices, depth - 1))),
        _ => MetadataMatch::Or(choices.list(3, |choices| claimed(choices, depth - 1))),
    }
}

fn metadata(choices: &mut Choices<'_>) -> Metadata {
    let mut values = serde_json::Map::new();
    for _ in 0..choices.below(5) {
        values.insert(choices.pick(&CLAIMS).to_owned(), value(choices, 2));
    }
    Metadata {
        filter: choices.pick(&FILTERS).into(),
        values: Value::Object(values),
    }
}

fn value(choices: &mut Choices<'_>, depth: usize) -> Value {
    let kinds = if depth == 0 { 4 } else { 6 };
    match choices.below(kinds) {
        0 => Value::Null,
        1 => json!(choices.once_in(2)),
        2 | 3 => json!(choices.pick(&CLAIM_TEXTS)),
        4 => Value::Array(choices.list(3, |choices| value(choices, depth - 1))),
        _ => json!({ choices.pick(&CLAIMS): value(choices, depth - 1) }),
    }
}

fn address(choices: &mut Choices<'_>) -> SocketAddr {
    let address = choices.pick(&ADDRESSES);
    address
        .parse()
        .unwrap_or_else(|_| unreachable!("{address}"))
}

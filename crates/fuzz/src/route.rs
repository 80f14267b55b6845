//! The routing engine against the model: random virtual hosts with random routes, several requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use hauberk_config::fault::Fraction;
use hauberk_config::matcher::{QueryMatch, QueryMatcher};
use hauberk_config::route::{
    DirectResponse, HeaderMutations, PathMatch, RequireTls, Route, RouteAction, RouteConfiguration,
    RouteMatch, VirtualHost,
};
use hauberk_route::Routes;

use crate::choices::Choices;
use crate::generate::{self, PATHS};
use crate::reference::route as reference;

const DOMAINS: [&str; 12] = [
    "a.example",
    "b.example",
    "*.example",
    "*.a.example",
    "*a.example",
    "a.*",
    "a.ex*",
    "*",
    "other",
    "a.example:80",
    "*:80",
    "",
];

/// # Panics
/// If engine and model differ.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let config = Arc::new(configuration(&mut choices));
    let routes = Routes::new(&config);
    for _ in 0..6 {
        let request = generate::request(&mut choices);
        let random = u64::from(choices.pick(&[0_u32, 499_999, 500_000, 999_999]));
        assert_eq!(
            routes
                .find(&request, random)
                .map(|matched| Arc::clone(&matched.route.name)),
            reference::find(&config, &request, random).map(|route| Arc::clone(&route.name)),
            "{request:?}\n{config:?}"
        );
        let secure = reference::virtual_host(&config, &request)
            .is_some_and(|host| host.require_tls != RequireTls::No);
        assert_eq!(
            routes.requires_tls(&request),
            secure,
            "{request:?}\n{config:?}"
        );
    }
}

fn configuration(choices: &mut Choices<'_>) -> RouteConfiguration {
    let hosts = choices.below(6);
    RouteConfiguration {
        name: "routes".into(),
        virtual_hosts: (0..hosts)
            .map(|number| Arc::new(host(choices, number)))
            .collect(),
        headers: HeaderMutations::default(),
        ignore_port_in_host: choices.once_in(2),
        most_specific_headers_win: false,
        overrides: BTreeMap::new(),
        mirrors: Vec::new(),
    }
}

fn host(choices: &mut Choices<'_>, number: usize) -> VirtualHost {
    // Few are tried one by one, many are found by their paths.
    let routes = choices.pick(&[1, 3, 9, 24]);
    VirtualHost {
        name: format!("{number}").into(),
        domains: choices.list(3, |choices| choices.pick(&DOMAINS).to_owned()),
        routes: (0..routes)
            .map(|place| Arc::new(route(choices, format!("{number}/{place}"))))
            .collect(),
        headers: HeaderMutations::default(),
        require_tls: choices.pick(&[RequireTls::No, RequireTls::All]),
        retry: None,
        include_attempt_count_in_request: false,
        include_attempt_count_in_response: false,
        overrides: BTreeMap::new(),
        mirrors: Vec::new(),
    }
}

fn route(choices: &mut Choices<'_>, name: String) -> Route {
    Route {
        name: name.into(),
        matches: RouteMatch {
            path: path(choices),
            case_sensitive: !choices.once_in(3),
            headers: if choices.once_in(3) {
                choices.list(2, generate::header)
            } else {
                Vec::new()
            },
            query: if choices.once_in(4) {
                choices.list(2, query)
            } else {
                Vec::new()
            },
            share: choices.once_in(4).then_some(Fraction {
                numerator: 50,
                denominator: 100,
            }),
            grpc: choices.once_in(8),
        },
        action: RouteAction::Direct(DirectResponse {
            status: 200,
            body: Vec::new(),
        }),
        headers: HeaderMutations::default(),
        overrides: BTreeMap::new(),
        metadata: BTreeMap::new(),
        operation: None,
    }
}

fn path(choices: &mut Choices<'_>) -> PathMatch {
    let text = choices.pick(&PATHS);
    match choices.below(6) {
        0 | 1 => PathMatch::Exact(text.to_owned()),
        2 => PathMatch::Prefix(text[..choices.below(text.len() + 1)].to_owned()),
        3 => PathMatch::SeparatedPrefix(text.trim_end_matches('/').to_owned()),
        4 => PathMatch::Regex(generate::pattern(choices)),
        _ if choices.once_in(4) => PathMatch::Connect,
        _ => PathMatch::Prefix(text.to_owned()),
    }
}

fn query(choices: &mut Choices<'_>) -> QueryMatcher {
    QueryMatcher {
        name: choices.pick(&["q", "r", ""]).to_owned(),
        matches: if choices.once_in(2) {
            QueryMatch::Present(choices.once_in(2))
        } else {
            QueryMatch::String(generate::string(choices, &["", "a", "b"]))
        },
    }
}

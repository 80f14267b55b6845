//! Role-based access control. A rule that is not understood is refused, never weakened.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::rbac::v3 as rbac;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3 as http;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as network;
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3 as template;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use hauberk_config::matcher::{StringMatcher, StringPattern};
use hauberk_config::rbac::{
    MetadataMatch, MetadataMatcher, Permission, Policy, Principal, Rbac, RbacAction, RbacFilter,
};

use super::value::{header_matcher, prefix_range, string_matcher};
use super::{At, Decoded, required, unpack};

const TEMPLATE: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
/// Under such names shadow rules are policies in dry run, as Istio and we send them; under any other they only note.
const DRY_RUN: &str = "istio_dry_run_";

pub fn http_filter(told: &http::Rbac) -> Decoded<RbacFilter> {
    if told.matcher.is_some() || told.shadow_matcher.is_some() {
        return Err("matcher: expected rules, found a matcher tree".into());
    }
    let prefix = &told.shadow_rules_stat_prefix;
    filter(told.rules.as_ref(), told.shadow_rules.as_ref(), prefix)
}

pub fn network_filter(told: &network::Rbac) -> Decoded<RbacFilter> {
    if told.matcher.is_some() || told.shadow_matcher.is_some() {
        return Err("matcher: expected rules, found a matcher tree".into());
    }
    let prefix = &told.shadow_rules_stat_prefix;
    filter(told.rules.as_ref(), told.shadow_rules.as_ref(), prefix)
}

fn filter(
    told: Option<&rbac::Rbac>,
    shadow: Option<&rbac::Rbac>,
    prefix: &str,
) -> Decoded<RbacFilter> {
    let shadow = shadow.map(rules).transpose()?;
    let (dry_run, shadow_rules) = if prefix.starts_with(DRY_RUN) {
        (shadow, None)
    } else {
        (None, shadow)
    };
    Ok(RbacFilter {
        rules: told.map(rules).transpose()?,
        shadow_rules,
        dry_run,
    })
}

fn rules(told: &rbac::Rbac) -> Decoded<Arc<Rbac>> {
    use rbac::rbac::Action as A;
    let action = match A::try_from(told.action) {
        Ok(A::Allow) => RbacAction::Allow,
        Ok(A::Deny) => RbacAction::Deny,
        Ok(A::Log) => RbacAction::Log,
        Err(_) => {
            return Err(format!(
                "action: expected ALLOW, DENY or LOG, found {}",
                told.action
            ));
        }
    };
    let mut names: Vec<&String> = told.policies.keys().collect();
    names.sort();
    let policies = names
        .into_iter()
        .map(|name| policy(name, &told.policies[name]).at(&format!("policies[{name}]")))
        .collect::<Decoded<_>>()?;
    Ok(Arc::new(Rbac { action, policies }))
}

fn policy(name: &str, told: &rbac::Policy) -> Decoded<Policy> {
    if told.condition.is_some() || told.checked_condition.is_some() {
        return Err(
            "condition: expected permissions and principals alone, found a CEL condition".into(),
        );
    }
    Ok(Policy {
        name: name.into(),
        permissions: told
            .permissions
            .iter()
            .map(permission)
            .collect::<Decoded<_>>()?,
        principals: told
            .principals
            .iter()
            .map(principal)
            .collect::<Decoded<_>>()?,
    })
}

fn permission(told: &rbac::Permission) -> Decoded<Permission> {
    use rbac::permission::Rule as R;
    let set = |set: &rbac::permission::Set| {
        set.rules
            .iter()
            .map(permission)
            .collect::<Decoded<Vec<_>>>()
    };
    Ok(match required(told.rule.as_ref(), "permission")? {
        R::Any(true) => Permission::Any,
        R::AndRules(rules) => Permission::And(set(rules)?),
        R::OrRules(rules) => Permission::Or(set(rules)?),
        R::NotRule(rule) => Permission::Not(Box::new(permission(rule)?)),
        R::Header(header) => Permission::Header(header_matcher(header)?),
        R::UrlPath(path) => Permission::UrlPath(path_matcher(path)?),
        R::DestinationIp(range) => Permission::DestinationIp(prefix_range(range)?),
        R::DestinationPort(port) => Permission::DestinationPort(
            u16::try_from(*port)
                .map_err(|_| format!("destination_port: expected at most 65535, found {port}"))?,
        ),
        R::DestinationPortRange(range) => {
            let bound = |port| {
                u32::try_from(port).map_err(|_| format!("destination_port_range: found {port}"))
            };
            Permission::DestinationPortRange {
                start: bound(range.start)?,
                end: bound(range.end)?,
            }
        }
        R::RequestedServerName(name) => Permission::RequestedServerName(string_matcher(name)?),
        R::Metadata(metadata) => Permission::Metadata(metadata_matcher(metadata)?),
        R::UriTemplate(extension) => Permission::UrlPath(path_template(extension)?),
        other => return Err(format!("permission: not understood: {other:?}")),
    })
}

fn principal(told: &rbac::Principal) -> Decoded<Principal> {
    use rbac::principal::Identifier as I;
    let set =
        |set: &rbac::principal::Set| set.ids.iter().map(principal).collect::<Decoded<Vec<_>>>();
    Ok(match required(told.identifier.as_ref(), "principal")? {
        I::Any(true) => Principal::Any,
        I::AndIds(ids) => Principal::And(set(ids)?),
        I::OrIds(ids) => Principal::Or(set(ids)?),
        I::NotId(id) => Principal::Not(Box::new(principal(id)?)),
        I::Authenticated(told) => Principal::Authenticated(
            told.principal_name
                .as_ref()
                .map(string_matcher)
                .transpose()?,
        ),
        I::SourceIp(range) => Principal::SourceIp(prefix_range(range)?),
        I::DirectRemoteIp(range) => Principal::DirectRemoteIp(prefix_range(range)?),
        I::RemoteIp(range) => Principal::RemoteIp(prefix_range(range)?),
        I::Header(header) => Principal::Header(header_matcher(header)?),
        I::UrlPath(path) => Principal::UrlPath(path_matcher(path)?),
        I::Metadata(metadata) => Principal::Metadata(metadata_matcher(metadata)?),
        I::FilterState(state) if state.key == "io.istio.peer_principal" => match &state.matcher {
            Some(matcher::filter_state_matcher::Matcher::StringMatch(text)) => {
                Principal::PeerPrincipal(string_matcher(text)?)
            }
            other => {
                return Err(format!(
                    "filter_state: expected a string match, found {other:?}"
                ));
            }
        },
        other => return Err(format!("principal: not understood: {other:?}")),
    })
}

/// A template of paths (`envoy.path.match.uri_template`): `*` is a segment, `**` any number of them. Named variables are
/// refused.
fn path_template(told: &core::TypedExtensionConfig) -> Decoded<StringMatcher> {
    let any = required(told.typed_config.as_ref(), "uri_template")?;
    let config: template::UriTemplateMatchConfig = unpack(any, TEMPLATE)?;
    let told = &config.path_template;
    if !told.starts_with('/') || told.contains(['{', '}']) {
        return Err(format!(
            "path_template: expected a path with * and ** alone, found {told:?}"
        ));
    }
    let segments = told.split('/').map(|segment| match segment {
        "**" => ".*".to_owned(),
        "*" => "[^/]+".to_owned(),
        literal => regex::escape(literal),
    });
    let pattern = segments.collect::<Vec<_>>().join("/");
    Ok(StringMatcher {
        pattern: StringPattern::Regex(super::value::pattern(&pattern)?),
        ignore_case: false,
    })
}

fn path_matcher(told: &matcher::PathMatcher) -> Decoded<StringMatcher> {
    match required(told.rule.as_ref(), "url_path")? {
        matcher::path_matcher::Rule::Path(text) => string_matcher(text),
    }
}

fn metadata_matcher(told: &matcher::MetadataMatcher) -> Decoded<MetadataMatcher> {
    let path = told
        .path
        .iter()
        .map(|segment| match &segment.segment {
            Some(matcher::metadata_matcher::path_segment::Segment::Key(key)) => Ok(key.clone()),
            None => Err("metadata path: expected a key, found nothing".to_owned()),
        })
        .collect::<Decoded<_>>()?;
    Ok(MetadataMatcher {
        filter: told.filter.clone(),
        path,
        value: metadata_match(required(told.value.as_ref(), "metadata value")?)?,
        invert: told.invert,
    })
}

fn metadata_match(told: &matcher::ValueMatcher) -> Decoded<MetadataMatch> {
    use matcher::value_matcher::MatchPattern as P;
    Ok(
        match required(told.match_pattern.as_ref(), "metadata value")? {
            P::NullMatch(_) => MetadataMatch::Null,
            P::BoolMatch(value) => MetadataMatch::Bool(*value),
            P::PresentMatch(value) => MetadataMatch::Present(*value),
            P::StringMatch(text) => MetadataMatch::String(string_matcher(text)?),
            P::OrMatch(any) => MetadataMatch::Or(
                any.value_matchers
                    .iter()
                    .map(metadata_match)
                    .collect::<Decoded<_>>()?,
            ),
            P::ListMatch(list) => match &list.match_pattern {
                Some(matcher::list_matcher::MatchPattern::OneOf(one)) => {
                    MetadataMatch::OneOf(Box::new(metadata_match(one)?))
                }
                None => return Err("metadata list: expected one_of, found nothing".into()),
            },
            other @ P::DoubleMatch(_) => {
                return Err(format!("metadata value: not understood: {other:?}"));
            }
        },
    )
}

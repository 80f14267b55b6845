//! Tokens of end users. What would let in more than was meant is refused.

use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3 as jwt;
use hauberk_config::jwt::{JwtAuthentication, JwtProvider, JwtRequirement};

use super::value::inline;
use super::{At, Decoded, required};

const CLOCK_SKEW: u32 = 60;

pub fn authentication(told: &jwt::JwtAuthentication) -> Decoded<JwtAuthentication> {
    if told.filter_state_rules.is_some() || told.strip_failure_response {
        return Err("filter_state_rules, strip_failure_response: not honoured".into());
    }
    let mut names: Vec<&String> = told.providers.keys().collect();
    names.sort();
    let providers = names
        .iter()
        .map(|name| provider(&told.providers[*name]).at(&format!("providers[{name}]")))
        .collect::<Decoded<_>>()?;
    let [rule] = told.rules.as_slice() else {
        return Err(format!("rules: expected one, found {}", told.rules.len()));
    };
    let matches = required(rule.r#match.as_ref(), "rules[0].match")?;
    let everything = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
        ..Default::default()
    };
    if *matches != everything {
        return Err("rules[0].match: expected the prefix / and nothing else".into());
    }
    let requirement = match required(rule.requirement_type.as_ref(), "rules[0].requires")? {
        jwt::requirement_rule::RequirementType::Requires(told) => requirement(told, &names)?,
        jwt::requirement_rule::RequirementType::RequirementName(name) => requirement(
            required(
                told.requirement_map.get(name),
                &format!("requirement_map[{name}]"),
            )?,
            &names,
        )?,
    };
    Ok(JwtAuthentication {
        providers,
        requirement,
        bypass_cors_preflight: told.bypass_cors_preflight,
    })
}

fn requirement(told: &jwt::JwtRequirement, names: &[&String]) -> Decoded<JwtRequirement> {
    use jwt::jwt_requirement::RequiresType as R;
    let all = |list: &[jwt::JwtRequirement]| -> Decoded<Vec<JwtRequirement>> {
        list.iter().map(|one| requirement(one, names)).collect()
    };
    Ok(match required(told.requires_type.as_ref(), "requires")? {
        R::ProviderName(name) => {
            let index = names.iter().position(|known| *known == name);
            JwtRequirement::Provider(
                index.ok_or_else(|| format!("provider_name: no provider {name:?}"))?,
            )
        }
        R::RequiresAny(any) => JwtRequirement::Any(all(&any.requirements)?),
        R::RequiresAll(list) => JwtRequirement::All(all(&list.requirements)?),
        R::AllowMissing(_) => JwtRequirement::AllowMissing,
        R::AllowMissingOrFailed(_) => JwtRequirement::AllowMissingOrFailed,
        other => return Err(format!("requires: not understood: {other:?}")),
    })
}

fn provider(told: &jwt::JwtProvider) -> Decoded<JwtProvider> {
    use jwt::jwt_provider::JwksSourceSpecifier as S;
    let refused = [
        ("subjects", told.subjects.is_some()),
        ("max_lifetime", told.max_lifetime.is_some()),
        (
            "pad_forward_payload_header",
            told.pad_forward_payload_header,
        ),
        ("header_in_metadata", !told.header_in_metadata.is_empty()),
        (
            "failed_status_in_metadata",
            !told.failed_status_in_metadata.is_empty(),
        ),
        ("clear_route_cache", told.clear_route_cache),
    ];
    if let Some((field, _)) = refused.iter().find(|(_, set)| *set) {
        return Err(format!("{field}: not honoured"));
    }
    let key_set = match required(told.jwks_source_specifier.as_ref(), "local_jwks")? {
        S::LocalJwks(source) => inline(Some(source)).at("local_jwks")?,
        S::RemoteJwks(_) => return Err("expected local_jwks, found remote_jwks".into()),
    };
    let key_set = String::from_utf8(key_set).map_err(|_| "local_jwks: expected text")?;
    let seconds = match told.clock_skew_seconds {
        0 => CLOCK_SKEW,
        told => told,
    };
    Ok(JwtProvider {
        issuer: told.issuer.clone(),
        audiences: told.audiences.clone(),
        key_set: key_set.into(),
        from_headers: told
            .from_headers
            .iter()
            .map(|one| (one.name.to_ascii_lowercase(), one.value_prefix.clone()))
            .collect(),
        from_params: told.from_params.clone(),
        from_cookies: told.from_cookies.clone(),
        forward: told.forward,
        payload_header: (!told.forward_payload_header.is_empty())
            .then(|| told.forward_payload_header.to_ascii_lowercase()),
        claim_headers: told
            .claim_to_headers
            .iter()
            .map(|one| (one.header_name.to_ascii_lowercase(), one.claim_name.clone()))
            .collect(),
        metadata_key: told.payload_in_metadata.clone(),
        space_delimited_claims: told
            .normalize_payload_in_metadata
            .as_ref()
            .map(|one| one.space_delimited_claims.clone())
            .unwrap_or_default(),
        clock_skew: Duration::from_secs(seconds.into()),
        require_expiration: told.require_expiration,
    })
}

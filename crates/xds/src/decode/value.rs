//! Small values that many resources hold: durations, addresses, matchers, fractions, metadata.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use envoy_types::pb::google::protobuf as pb;
use hauberk_config::external_authorization::GrpcService;
use hauberk_config::fault::Fraction;
use hauberk_config::matcher::{
    HeaderMatch, HeaderMatcher, PrefixRange, StringMatcher, StringPattern,
};

use super::{At, Decoded, required};

pub fn on(value: Option<&pb::BoolValue>) -> bool {
    value.is_some_and(|value| value.value)
}

pub fn number(value: Option<&pb::UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

/// A duration of no more than the 10 000 years that Protocol Buffers allow, so that a point in time may be added to it.
pub fn duration(value: &pb::Duration) -> Decoded<Duration> {
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds @ 0..=315_576_000_000), Ok(nanos @ 0..=999_999_999)) => {
            Ok(Duration::new(seconds, nanos))
        }
        _ => Err(format!(
            "expected a duration from 0 to 315576000000 s, found {} s and {} ns",
            value.seconds, value.nanos
        )),
    }
}

/// A duration for which nothing and zero both mean "no limit".
pub fn limit(value: Option<&pb::Duration>) -> Decoded<Option<Duration>> {
    Ok(value
        .map(duration)
        .transpose()?
        .filter(|limit| !limit.is_zero()))
}

/// A duration that is unlimited if zero, and `default` if absent.
pub fn limit_or(value: Option<&pb::Duration>, default: Duration) -> Decoded<Option<Duration>> {
    if value.is_none() {
        Ok(Some(default))
    } else {
        limit(value)
    }
}

/// An IP address and port; `true` if it is UDP's.
pub fn socket_address(value: Option<&core::Address>) -> Decoded<(SocketAddr, bool)> {
    let value = required(value, "address")?;
    match &value.address {
        Some(core::address::Address::SocketAddress(address)) => {
            let ip: IpAddr = address.address.parse().map_err(|_| {
                format!(
                    "address: expected an IP address, found {:?}",
                    address.address
                )
            })?;
            let udp = address.protocol == core::socket_address::Protocol::Udp as i32;
            Ok((SocketAddr::new(ip, port(address)?), udp))
        }
        other => Err(format!(
            "address: expected a socket address, found {other:?}"
        )),
    }
}

pub fn port(address: &core::SocketAddress) -> Decoded<u16> {
    match address.port_specifier {
        Some(core::socket_address::PortSpecifier::PortValue(port)) => u16::try_from(port)
            .map_err(|_| format!("port_value: expected at most 65535, found {port}")),
        _ => Err("port_value: expected it, found nothing".into()),
    }
}

pub fn prefix_range(value: &core::CidrRange) -> Decoded<PrefixRange> {
    let address: IpAddr = value.address_prefix.parse().map_err(|_| {
        format!(
            "address_prefix: expected an IP address, found {:?}",
            value.address_prefix
        )
    })?;
    let length = number(value.prefix_len.as_ref()).unwrap_or(0);
    u8::try_from(length)
        .ok()
        .and_then(|length| PrefixRange::new(address, length))
        .ok_or_else(|| {
            format!("prefix_len: expected at most the bits of {address}, found {length}")
        })
}

/// A pattern that the proxy can compile; it must match whole strings.
pub fn regex(value: &matcher::RegexMatcher) -> Decoded<String> {
    pattern(&value.regex)
}

pub fn pattern(text: &str) -> Decoded<String> {
    regex::Regex::new(text).map_err(|error| format!("regular expression {text:?}: {error}"))?;
    // As it is used, too: `(?x)a#` is a pattern, but its comment would swallow what anchors it, and a DENY rule with a
    // pattern that does not compile would match nothing.
    regex::Regex::new(&format!("^(?:{text})$"))
        .map_err(|error| format!("regular expression {text:?}, anchored: {error}"))?;
    Ok(text.to_owned())
}

pub fn string_matcher(value: &matcher::StringMatcher) -> Decoded<StringMatcher> {
    use matcher::string_matcher::MatchPattern as P;
    let pattern = match required(value.match_pattern.as_ref(), "string matcher")? {
        P::Exact(text) => StringPattern::Exact(text.clone()),
        P::Prefix(text) => StringPattern::Prefix(text.clone()),
        P::Suffix(text) => StringPattern::Suffix(text.clone()),
        P::Contains(text) => StringPattern::Contains(text.clone()),
        P::SafeRegex(value) => StringPattern::Regex(regex(value)?),
        other @ P::Custom(_) => {
            return Err(format!(
                "string matcher: expected a pattern, found {other:?}"
            ));
        }
    };
    let ignore_case = value.ignore_case && !matches!(pattern, StringPattern::Regex(_));
    Ok(StringMatcher {
        pattern,
        ignore_case,
    })
}

pub fn header_matcher(value: &route::HeaderMatcher) -> Decoded<HeaderMatcher> {
    use route::header_matcher::HeaderMatchSpecifier as H;
    let plain = |pattern| {
        HeaderMatch::String(StringMatcher {
            pattern,
            ignore_case: false,
        })
    };
    let matches = match &value.header_match_specifier {
        None => HeaderMatch::Present(true),
        Some(H::PresentMatch(present)) => HeaderMatch::Present(*present),
        Some(H::StringMatch(matcher)) => {
            HeaderMatch::String(string_matcher(matcher).at(&value.name)?)
        }
        Some(H::ExactMatch(text)) => plain(StringPattern::Exact(text.clone())),
        Some(H::PrefixMatch(text)) => plain(StringPattern::Prefix(text.clone())),
        Some(H::SuffixMatch(text)) => plain(StringPattern::Suffix(text.clone())),
        Some(H::ContainsMatch(text)) => plain(StringPattern::Contains(text.clone())),
        Some(H::SafeRegexMatch(matcher)) => {
            plain(StringPattern::Regex(regex(matcher).at(&value.name)?))
        }
        Some(H::RangeMatch(range)) => HeaderMatch::Range {
            start: range.start,
            end: range.end,
        },
    };
    Ok(HeaderMatcher {
        name: value.name.to_ascii_lowercase(),
        matches,
        invert: value.invert_match,
        treat_missing_as_empty: value.treat_missing_header_as_empty,
    })
}

pub fn header_matchers(values: &[route::HeaderMatcher]) -> Decoded<Vec<HeaderMatcher>> {
    values.iter().map(header_matcher).collect()
}

pub fn fraction(value: &kinds::FractionalPercent) -> Decoded<Fraction> {
    use kinds::fractional_percent::DenominatorType as D;
    let denominator = match D::try_from(value.denominator) {
        Ok(D::Hundred) => 100,
        Ok(D::TenThousand) => 10_000,
        Ok(D::Million) => 1_000_000,
        Err(_) => {
            return Err(format!(
                "denominator: expected a known one, found {}",
                value.denominator
            ));
        }
    };
    Ok(Fraction {
        numerator: value.numerator,
        denominator,
    })
}

/// A runtime fraction; the runtime key is not looked up. Nothing is always.
pub fn runtime_fraction(value: Option<&core::RuntimeFractionalPercent>) -> Decoded<Fraction> {
    value
        .and_then(|value| value.default_value.as_ref())
        .map_or(Ok(Fraction::ALWAYS), fraction)
}

/// The string fields of one filter's metadata, sorted by key.
pub fn metadata_strings(metadata: Option<&core::Metadata>, filter: &str) -> Vec<(String, String)> {
    let fields = metadata
        .and_then(|metadata| metadata.filter_metadata.get(filter))
        .map(|fields| &fields.fields);
    let mut found: Vec<(String, String)> = fields
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match &value.kind {
            Some(pb::value::Kind::StringValue(text)) => Some((key.clone(), text.clone())),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

/// One string of one filter's metadata; empty if it is not there.
pub fn metadata_string(metadata: Option<&core::Metadata>, filter: &str, key: &str) -> String {
    metadata_strings(metadata, filter)
        .into_iter()
        .find(|(found, _)| found == key)
        .map(|(_, value)| value)
        .unwrap_or_default()
}

/// A gRPC service behind a cluster (`envoy_grpc`); metadata of its own is not sent.
pub fn grpc_service(told: Option<&core::GrpcService>) -> Decoded<GrpcService> {
    use core::grpc_service::TargetSpecifier as T;
    let told = required(told, "grpc_service")?;
    if !told.initial_metadata.is_empty() || told.retry_policy.is_some() {
        return Err("grpc_service.initial_metadata, retry_policy: not honoured".into());
    }
    let envoy = match told.target_specifier.as_ref() {
        Some(T::EnvoyGrpc(envoy)) => envoy,
        other => return Err(format!("expected envoy_grpc, found {other:?}")),
    };
    Ok(GrpcService {
        cluster: envoy.cluster_name.as_str().into(),
        authority: if envoy.authority.is_empty() {
            envoy.cluster_name.clone()
        } else {
            envoy.authority.clone()
        },
        timeout: limit(told.timeout.as_ref())?,
    })
}

pub fn string_matchers(told: Option<&matcher::ListStringMatcher>) -> Decoded<Vec<StringMatcher>> {
    let patterns = told.map_or(&[][..], |told| &told.patterns);
    patterns.iter().map(string_matcher).collect()
}

/// Text or bytes given in the resource itself.
pub fn inline(value: Option<&core::DataSource>) -> Decoded<Vec<u8>> {
    use core::data_source::Specifier as S;
    match value.and_then(|value| value.specifier.as_ref()) {
        Some(S::InlineBytes(bytes)) => Ok(bytes.clone()),
        Some(S::InlineString(text)) => Ok(text.clone().into_bytes()),
        None => Ok(Vec::new()),
        Some(other) => Err(format!("expected inline data, found {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn a_pattern_must_compile_as_it_stands_and_as_it_is_used() {
        assert!(pattern("a+").is_ok());
        for bad in ["(", "a)|(b", "(?x)a#"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}

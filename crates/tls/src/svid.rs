//! The rules of an X.509-SVID beyond those of any certificate chain (SPIFFE X.509-SVID §2–5, SPIFFE-ID §2).

use x509_parser::prelude::{
    FromDer, GeneralName, KeyUsage, ParsedExtension, X509Certificate, X509Extension,
};

const SCHEME: &str = "spiffe://";
const LONGEST_ID: usize = 2048;
const LONGEST_TRUST_DOMAIN: usize = 255;

/// Checks a chain whose signatures, validity and purpose were verified. A leaf without a SPIFFE ID is no SVID, and
/// passes: its names are the business of those who expect one.
///
/// # Errors
/// The rule that is broken.
pub fn check<'a>(leaf: &[u8], above: impl Iterator<Item = &'a [u8]>) -> Result<(), String> {
    let leaf = parse(leaf)?;
    let uris = uris(&leaf)?;
    let id = match uris.as_slice() {
        [one] if one.starts_with(SCHEME) => *one,
        [] | [_] => return Ok(()),
        _ => return Err(format!("expected one URI name, found {}", uris.len())),
    };
    let domain = workload(id)?;
    leaf_usages(&leaf)?;
    for authority in above {
        signing(&parse(authority)?, domain)?;
    }
    Ok(())
}

fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|error| format!("expected an X.509 certificate: {error}"))
}

fn leaf_usages(leaf: &X509Certificate<'_>) -> Result<(), String> {
    let (critical, usage) = key_usage(leaf)?;
    if !critical || !usage.digital_signature() {
        return Err("expected a critical key usage with digitalSignature".into());
    }
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err("a leaf must not have keyCertSign or cRLSign".into());
    }
    if leaf.is_ca() {
        return Err("a leaf must not be a CA".into());
    }
    let extended = leaf.extended_key_usage().map_err(unreadable)?;
    if extended.is_some_and(|told| !told.value.server_auth || !told.value.client_auth) {
        return Err("an extended key usage must hold both serverAuth and clientAuth".into());
    }
    let names = leaf.subject_alternative_name().map_err(unreadable)?;
    if leaf.subject().as_raw() == EMPTY_NAME && !names.is_some_and(|names| names.critical) {
        return Err("the subject is empty, so its alternative names must be critical".into());
    }
    Ok(())
}

/// A sequence of nothing, DER.
const EMPTY_NAME: &[u8] = &[0x30, 0x00];

/// An intermediate: its SPIFFE ID, if it has one, is the trust domain's own.
fn signing(authority: &X509Certificate<'_>, domain: &str) -> Result<(), String> {
    if !key_usage(authority)?.1.key_cert_sign() {
        return Err("a signing certificate must have keyCertSign".into());
    }
    match uris(authority)?.as_slice() {
        [] => Ok(()),
        [one] if one.strip_prefix(SCHEME) == Some(domain) => Ok(()),
        found => Err(format!(
            "expected a signing certificate of {SCHEME}{domain}, found one of {found:?}"
        )),
    }
}

fn key_usage(certificate: &X509Certificate<'_>) -> Result<(bool, KeyUsage), String> {
    let mut found = certificate
        .extensions()
        .iter()
        .filter_map(
            |extension: &X509Extension<'_>| match extension.parsed_extension() {
                ParsedExtension::KeyUsage(usage) => Some((extension.critical, *usage)),
                _ => None,
            },
        );
    found
        .next()
        .ok_or_else(|| "expected a key usage, found none".into())
}

fn uris<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, String> {
    let names = certificate.subject_alternative_name().map_err(unreadable)?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect())
}

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("an extension is not readable: {error}")
}

/// The trust domain of a workload's ID.
fn workload(id: &str) -> Result<&str, String> {
    if id.len() > LONGEST_ID {
        return Err(format!(
            "SPIFFE ID: expected at most {LONGEST_ID} bytes, found {}",
            id.len()
        ));
    }
    let rest = id.strip_prefix(SCHEME).unwrap_or_default();
    let (domain, path) = rest
        .split_once('/')
        .ok_or("SPIFFE ID: expected a path, found a trust domain's own")?;
    let lower = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if domain.is_empty() || domain.len() > LONGEST_TRUST_DOMAIN || !domain.bytes().all(lower) {
        return Err(format!(
            "SPIFFE ID: expected a trust domain of a-z, 0-9, '.', '-' and '_', found {domain:?}"
        ));
    }
    let good = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| lower(byte) || byte.is_ascii_uppercase())
    };
    if !path.split('/').all(good) {
        return Err(format!(
            "SPIFFE ID: expected segments of a-z, A-Z, 0-9, '.', '-' and '_', found {path:?}"
        ));
    }
    Ok(domain)
}

#[cfg(test)]
mod tests {
    use super::workload;

    #[test]
    fn an_id_names_a_workload_or_is_refused() {
        assert_eq!(workload("spiffe://a.b-c_1/ns/Bank/sa/web.1"), Ok("a.b-c_1"));
        for wrong in [
            "spiffe://a",
            "spiffe://a/",
            "spiffe:///a",
            "spiffe://A/b",
            "spiffe://a/b/",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/./b",
            "spiffe://a:1/b",
            "spiffe://u@a/b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://a/%41",
            "spiffe://a/b ",
            "spiffe://a/b\n",
        ] {
            assert!(workload(wrong).is_err(), "{wrong}");
        }
        assert!(workload(&format!("spiffe://a/{}", "b".repeat(2037))).is_ok());
        assert!(workload(&format!("spiffe://a/{}", "b".repeat(2038))).is_err());
        assert!(workload(&format!("spiffe://{}/b", "a".repeat(256))).is_err());
    }
}

//! What an X.509 certificate says of its owner.

use std::fmt::Write;
use std::net::IpAddr;

use hauberk_config::matcher::{StringMatcher, StringPattern};
use hauberk_config::tls::{SanKind, SanMatcher};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// URI names, such as SPIFFE IDs.
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    pub emails: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// RFC 4514.
    pub subject: String,
    /// Lower-case hexadecimal, no leading zeros.
    pub serial: String,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
}

impl Names {
    /// # Errors
    /// What is wrong with the certificate.
    pub fn of(certificate: &[u8]) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("expected an X.509 certificate: {error}"))?;
        let mut names = Self {
            subject: parsed.subject().to_string(),
            serial: hexadecimal(parsed.raw_serial()),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            ..Self::default()
        };
        let alternatives = parsed
            .subject_alternative_name()
            .map_err(|error| format!("subject alternative names: {error}"))?;
        for name in alternatives
            .iter()
            .flat_map(|names| &names.value.general_names)
        {
            match name {
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
                GeneralName::RFC822Name(email) => names.emails.push((*email).to_owned()),
                GeneralName::IPAddress(octets) => {
                    if let Ok(v4) = <[u8; 4]>::try_from(*octets) {
                        names.addresses.push(v4.into());
                    } else if let Ok(v6) = <[u8; 16]>::try_from(*octets) {
                        names.addresses.push(v6.into());
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }

    /// The SPIFFE ID, if these are the names of an X.509-SVID: exactly one URI, of scheme `spiffe`
    /// (SPIFFE X.509-SVID §2).
    pub fn spiffe_id(&self) -> Option<&str> {
        match self.uris.as_slice() {
            [one] if one.starts_with("spiffe://") => Some(one),
            _ => None,
        }
    }

    /// Whether a name of the right kind fits.
    pub fn fit(&self, matcher: &SanMatcher) -> bool {
        let any = |names: &[String]| names.iter().any(|name| fits(&matcher.matcher, name));
        let address = || {
            self.addresses
                .iter()
                .any(|address| fits(&matcher.matcher, &address.to_string()))
        };
        match matcher.kind {
            SanKind::Uri => any(&self.uris),
            SanKind::Dns => any(&self.dns),
            SanKind::Email => any(&self.emails),
            SanKind::IpAddress => address(),
            SanKind::Any => any(&self.uris) || any(&self.dns) || any(&self.emails) || address(),
        }
    }
}

/// A regular expression never fits; contexts that have one are refused when they are built.
fn fits(matcher: &StringMatcher, text: &str) -> bool {
    let prepare = |text: &str| {
        if matcher.ignore_case {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    let text = prepare(text);
    match &matcher.pattern {
        StringPattern::Exact(wanted) => text == prepare(wanted),
        StringPattern::Prefix(wanted) => text.starts_with(&prepare(wanted)),
        StringPattern::Suffix(wanted) => text.ends_with(&prepare(wanted)),
        StringPattern::Contains(wanted) => text.contains(&prepare(wanted)),
        StringPattern::Regex(_) => false,
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        // Writing to a string does not fail.
        let _ = write!(text, "{octet:02x}");
    }
    let trimmed = text.trim_start_matches('0');
    if trimmed.is_empty() {
        "0".into()
    } else {
        trimmed.to_owned()
    }
}

//! Matchers of strings, headers, query parameters and addresses, as stated; `hauberk-route` and `hauberk-policy` compile them.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

/// What a string must look like (`envoy.type.matcher.v3.StringMatcher`).
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum StringPattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// RE2 syntax; the whole string must match.
    Regex(String),
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct StringMatcher {
    pub pattern: StringPattern,
    /// ASCII case is ignored; never together with a regex.
    pub ignore_case: bool,
}

impl StringMatcher {
    /// A matcher of exactly `text`.
    pub fn exact(text: impl Into<String>) -> Self {
        Self {
            pattern: StringPattern::Exact(text.into()),
            ignore_case: false,
        }
    }
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum HeaderMatch {
    /// `Present(false)` matches when the header is absent.
    Present(bool),
    String(StringMatcher),
    /// A decimal integer in `start..end`.
    Range {
        start: i64,
        end: i64,
    },
}

/// `envoy.config.route.v3.HeaderMatcher`. `:method`, `:authority`, `:path` and `:scheme` are headers too.
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct HeaderMatcher {
    /// In lower case.
    pub name: String,
    pub matches: HeaderMatch,
    pub invert: bool,
    pub treat_missing_as_empty: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum QueryMatch {
    Present(bool),
    String(StringMatcher),
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct QueryMatcher {
    pub name: String,
    pub matches: QueryMatch,
}

/// An address block in CIDR notation; host bits are zero.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrefixRange {
    address: IpAddr,
    length: u8,
}

impl fmt::Display for PrefixRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl PrefixRange {
    /// `None` if `length` is more than the address has bits. Host bits of `address` are cleared.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
            _ => return None,
        };
        Some(Self { address, length })
    }

    /// Whether `address` lies in the block. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address.to_canonical(), self.length) == Some(*self)
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    pub fn length(&self) -> u8 {
        self.length
    }
}

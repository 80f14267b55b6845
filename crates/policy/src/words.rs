//! Conditions in words, for whoever asks why a policy decided as it did.

use std::fmt::{self, Display, Formatter};

use crate::condition::{Condition, Test};

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) if parts.is_empty() => f.write_str("anything"),
            Self::Any(parts) if parts.is_empty() => f.write_str("nothing"),
            Self::All(parts) => join(f, parts, " and "),
            Self::Any(parts) => join(f, parts, " or "),
            Self::Not(one) => write!(f, "not ({one})"),
            Self::Test(test) => test.fmt(f),
        }
    }
}

fn join(f: &mut Formatter<'_>, parts: &[Condition], word: &str) -> fmt::Result {
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            f.write_str(word)?;
        }
        match part {
            Condition::All(_) | Condition::Any(_) if parts.len() > 1 => write!(f, "({part})")?,
            part => part.fmt(f)?,
        }
    }
    Ok(())
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified => f.write_str("the caller proved an identity"),
            Self::Peer(texts) | Self::FirstName(texts) => {
                write!(f, "the caller's identity is {texts}")
            }
            Self::SourceIp(range) => write!(f, "the source address is in {range}"),
            Self::RemoteIp(range) => write!(f, "the caller's address is in {range}"),
            Self::DestinationIp(range) => write!(f, "the destination address is in {range}"),
            Self::DestinationPort { start, end } if *end == start + 1 => {
                write!(f, "the port is {start}")
            }
            Self::DestinationPort { start, end } => write!(f, "the port is in {start}..{end}"),
            Self::ServerName(texts) => write!(f, "the TLS server name is {texts}"),
            Self::Path(texts) => write!(f, "the path is {texts}"),
            Self::Header(header) => header.fmt(f),
            Self::Claim(claim) => write!(f, "the token's {} is as asked", claim.path.join(".")),
        }
    }
}

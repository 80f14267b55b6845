//! Envoy's response flags: why a call ended as it did.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Flag {
    /// There is nothing to be said.
    #[default]
    None,
    NoHealthyUpstream,
    UpstreamRequestTimeout,
    UpstreamRemoteReset,
    UpstreamConnectionFailure,
    UpstreamConnectionTermination,
    UpstreamOverflow,
    /// No route, or no filter chain.
    NoRoute,
    DelayInjected,
    FaultInjected,
    RateLimited,
    UnauthorizedExternalService,
    DownstreamConnectionTermination,
    UpstreamRetryLimitExceeded,
    StreamIdleTimeout,
    DownstreamProtocolError,
    DurationTimeout,
    UpstreamProtocolError,
    /// The cluster does not exist.
    NoCluster,
}

impl Flag {
    pub fn text(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::NoRoute => "NR",
            Self::NoCluster => "NC",
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamConnectionFailure => "UF",
            Self::UpstreamOverflow => "UO",
            Self::UpstreamRequestTimeout => "UT",
            Self::UpstreamRetryLimitExceeded => "URX",
            Self::UpstreamConnectionTermination => "UC",
            Self::UpstreamRemoteReset => "UR",
            Self::DownstreamConnectionTermination => "DC",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::RateLimited => "RL",
            Self::UnauthorizedExternalService => "UAEX",
            Self::DownstreamProtocolError => "DPE",
            Self::UpstreamProtocolError => "UPE",
            Self::StreamIdleTimeout => "SI",
            Self::DurationTimeout => "DT",
        }
    }
}

/// All that is to be said of one call, in the order in which it came to be known, as in Envoy's access log. Four at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags([Flag; 4]);

impl Flags {
    pub fn insert(&mut self, flag: Flag) {
        if self.contains(flag) {
            return;
        }
        if let Some(free) = self.0.iter_mut().find(|place| **place == Flag::None) {
            *free = flag;
        }
    }

    pub fn is_empty(self) -> bool {
        self.0[0] == Flag::None
    }

    pub fn contains(self, flag: Flag) -> bool {
        self.iter().any(|one| one == flag)
    }

    pub fn iter(self) -> impl Iterator<Item = Flag> {
        self.0.into_iter().take_while(|flag| *flag != Flag::None)
    }

    /// `-`, `UF`, `URX,UF`.
    pub fn text(self) -> Cow<'static, str> {
        let mut flags = self.iter();
        let Some(first) = flags.next() else {
            return Flag::None.text().into();
        };
        let mut text = Cow::Borrowed(first.text());
        for flag in flags {
            let text = text.to_mut();
            text.push(',');
            text.push_str(flag.text());
        }
        text
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        Self([flag, Flag::None, Flag::None, Flag::None])
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_in_their_order_and_once() {
        let mut flags = Flags::default();
        assert!(flags.is_empty());
        assert_eq!(flags.text(), "-");
        for flag in [
            Flag::None,
            Flag::UpstreamRetryLimitExceeded,
            Flag::UpstreamConnectionFailure,
            Flag::UpstreamRetryLimitExceeded,
        ] {
            flags.insert(flag);
        }
        assert_eq!(flags.text(), "URX,UF");
        assert!(!flags.contains(Flag::None) && !flags.contains(Flag::NoRoute));
        assert_eq!(Flags::from(Flag::NoRoute).text(), "NR");
        assert!(Flags::from(Flag::None).is_empty());
    }
}

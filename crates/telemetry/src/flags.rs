//! Envoy's response flags: why a call ended as it did.

use serde::{Serialize, Serializer};

/// `-` when nothing is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Flag {
    #[default]
    None,
    /// No route, or no filter chain.
    NoRoute,
    /// The cluster does not exist.
    NoCluster,
    NoHealthyUpstream,
    UpstreamConnectionFailure,
    UpstreamOverflow,
    UpstreamRequestTimeout,
    UpstreamRetryLimitExceeded,
    UpstreamConnectionTermination,
    UpstreamRemoteReset,
    DownstreamConnectionTermination,
    DelayInjected,
    FaultInjected,
    RateLimited,
    UnauthorizedExternalService,
    DownstreamProtocolError,
    UpstreamProtocolError,
    StreamIdleTimeout,
    DurationTimeout,
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

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

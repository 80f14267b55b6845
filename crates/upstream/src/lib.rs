//! Clusters at run time: which endpoint a call goes to, and a connection to it.
//!
//! A [`Target`] is a cluster made ready once and shared by all workers, with the counts that limits and outlier detection
//! go by; a [`Cluster`] is one worker's own view of it, with its pools, so that nothing is locked on the way of a call.
#![forbid(unsafe_code)]

mod balance;
mod cluster;
mod connect;
mod consistent;
mod hash;
mod host;
mod outlier;
mod random;
mod standing;
mod stream;
mod target;

pub use cluster::{Choice, Cluster, Limited, Slot};
pub use connect::{ConnectError, Connected};
pub use hash::hash;
pub use host::Host;
pub use outlier::Outcome;
pub use random::random;
pub use stream::Stream;
pub use target::{Target, Transport};

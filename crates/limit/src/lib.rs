//! How many requests may pass: token buckets of this proxy, and leased shares of limits that a service knows. No I/O; the
//! time is given. All of it is shared by the workers of a proxy.
#![forbid(unsafe_code)]

mod bucket;
mod buckets;
mod lease;

pub use bucket::{Bucket, Taken};
pub use buckets::Buckets;
pub use lease::{Answer, Lease, Leases, Wanted};

//! Protobuf to what the proxy runs from. What a resource says and the proxy does not honour is an error with its place,
//! never passed over, save for what `fields.rs` lists with its reason.

mod access_log;
mod cluster;
mod endpoint;
mod external_authorization;
mod external_processor;
mod http;
mod jwt;
mod listener;
mod rate_limit;
mod rbac;
mod route;
mod secret;
mod tls;
mod tracing;
mod value;

pub use cluster::cluster;
pub use endpoint::load_assignment;
pub use listener::listener;
pub use route::route_configuration;
pub use secret::secret;

use envoy_types::pb::google::protobuf::Any;
use prost::Message;

/// A sentence: the field, what was expected and what was found.
pub type Decoded<T> = Result<T, String>;

/// The name of a message, out of a type URL.
pub fn kind(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// The message of type `expected` inside an `Any`.
pub fn unpack<M: Message + Default>(any: &Any, expected: &str) -> Decoded<M> {
    let found = kind(&any.type_url);
    if found != expected {
        return Err(format!("expected a {expected}, found {found:?}"));
    }
    M::decode(any.value.as_slice()).map_err(|error| format!("{expected}: {error}"))
}

/// Says where an error lies.
pub(crate) trait At<T> {
    fn at(self, place: &str) -> Decoded<T>;
}

impl<T> At<T> for Decoded<T> {
    fn at(self, place: &str) -> Decoded<T> {
        self.map_err(|error| format!("{place}: {error}"))
    }
}

/// A field that must be there.
pub(crate) fn required<'a, T>(field: Option<&'a T>, name: &str) -> Decoded<&'a T> {
    field.ok_or_else(|| format!("{name}: expected it, found nothing"))
}

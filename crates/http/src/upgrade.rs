//! Connections that become something else: `upgrade:` (RFC 9110 §7.8), CONNECT (RFC 9110 §9.3.6) and extended CONNECT
//! (RFC 8441).

use std::rc::Rc;
use std::time::Duration;

use hauberk_config::connection_manager::Upgrade;
use hauberk_net::copy::copy_both;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use crate::call::Call;
use crate::pool::Lease;

/// What a request wants to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Such as `websocket`, in lower case.
    Protocol(String),
    Connect,
}

impl Wish {
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        if request.method() == Method::CONNECT {
            return Some(match request.extensions().get::<hyper::ext::Protocol>() {
                Some(protocol) => Self::Protocol(protocol.as_str().to_ascii_lowercase()),
                None => Self::Connect,
            });
        }
        let headers = request.headers();
        let asked = request.version() == Version::HTTP_11
            && headers
                .get(header::CONNECTION)?
                .to_str()
                .ok()?
                .split(',')
                .any(|one| one.trim().eq_ignore_ascii_case("upgrade"));
        let protocol = headers.get(header::UPGRADE)?.to_str().ok()?;
        // HTTP/2 by upgrade is not spoken (RFC 9113 has dropped it): such a request goes on as HTTP/1.1.
        (asked && !protocol.eq_ignore_ascii_case("h2c"))
            .then(|| Self::Protocol(protocol.to_ascii_lowercase()))
    }

    pub fn allowed(&self, route: &[Upgrade], manager: &[Upgrade]) -> bool {
        let kind = match self {
            Self::Protocol(name) => name.as_str(),
            Self::Connect => "connect",
        };
        route
            .iter()
            .chain(manager)
            .find(|upgrade| upgrade.kind.eq_ignore_ascii_case(kind))
            .is_some_and(|upgrade| upgrade.enabled)
    }

    /// Puts the wish into the headers of an HTTP/1.1 message.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Self::Protocol(name) = self
            && let Ok(value) = HeaderValue::from_str(name)
        {
            headers.insert(header::UPGRADE, value);
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        }
    }
}

/// Copies both ways once both sides have become what they wished.
pub fn join(
    near: OnUpgrade,
    far: OnUpgrade,
    mut call: Box<Call>,
    lease: Lease,
    idle: Option<Duration>,
) {
    tokio::task::spawn_local(async move {
        let (near, far): (Upgraded, Upgraded) = match tokio::try_join!(near, far) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "an upgrade did not happen");
                return;
            }
        };
        let connection = Rc::clone(&call.connection);
        let (copied, _end) = copy_both(TokioIo::new(near), TokioIo::new(far), idle, |_| {}).await;
        connection
            .bytes_in
            .set(connection.bytes_in.get() + copied.forward);
        call.bytes_out += copied.backward;
        call.complete();
        drop(lease);
    });
}

//! Connections that become something else: `upgrade:` (RFC 9110 §7.8), CONNECT (RFC 9110 §9.3.6) and extended CONNECT
//! (RFC 8441).

use std::rc::Rc;
use std::time::Duration;

use hauberk_config::connection_manager::Upgrade;
use hauberk_net::copy::copy_both;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::call::Call;
use crate::http1::endpoint;
use crate::incoming::Incoming;
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

/// A call whose endpoint has changed the protocol as was wished.
pub struct Tunnel {
    pub far: Far,
    pub call: Box<Call>,
    pub lease: Lease,
    pub idle: Option<Duration>,
}

/// The endpoint's side.
pub enum Far {
    Http1(endpoint::Far),
    Http2(OnUpgrade),
}

impl Far {
    /// `None`: the response's body is no longer there to be changed into something else.
    pub fn of(mut response: http::Response<Incoming>) -> (HeaderMap, Option<Self>) {
        let headers = std::mem::take(response.headers_mut());
        let upgrade = match response.body() {
            Incoming::Http2(_) => Some(Self::Http2(hyper::upgrade::on(&mut response))),
            _ => None,
        };
        let far = upgrade.or_else(|| match response.into_body() {
            Incoming::Endpoint(body) => Some(Self::Http1(body.into_tunnel())),
            _ => None,
        });
        (headers, far)
    }
}

impl Tunnel {
    /// Copies both ways, until both sides have closed.
    pub async fn run<N>(mut self, near: N)
    where
        N: AsyncRead + AsyncWrite + Unpin,
    {
        let connection = Rc::clone(&self.call.connection);
        let (copied, _end) = match self.far {
            Far::Http1(far) => copy_both(near, far, self.idle, |_| {}).await,
            Far::Http2(far) => match far.await {
                Ok(far) => copy_both(near, TokioIo::new(far), self.idle, |_| {}).await,
                Err(error) => {
                    tracing::debug!(%error, "an upgrade did not happen");
                    return;
                }
            },
        };
        connection
            .bytes_in
            .set(connection.bytes_in.get() + copied.forward);
        self.call.bytes_out += copied.backward;
        self.call.complete();
        drop(self.lease);
    }

    /// The same for a caller over HTTP/2, whose stream becomes a tunnel once it has its answer.
    pub fn run_http2(self, near: OnUpgrade) {
        tokio::task::spawn_local(async move {
            match near.await {
                Ok(near) => self.run(TokioIo::new(near)).await,
                Err(error) => tracing::debug!(%error, "an upgrade did not happen"),
            }
        });
    }
}

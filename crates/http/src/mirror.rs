//! Copies of a request to other clusters, whose answers are thrown away. A copy never slows the request down: where it
//! falls behind by more than a few frames it is given up.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hauberk_config::route::Mirror;
use hauberk_upstream::{Choice, random};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use http_body::Body;

use crate::body::{RequestBody, Upload};
use crate::pool::{self, Purpose, Version};
use crate::worker::Worker;

/// A copy that is not answered within this is given up: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(15);

/// The request as the routes have changed it.
pub struct Original<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub destination: SocketAddr,
    pub version: Version,
}

/// Sends the copies that are drawn this time; `upload` feeds them while it is read for the request itself.
pub fn send(worker: &Rc<Worker>, mirrors: &[Mirror], original: &Original<'_>, upload: &Upload) {
    for mirror in mirrors {
        if !mirror.share.includes(random()) {
            continue;
        }
        let Some(cluster) = worker.cluster(&mirror.cluster) else {
            continue;
        };
        let mut request = Request::new(upload.copy());
        *request.method_mut() = original.method.clone();
        *request.uri_mut() = original.uri.clone();
        *request.headers_mut() = original.headers.clone();
        if !mirror.keep_host {
            mark_host(request.headers_mut());
        }
        let destination = original.destination;
        let version = original.version;
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            let sending = async {
                let choice = Choice {
                    original: Some(destination),
                    hash: None,
                    tried: &[],
                };
                let host = cluster.choose(choice, &|_| false)?;
                let origin = worker.origin(&cluster, None);
                let purpose = Purpose {
                    downstream: version,
                    authority: None,
                    priority: Default::default(),
                    fresh: false,
                };
                let mut lease = pool::lease(&cluster, &host, origin, purpose).await.ok()?;
                let request = addressed(request, lease.version(), host.address);
                let mut response = lease.send(request).await.ok()?;
                let body = response.body_mut();
                while let Some(frame) = std::future::poll_fn(|context| {
                    std::pin::Pin::new(&mut *body).poll_frame(context)
                })
                .await
                {
                    frame.ok()?;
                }
                lease.give_back();
                Some(())
            };
            let done = tokio::time::timeout(PATIENCE, sending).await;
            if !matches!(done, Ok(Some(()))) {
                tracing::debug!("a mirrored request was not answered");
            }
        });
    }
}

/// `-shadow` behind the host's name, before its port, as Envoy marks copies.
fn mark_host(headers: &mut HeaderMap) {
    let Some(host) = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return;
    };
    let marked = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{name}-shadow:{port}")
        }
        _ => format!("{host}-shadow"),
    };
    if let Ok(value) = HeaderValue::from_str(&marked) {
        headers.insert(header::HOST, value);
    }
}

/// The request as an endpoint is sent it: its target in the form of the HTTP version.
pub fn addressed(
    mut request: Request<RequestBody>,
    version: Version,
    address: SocketAddr,
) -> Request<RequestBody> {
    let path = request.uri().path_and_query().cloned();
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = path.or(Some(http::uri::PathAndQuery::from_static("/")));
    match version {
        Version::Http1 => *request.version_mut() = http::Version::HTTP_11,
        Version::Http2 => {
            *request.version_mut() = http::Version::HTTP_2;
            let host = request.headers_mut().remove(header::HOST);
            parts.scheme = Some(http::uri::Scheme::HTTP);
            parts.authority = host
                .and_then(|host| host.to_str().ok()?.parse().ok())
                .or_else(|| address.to_string().parse().ok());
        }
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

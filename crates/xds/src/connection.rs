//! A gRPC connection over the Unix socket of the control plane.

use std::path::Path;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Requests that may wait to be written; acknowledgements and subscriptions are few.
pub const REQUESTS: usize = 64;
/// `google.rpc.Code`.
pub const INVALID_ARGUMENT: i32 = 3;

/// Connects. There are no pings: a Unix socket says by itself that its peer is gone, and gRPC servers end connections that
/// ping more often than they like.
///
/// # Errors
/// Nobody listens there, or the file may not be opened.
pub async fn connect(socket: &Path) -> Result<Channel, String> {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is never looked up: the connector goes to the socket.
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .map_err(|error| format!("cannot connect to {}: {error:?}", socket.display()))
}

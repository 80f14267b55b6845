//! A connection to a collector, through the cluster that the control plane named: with its endpoints, identities and limits.

use std::io;
use std::sync::Arc;

use hauberk_net::socket::Origin;
use hauberk_tls::Carried;
use hauberk_upstream::{Choice, Cluster, Target};
use hyper_util::rt::TokioIo;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

/// A trace context that asks for no spans: a collector's own proxy would tell of each batch, in a batch of its own.
const UNTRACED: &str = "00-00000000000000000000000000000001-0000000000000001-00";

/// A message to a collector, of which no span is to be made.
pub fn untraced<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let context = MetadataValue::from_static(UNTRACED);
    request.metadata_mut().insert("traceparent", context);
    request
}

/// Connects to an endpoint of the cluster.
///
/// # Errors
/// There is none, or it cannot be reached.
pub async fn connect(target: Arc<Target>, origin: Origin) -> Result<Channel, String> {
    let authority = target
        .config
        .service
        .as_ref()
        .and_then(|service| http::uri::Authority::try_from(service.host.as_str()).ok());
    let cluster = Cluster::<()>::new(target, None);
    let host = cluster
        .choose(Choice::default(), &|_| false)
        .ok_or("it has no endpoint")?;
    let connected = cluster
        .connect(&host, origin, None, Carried::Http2)
        .await
        .map_err(|error| format!("{}: {error}", host.address))?;
    let mut stream = Some(TokioIo::new(connected.stream));
    // Once only: a connection that is lost is opened anew here, with what the cluster is then.
    let connector = tower::service_fn(move |_| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    let address = authority.map_or("http://collector".to_owned(), |name| {
        format!("http://{name}")
    });
    Endpoint::from_shared(address)
        .map_err(|error| error.to_string())?
        .connect_with_connector(connector)
        .await
        .map_err(|error| format!("{}: {error:?}", host.address))
}

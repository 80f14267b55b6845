//! A control plane in the test's hands, on a Unix socket: the test reads each request and decides on each answer. As gRPC
//! servers may, it sends no headers before its first answer.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tower::Service as _;

const DEADLINE: Duration = Duration::from_secs(10);

type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;
type Taken<M> = Result<Response<Answers<M>>, Status>;

/// One stream of a client. Dropping it ends the stream.
pub struct Session<Q, A> {
    requests: Streaming<Q>,
    answers: mpsc::Sender<Result<A, Status>>,
}

impl<Q, A> Session<Q, A> {
    pub async fn request(&mut self) -> Q {
        let request = timeout(DEADLINE, self.requests.message()).await;
        let request = request.expect("expected a request, found nothing in time");
        request.expect("a request").expect("the stream is open")
    }

    pub async fn answer(&self, answer: A) {
        self.answers.send(Ok(answer)).await.expect("it is taken");
    }
}

pub type Ads = Session<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
pub type Sds = Session<DiscoveryRequest, DiscoveryResponse>;

#[derive(Clone)]
struct Service {
    ads: mpsc::Sender<Ads>,
    sds: mpsc::Sender<Sds>,
}

/// Hands a stream to the test, and returns once the test has answered.
async fn taken<Q, A: Send + 'static>(
    request: Request<Streaming<Q>>,
    sessions: &mpsc::Sender<Session<Q, A>>,
) -> Taken<A> {
    let (answers, mut receiver) = mpsc::channel(16);
    let requests = request.into_inner();
    let session = Session { requests, answers };
    let unavailable = || Status::unavailable("the test has ended");
    sessions.send(session).await.map_err(|_| unavailable())?;
    let first = receiver.recv().await.ok_or_else(unavailable)?;
    let answers = tokio_stream::once(first).chain(ReceiverStream::new(receiver));
    Ok(Response::new(Box::pin(answers)))
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Taken<DiscoveryResponse> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Taken<DeltaDiscoveryResponse> {
        taken(request, &self.ads).await
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Taken<DeltaDiscoveryResponse> {
        Err(Status::unimplemented("state of the world only"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Taken<DiscoveryResponse> {
        taken(request, &self.sds).await
    }

    async fn fetch_secrets(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("streams only"))
    }
}

pub struct ControlPlane {
    pub socket: PathBuf,
    ads: mpsc::Receiver<Ads>,
    sds: mpsc::Receiver<Sds>,
    server: JoinHandle<()>,
}

impl ControlPlane {
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hauberk-xds-{}-{number}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&socket).expect("a socket in the temporary directory");
        let (ads, ads_receiver) = mpsc::channel(4);
        let (sds, sds_receiver) = mpsc::channel(4);
        let service = Service { ads, sds };
        Self {
            socket,
            ads: ads_receiver,
            sds: sds_receiver,
            server: tokio::spawn(serve(listener, service)),
        }
    }

    /// The next ADS stream that a client opens.
    pub async fn ads(&mut self) -> Ads {
        let session = timeout(DEADLINE, self.ads.recv()).await;
        session.expect("a stream in time").expect("the server runs")
    }

    /// The next SDS stream that a client opens.
    pub async fn sds(&mut self) -> Sds {
        let session = timeout(DEADLINE, self.sds.recv()).await;
        session.expect("a stream in time").expect("the server runs")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.server.abort();
        std::fs::remove_file(&self.socket).ok();
    }
}

async fn serve(listener: UnixListener, service: Service) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("the socket listens");
        let service = service.clone();
        let dispatch = service_fn(move |request: http::Request<Incoming>| {
            let mut ads = AggregatedDiscoveryServiceServer::new(service.clone());
            let mut sds = SecretDiscoveryServiceServer::new(service.clone());
            async move {
                if request.uri().path().contains("SecretDiscoveryService") {
                    sds.call(request).await
                } else {
                    ads.call(request).await
                }
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        connections.spawn(connection.serve_connection(TokioIo::new(stream), dispatch));
    }
}

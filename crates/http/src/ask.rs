//! A question of the proxy's own to a service of the mesh: sent whole, over the connections that calls use, and answered
//! whole.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hauberk_config::external_authorization::GrpcService;
use hauberk_external::grpc;
use hauberk_upstream::{Choice, ConnectError, Outcome};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body::Body;

use crate::body::{RequestBody, Writer};
use crate::incoming::Incoming;
use crate::mirror::addressed;
use crate::pool::{self, Lease, PoolError, Purpose, SendError, Version};
use crate::worker::Worker;

/// Bytes of an answer's body; one that has more is none.
const MOST_ANSWER: usize = 1 << 20;
/// Times that a question is sent, if not a byte of it reached the service before.
const ATTEMPTS: u32 = 4;

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    NoCluster,
    NoHost,
    Connect(ConnectError),
    Overflow,
    Timeout,
    Broken(String),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCluster => formatter.write_str("its cluster is not known"),
            Self::NoHost => formatter.write_str("it has no healthy endpoint"),
            Self::Connect(error) => error.fmt(formatter),
            Self::Overflow => formatter.write_str("its cluster's limits are reached"),
            Self::Timeout => formatter.write_str("it did not answer in time"),
            Self::Broken(reason) => formatter.write_str(reason),
        }
    }
}

/// Asks by one HTTP request. Its target is a path; its `host` says whose.
///
/// # Errors
/// There is no whole answer in time.
pub async fn http(
    worker: &Rc<Worker>,
    cluster: &str,
    question: Request<Bytes>,
    timeout: Option<Duration>,
) -> Result<Response<Bytes>, Unanswered> {
    let answer = limited(
        exchange(worker, cluster, &question, Version::Http1),
        timeout,
    );
    answer.await.map(|(response, _)| response)
}

/// Asks by one gRPC call; `message` is in its frame. `traceparent` makes the call a part of a trace.
///
/// # Errors
/// There is no whole answer in time, or its status is not OK.
pub async fn grpc(
    worker: &Rc<Worker>,
    service: &GrpcService,
    method: &'static str,
    message: Bytes,
    traceparent: Option<HeaderValue>,
) -> Result<Bytes, Unanswered> {
    let mut question = grpc_head(service, method, traceparent).map(|()| message);
    let headers = question.headers_mut();
    if let Some(timeout) = service.timeout {
        let milliseconds = timeout.as_millis().clamp(1, 99_999_999);
        if let Ok(value) = HeaderValue::from_str(&format!("{milliseconds}m")) {
            headers.insert("grpc-timeout", value);
        }
    }
    let asking = exchange(worker, &service.cluster, &question, Version::Http2);
    let (response, trailers) = limited(asking, service.timeout).await?;
    if response.status() != http::StatusCode::OK {
        let status = response.status();
        return Err(Unanswered::Broken(format!("it answered {status}")));
    }
    grpc::succeeded(response.headers(), trailers.as_ref()).map_err(Unanswered::Broken)?;
    Ok(response.into_body())
}

async fn limited<T>(
    asking: impl Future<Output = Result<T, Unanswered>>,
    timeout: Option<Duration>,
) -> Result<T, Unanswered> {
    match timeout {
        None => asking.await,
        Some(limit) => match tokio::time::timeout(limit, asking).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Unanswered::Timeout),
        },
    }
}

type Answer = (Response<Bytes>, Option<HeaderMap>);

async fn exchange(
    worker: &Rc<Worker>,
    cluster: &str,
    question: &Request<Bytes>,
    version: Version,
) -> Result<Answer, Unanswered> {
    let cluster = worker.cluster(cluster).ok_or(Unanswered::NoCluster)?;
    for attempt in 0..ATTEMPTS {
        let host = cluster.choose(Choice::default(), &|_| false);
        let host = host.ok_or(Unanswered::NoHost)?;
        let origin = worker.origin(&cluster, None);
        let purpose = Purpose {
            downstream: version,
            authority: None,
            priority: Default::default(),
            fresh: attempt > 0,
        };
        let mut lease = match pool::lease(&cluster, &host, origin, purpose).await {
            Ok(lease) => lease,
            Err(PoolError::Overflow) => return Err(Unanswered::Overflow),
            Err(PoolError::Connect(error)) => {
                cluster.judge(&host, error.outcome());
                return Err(Unanswered::Connect(error));
            }
        };
        cluster.judge(&host, Outcome::Connected);
        let mut request = Request::new(RequestBody::full(question.body().clone()));
        *request.method_mut() = question.method().clone();
        *request.uri_mut() = question.uri().clone();
        *request.headers_mut() = question.headers().clone();
        let request = addressed(request, lease.version(), host.address);
        let response = match lease.send(request).await {
            Ok(response) => response,
            Err(SendError::Unsent) => continue,
            // A question does no harm if it is asked twice.
            Err(SendError::Unanswered(_)) if lease.reused => continue,
            Err(error) => {
                cluster.judge(&host, Outcome::Failed);
                return Err(Unanswered::Broken(error.to_string()));
            }
        };
        let status = response.status().as_u16();
        cluster.judge(&host, Outcome::Answered(status));
        let (parts, body) = response.into_parts();
        let (body, trailers) = whole(body).await?;
        lease.give_back();
        return Ok((Response::from_parts(parts, body), trailers));
    }
    Err(Unanswered::Broken(
        "its connections end before they are used".into(),
    ))
}

/// All of a body and its trailers.
async fn whole<B>(mut body: B) -> Result<(Bytes, Option<HeaderMap>), Unanswered>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
{
    let mut gathered = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        let frame = frame.map_err(|error| Unanswered::Broken(error.to_string()))?;
        match frame.into_data() {
            Ok(data) if gathered.len() + data.len() > MOST_ANSWER => {
                let most = MOST_ANSWER;
                return Err(Unanswered::Broken(format!(
                    "its answer has more than {most} bytes"
                )));
            }
            Ok(data) => gathered.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    }
    Ok((gathered.freeze(), trailers))
}

/// A gRPC stream of questions and answers in turn.
pub struct Conversation {
    questions: Writer,
    answers: Incoming,
    /// Bytes that are no whole message yet.
    received: BytesMut,
    /// Held while the stream lasts.
    _lease: Lease,
    patience: Duration,
}

impl Conversation {
    /// Opens a stream with its first question. `patience` is for each answer, and for the opening.
    ///
    /// # Errors
    /// The service cannot be reached, or does not answer in time.
    pub async fn open(
        worker: &Rc<Worker>,
        service: &GrpcService,
        method: &'static str,
        first: Bytes,
        traceparent: Option<HeaderValue>,
        patience: Duration,
    ) -> Result<(Self, Bytes), Unanswered> {
        let opening = async {
            let cluster = worker.cluster(&service.cluster);
            let cluster = cluster.ok_or(Unanswered::NoCluster)?;
            for attempt in 0..ATTEMPTS {
                let host = cluster.choose(Choice::default(), &|_| false);
                let host = host.ok_or(Unanswered::NoHost)?;
                let origin = worker.origin(&cluster, None);
                let purpose = Purpose {
                    downstream: Version::Http2,
                    authority: None,
                    priority: Default::default(),
                    fresh: attempt > 0,
                };
                let mut lease = match pool::lease(&cluster, &host, origin, purpose).await {
                    Ok(lease) => lease,
                    Err(PoolError::Overflow) => return Err(Unanswered::Overflow),
                    Err(PoolError::Connect(error)) => {
                        cluster.judge(&host, error.outcome());
                        return Err(Unanswered::Connect(error));
                    }
                };
                cluster.judge(&host, Outcome::Connected);
                let (questions, body) = RequestBody::written();
                questions.write(first.clone());
                let head = grpc_head(service, method, traceparent.clone());
                let request = addressed(head.map(|()| body), lease.version(), host.address);
                let response = match lease.send(request).await {
                    Ok(response) => response,
                    Err(SendError::Unsent) => continue,
                    Err(error) => {
                        cluster.judge(&host, Outcome::Failed);
                        return Err(Unanswered::Broken(error.to_string()));
                    }
                };
                let status = response.status();
                cluster.judge(&host, Outcome::Answered(status.as_u16()));
                if status != http::StatusCode::OK {
                    return Err(Unanswered::Broken(format!("it answered {status}")));
                }
                let mut conversation = Self {
                    questions,
                    answers: response.into_body(),
                    received: BytesMut::new(),
                    _lease: lease,
                    patience,
                };
                let answer = conversation.hear().await?;
                return Ok((conversation, answer));
            }
            Err(Unanswered::Broken(
                "its connections end before they are used".into(),
            ))
        };
        limited(opening, Some(patience)).await
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn ask(&mut self, question: Bytes) -> Result<Bytes, Unanswered> {
        if !self.questions.write(question) {
            return Err(Unanswered::Broken("it does not take questions".into()));
        }
        let patience = self.patience;
        limited(self.hear(), Some(patience)).await
    }

    async fn hear(&mut self) -> Result<Bytes, Unanswered> {
        loop {
            if self.received.len() > MOST_ANSWER * 2 {
                return Err(Unanswered::Broken("its answer is too long".into()));
            }
            let mut received = self.received.split().freeze();
            let next = grpc::next(&mut received).map_err(Unanswered::Broken)?;
            self.received = BytesMut::from(received.as_ref());
            if let Some(message) = next {
                return Ok(message);
            }
            let frame =
                std::future::poll_fn(|context| Pin::new(&mut self.answers).poll_frame(context));
            match frame.await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.received.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(Unanswered::Broken(error.to_string())),
                None => return Err(Unanswered::Broken("it ended the stream".into())),
            }
        }
    }
}

/// The head of a gRPC call.
fn grpc_head(
    service: &GrpcService,
    method: &'static str,
    traceparent: Option<HeaderValue>,
) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.uri_mut() = Uri::from_static(method);
    let headers = head.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&service.authority) {
        headers.insert(header::HOST, host);
    }
    let grpc_type = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, grpc_type);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Some(context) = traceparent {
        headers.insert(crate::headers::TRACEPARENT, context);
    }
    head
}

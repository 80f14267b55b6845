//! A TCP connection carried through an HTTP proxy: by CONNECT (RFC 9110 §9.3.6), or by a POST whose two bodies are the two
//! directions.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hauberk_config::listener::Tunnel;
use hauberk_http::executor::OnThisThread;
use http::header::HOST;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf};

/// Bytes under way between the connection and the body of a POST.
const BUFFER: usize = 64 * 1024;

#[derive(Debug)]
pub enum TunnelError {
    Http(hyper::Error),
    /// What the proxy answered.
    Refused(StatusCode),
    /// The target's name is none that HTTP can write.
    Target(String),
    /// No answer within the cluster's connect timeout.
    TooLate,
}

impl fmt::Display for TunnelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => write!(formatter, "no tunnel: {error}"),
            Self::Refused(status) => write!(formatter, "no tunnel: the proxy answers {status}"),
            Self::Target(name) => {
                write!(formatter, "no tunnel: expected HOST:PORT, found {name:?}")
            }
            Self::TooLate => write!(formatter, "no tunnel: the proxy does not answer"),
        }
    }
}

impl From<hyper::Error> for TunnelError {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

/// The far end of the tunnel.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Asks the proxy at the other end of `stream` for a tunnel.
///
/// # Errors
/// See [`TunnelError`].
pub async fn open(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tunnel: &Tunnel,
    version: Version,
) -> Result<Box<dyn Stream>, TunnelError> {
    let mut sender = Sender::new(stream, version).await?;
    if tunnel.post {
        return post(&mut sender, tunnel, version).await;
    }
    let request = request(tunnel, version, Method::CONNECT, &tunnel.target, None)?;
    let response = sender.send(request).await?;
    let upgraded = hyper::upgrade::on(accepted(response)?).await?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

async fn post(
    sender: &mut Sender,
    tunnel: &Tunnel,
    version: Version,
) -> Result<Box<dyn Stream>, TunnelError> {
    let (near, far) = tokio::io::duplex(BUFFER);
    let (reader, mut writer) = tokio::io::split(far);
    let target = match version {
        Version::HTTP_2 => format!("http://{}/", tunnel.target),
        _ => "/".to_owned(),
    };
    let request = request(tunnel, version, Method::POST, &target, Some(reader))?;
    let mut answer = accepted(sender.send(request).await?)?.into_body();
    tokio::task::spawn_local(async move {
        while let Some(Ok(frame)) =
            std::future::poll_fn(|context| Pin::new(&mut answer).poll_frame(context)).await
        {
            if let Ok(data) = frame.into_data()
                && writer.write_all(&data).await.is_err()
            {
                return;
            }
        }
        writer.shutdown().await.ok();
    });
    Ok(Box::new(near))
}

fn request(
    tunnel: &Tunnel,
    version: Version,
    method: Method,
    target: &str,
    body: Option<ReadHalf<DuplexStream>>,
) -> Result<Request<Upstream>, TunnelError> {
    let uri: Uri = target
        .parse()
        .map_err(|_| TunnelError::Target(target.to_owned()))?;
    let mut builder = Request::builder().method(method).uri(uri);
    if version == Version::HTTP_11 {
        builder = builder.header(HOST, &tunnel.target);
    }
    builder
        .body(Upstream(body))
        .map_err(|_| TunnelError::Target(target.to_owned()))
}

fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>, TunnelError> {
    let status = response.status();
    if status.is_success() {
        Ok(response)
    } else {
        Err(TunnelError::Refused(status))
    }
}

enum Sender {
    Http1(http1::SendRequest<Upstream>),
    Http2(http2::SendRequest<Upstream>),
}

impl Sender {
    async fn new(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        version: Version,
    ) -> hyper::Result<Self> {
        let io = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(OnThisThread, io).await?;
            tokio::task::spawn_local(connection);
            return Ok(Self::Http2(sender));
        }
        let (sender, connection) = http1::handshake(io).await?;
        tokio::task::spawn_local(connection.with_upgrades());
        Ok(Self::Http1(sender))
    }

    async fn send(&mut self, request: Request<Upstream>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// What the caller sends, as the body of a POST; nothing with CONNECT.
struct Upstream(Option<ReadHalf<DuplexStream>>);

impl Body for Upstream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Some(reader) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let mut storage = [0; 16 * 1024];
        let mut buffer = ReadBuf::new(&mut storage);
        ready!(Pin::new(reader).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            self.0 = None;
            return Poll::Ready(None);
        }
        let data = Bytes::copy_from_slice(buffer.filled());
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

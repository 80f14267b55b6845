//! The admin socket: HTTP/1.1 over a Unix socket.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hauberk_config::Snapshot;
use hauberk_telemetry::open_metrics::Format;
use hauberk_telemetry::writer::Tap;
use hauberk_tls::Identity;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::{broadcast, mpsc, watch};

use crate::config_dump::config_dump;
use crate::engine::Engine;

/// Lines that wait for a slow reader.
const TAP_LINES: usize = 64;

/// Changes what is logged; the error says what is wrong with the wish.
pub type SetLevel = Box<dyn Fn(&str) -> Result<(), String>>;

/// What the admin socket shows and does.
pub struct Admin {
    pub engine: Arc<Engine>,
    /// What the control plane says, and what of it was refused.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// `None`: ready; else what is missing, in words.
    pub unready: watch::Receiver<Option<String>>,
    /// Asks the process to drain and end.
    pub quit: mpsc::UnboundedSender<()>,
    /// Sets the log level.
    pub level: SetLevel,
}

/// Serves at `path` until dropped. A socket file of a former process is replaced.
///
/// # Errors
/// The socket cannot be had.
pub fn serve(path: &Path, admin: Rc<Admin>) -> io::Result<impl Future<Output = ()> + use<>> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let admin = Rc::clone(&admin);
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| {
                    let admin = Rc::clone(&admin);
                    async move { Ok::<_, Infallible>(answer(&admin, &request).await) }
                });
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                if let Err(error) = serving.await {
                    tracing::debug!(%error, "admin connection");
                }
            });
        }
    })
}

async fn answer(admin: &Admin, request: &Request<Incoming>) -> Response<AdminBody> {
    let query = |name: &str| {
        let query = request.uri().query().unwrap_or_default();
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/ready") => match admin.unready.borrow().as_ref() {
            None => text(StatusCode::OK, "LIVE\n".into()),
            Some(missing) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
        },
        (&Method::GET, "/stats/prometheus") => {
            let accept = request.headers().get(ACCEPT);
            let format = Format::accepted(accept.and_then(|kinds| kinds.to_str().ok()));
            let mut response = text(StatusCode::OK, admin.engine.statistics_as(format).await);
            let kind = HeaderValue::from_static(format.content_type());
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        (&Method::GET, "/config_dump") => {
            let told = Arc::clone(&admin.snapshots.borrow());
            document(&config_dump(&admin.engine.snapshot(), &told))
        }
        (&Method::GET, "/certs") => document(&certificates(&admin.engine.snapshot())),
        (&Method::GET, "/clusters") => text(StatusCode::OK, admin.engine.clusters().await),
        (&Method::GET, "/tap") => {
            let filters = ["type", "reporter", "id"].map(|name| (name, query(name)));
            let filters = filters
                .into_iter()
                .filter_map(|(name, value)| Some(format!("\"{name}\":\"{}\"", value?)))
                .collect();
            let mut response = Response::new(AdminBody::Tap(follow(admin.engine.sink.tap(), filters)));
            let kind = HeaderValue::from_static("application/jsonl");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        (&Method::GET | &Method::POST, "/logging") => match query("level") {
            None => text(
                StatusCode::BAD_REQUEST,
                "expected /logging?level=error|warn|info|debug|trace\n".into(),
            ),
            Some(level) => match (admin.level)(&level) {
                Ok(()) => text(StatusCode::OK, format!("level {level}\n")),
                Err(reason) => text(StatusCode::BAD_REQUEST, format!("{reason}\n")),
            },
        },
        (&Method::POST, "/quitquitquit") => {
            admin.quit.send(()).ok();
            text(StatusCode::OK, "OK\n".into())
        }
        (_, "/quitquitquit") => text(StatusCode::METHOD_NOT_ALLOWED, "expected POST\n".into()),
        _ => text(
            StatusCode::NOT_FOUND,
            "expected one of /ready /stats/prometheus /config_dump /certs /clusters /tap /logging, \
             or POST /quitquitquit\n"
                .into(),
        ),
    }
}

fn text(status: StatusCode, text: String) -> Response<AdminBody> {
    let mut response = Response::new(AdminBody::Full(Some(text.into())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn document(value: &Value) -> Response<AdminBody> {
    let mut response = text(StatusCode::OK, format!("{value:#}\n"));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn certificates(snapshot: &Snapshot) -> Value {
    Identity::all(snapshot)
        .into_iter()
        .map(|(name, loaded)| match loaded {
            Ok(names) => {
                json!({"name": &*name, "spiffe_id": names.spiffe_id(), "serial": names.serial,
                                "not_before": names.not_before, "not_after": names.not_after})
            }
            Err(error) => json!({"name": &*name, "error": error.to_string()}),
        })
        .collect()
}

/// Passes on the lines that hold all of `filters`, until the reader has gone.
fn follow(mut tap: Tap, filters: Vec<String>) -> mpsc::Receiver<Bytes> {
    let (sender, lines) = mpsc::channel(TAP_LINES);
    tokio::task::spawn_local(async move {
        loop {
            let line = tokio::select! {
                line = tap.lines.recv() => line,
                () = sender.closed() => return,
            };
            match line {
                Ok(line) if filters.iter().all(|filter| line.contains(filter.as_str())) => {
                    if sender.send(format!("{line}\n").into()).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    });
    lines
}

enum AdminBody {
    Full(Option<Bytes>),
    Tap(mpsc::Receiver<Bytes>),
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Tap(lines) => lines
                .poll_recv(context)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }
}

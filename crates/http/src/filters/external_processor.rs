//! A service outside the proxy sees requests and responses, and may change or answer them.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hauberk_config::external_processor::ExternalProcessor;
use hauberk_external::processing::{self, Answer, Change, PROCESS, Part, Verdict};
use hauberk_policy::Decision;
use hauberk_telemetry::flags::Flag;
use hauberk_telemetry::metrics::ProcessorKey;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;

use super::{Afterward, Afterwards, Passed};
use crate::ask::Conversation;
use crate::body::ResponseBody;
use crate::call::Call;
use crate::incoming::Incoming;
use crate::reply::{grpc, reply};
use crate::worker::Worker;

/// Bytes of a body that the service is shown, Envoy's bound.
const MOST: usize = 1 << 20;

/// What a call's parts are shown to. It lasts as long as the call.
pub struct Processing {
    config: Arc<ExternalProcessor>,
    worker: Rc<Worker>,
    traceparent: Option<HeaderValue>,
    stream: Stream,
}

enum Stream {
    Unopened,
    Open(Box<Conversation>),
    /// It failed or has answered: no more is asked.
    Over,
}

impl Processing {
    fn new(config: &Arc<ExternalProcessor>, call: &Call) -> Self {
        Self {
            config: Arc::clone(config),
            worker: Rc::clone(&call.connection.worker),
            traceparent: call.traceparent.clone(),
            stream: Stream::Unopened,
        }
    }

    /// Asks about a part. `None`: nothing is to be changed, or nobody answered and that is allowed.
    ///
    /// # Errors
    /// Nobody answered.
    async fn ask(&mut self, part: Part, question: Bytes) -> Result<Option<Verdict>, ()> {
        let config = &self.config;
        let answer = match std::mem::replace(&mut self.stream, Stream::Over) {
            Stream::Over => return Ok(None),
            Stream::Open(mut conversation) => {
                let answer = conversation.ask(question).await;
                answer.map(|answer| (conversation, answer))
            }
            Stream::Unopened => {
                let opened = Conversation::open(
                    &self.worker,
                    &config.service,
                    PROCESS,
                    question,
                    self.traceparent.clone(),
                    config.message_timeout,
                );
                let opened = opened.await;
                opened.map(|(conversation, answer)| (Box::new(conversation), answer))
            }
        };
        let verdict =
            answer
                .map_err(|error| error.to_string())
                .and_then(|(conversation, answer)| {
                    Ok((conversation, processing::verdict(answer, part)?))
                });
        match verdict {
            Ok((conversation, verdict)) => {
                if matches!(verdict, Verdict::Change(_)) {
                    self.stream = Stream::Open(conversation);
                }
                self.count("answered");
                Ok(Some(verdict))
            }
            Err(reason) => {
                tracing::info!(processor = &*config.name, reason, "no answer");
                self.count("unanswered");
                if config.failure_mode_allow {
                    Ok(None)
                } else {
                    Err(())
                }
            }
        }
    }

    fn count(&self, outcome: &'static str) {
        self.worker.metrics.processed(ProcessorKey {
            processor: Arc::clone(&self.config.name),
            outcome,
        });
    }

    /// Shows the service what it is to see of the answer, whoever gave it.
    pub async fn response(
        mut self,
        mut response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        let shown = self.config.response;
        if shown.headers {
            let status = response.status().as_u16().to_string();
            let ended = response.body().is_end_stream();
            let pseudo = [(":status", status.as_str())];
            let part = Part::ResponseHeaders;
            let question = processing::headers(part, &pseudo, response.headers(), ended);
            match self.ask(part, question).await {
                Ok(None) => {}
                Ok(Some(Verdict::Change(change))) => change.headers.apply(response.headers_mut()),
                Ok(Some(Verdict::Answer(answer))) => return instead(response, answer),
                Err(()) => return failed(response),
            }
        }
        if !shown.body || response.body().is_end_stream() || matches!(self.stream, Stream::Over) {
            return response;
        }
        let Ok(Some(gathered)) = response.body_mut().gather(MOST).await else {
            return failed(response);
        };
        let part = Part::ResponseBody;
        match self.ask(part, processing::body(part, &gathered)).await {
            Ok(None) => response,
            Ok(Some(Verdict::Change(change))) => {
                change.headers.apply(response.headers_mut());
                if let Some(bytes) = change.body {
                    let headers = response.headers_mut();
                    measure(headers, bytes.len());
                    response.body_mut().replace(bytes);
                }
                response
            }
            Ok(Some(Verdict::Answer(answer))) => instead(response, answer),
            Err(()) => failed(response),
        }
    }
}

/// Shows the service what it is to see of a request.
pub async fn request(
    mut call: Box<Call>,
    config: &Arc<ExternalProcessor>,
    request: &mut Request<Incoming>,
    after: &mut Afterwards,
) -> Passed {
    let mut processing = Processing::new(config, &call);
    let shown = config.request;
    let mut reroute = false;
    if shown.headers {
        let path = request.uri().path_and_query();
        let text = |name| {
            let value: Option<&HeaderValue> = request.headers().get(name);
            value.and_then(|value| value.to_str().ok()).unwrap_or("")
        };
        let pseudo = [
            (":method", request.method().as_str()),
            (":path", path.map_or("/", |path| path.as_str())),
            (":authority", text("host")),
            (":scheme", text("x-forwarded-proto")),
        ];
        let ended = request.body().is_end_stream() && call.early.len() == 0;
        let part = Part::RequestHeaders;
        let question = processing::headers(part, &pseudo, request.headers(), ended);
        match processing.ask(part, question).await {
            Ok(None) => {}
            Ok(Some(Verdict::Change(change))) => {
                reroute |= change.clear_route_cache;
                change.headers.apply(request.headers_mut());
            }
            Ok(Some(Verdict::Answer(answer))) => return Err(Box::new(answered(call, answer))),
            Err(()) => return Err(Box::new(unanswered(call, config))),
        }
    }
    let over = matches!(processing.stream, Stream::Over);
    let has_body = !request.body().is_end_stream() || call.early.len() > 0;
    if shown.body && has_body && !over {
        if call.early.read(request.body_mut(), MOST).await.is_err() {
            let flag = Flag::DownstreamProtocolError;
            return Err(Box::new(reply(call, 400, flag, "")));
        }
        if call.early.len() > MOST {
            let text = "Payload Too Large";
            return Err(Box::new(reply(call, 413, Flag::None, text)));
        }
        let part = Part::RequestBody;
        let question = processing::body(part, &call.early.first(MOST));
        match processing.ask(part, question).await {
            Ok(None) => {}
            Ok(Some(Verdict::Change(change))) => {
                reroute |= change.clear_route_cache;
                change_body(&mut call, request.headers_mut(), change);
            }
            Ok(Some(Verdict::Answer(answer))) => return Err(Box::new(answered(call, answer))),
            Err(()) => return Err(Box::new(unanswered(call, config))),
        }
    }
    call.reroute |= reroute;
    if config.response.headers || config.response.body {
        after.0.push(Afterward::Processing(Box::new(processing)));
    }
    Ok(call)
}

fn change_body(call: &mut Call, headers: &mut HeaderMap, change: Change) {
    change.headers.apply(headers);
    if let Some(bytes) = change.body {
        measure(headers, bytes.len());
        call.early.replace(bytes);
    }
}

fn measure(headers: &mut HeaderMap, length: usize) {
    headers.insert(header::CONTENT_LENGTH, length.into());
}

/// The service's answer in the place of any other.
fn answered(call: Box<Call>, answer: Answer) -> Response<ResponseBody> {
    if call.grpc
        && let Some(code) = answer.grpc_status
    {
        let mut response = grpc(call, code);
        answer.headers.apply(response.headers_mut());
        return response;
    }
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let is_grpc = call.grpc;
    let mut response = reply(call, answer.status, Flag::None, &text);
    if !is_grpc {
        response.body_mut().replace(answer.body);
        answer.headers.apply(response.headers_mut());
    }
    response
}

fn unanswered(mut call: Box<Call>, config: &ExternalProcessor) -> Response<ResponseBody> {
    call.decision = Decision::denied(&format!("no answer of the processor {}", config.name));
    let connection = Rc::clone(&call.connection);
    connection.open(call.policy());
    reply(call, 500, Flag::None, "")
}

fn instead(mut response: Response<ResponseBody>, answer: Answer) -> Response<ResponseBody> {
    match response.body_mut().take_call() {
        Some(call) => answered(call, answer),
        None => empty(answer.status),
    }
}

fn failed(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    match response.body_mut().take_call() {
        Some(call) => reply(call, 500, Flag::None, ""),
        None => empty(500),
    }
}

fn empty(status: u16) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(Bytes::new(), None));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

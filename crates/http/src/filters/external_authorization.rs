//! An authorizer outside the proxy is asked about requests, and about TCP connections.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hauberk_config::external_authorization::{AuthorizationService, ExternalAuthorization};
use hauberk_external::authorization::{
    Allowed, AskedRequest, CHECK, Denied, QueryChange, Question, SeenBody, Verdict, question,
    verdict,
};
use hauberk_external::authorization_http;
use hauberk_external::mutation::Mutations;
use hauberk_policy::{Access, Decision};
use hauberk_route::{set_path, string_fits};
use hauberk_telemetry::flags::Flag;
use hauberk_telemetry::metrics::AuthorizerKey;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response};

use super::{Afterward, Afterwards, Passed, rbac};
use crate::access_log::protocol;
use crate::ask;
use crate::body::ResponseBody;
use crate::call::Call;
use crate::connection::Connection;
use crate::incoming::Incoming;
use crate::reply::reply;

/// Stands before the name of a policy that selects what is asked about.
const SELECTED: &str = "istio-ext-authz-";

/// An authorizer, ready to be asked.
pub struct Authorizer {
    config: Arc<ExternalAuthorization>,
    selection: Option<Access>,
}

/// What came of a question, for the metrics.
const ALLOWED: &str = "allowed";
const DENIED: &str = "denied";
const ERROR: &str = "error";

impl Authorizer {
    pub fn new(config: &Arc<ExternalAuthorization>) -> Self {
        let selection = config.selection.as_ref();
        Self {
            selection: selection.map(|selection| Access::new(&selection.rules)),
            config: Arc::clone(config),
        }
    }

    /// The rules that select what it is asked about, if not everything; its name.
    pub fn selection(&self) -> (Option<&Access>, &str) {
        (self.selection.as_ref(), &self.config.authorizer)
    }

    /// The policy for whose sake it is to be asked, without the prefix that marks it, of what `matched` finds; empty if
    /// it is asked about everything. `None`: it is not to be asked.
    fn selected(&self, matched: impl FnOnce(&Access) -> Option<Arc<str>>) -> Option<Arc<str>> {
        let (Some(access), Some(selection)) = (&self.selection, &self.config.selection) else {
            return Some(Arc::default());
        };
        let policy = matched(access)?;
        if !string_fits(&selection.policy, &policy) {
            return None;
        }
        Some(match policy.strip_prefix(SELECTED) {
            Some(name) => name.into(),
            None => policy,
        })
    }

    fn selected_connection(&self, connection: &Connection) -> Option<Arc<str>> {
        self.selected(|access| access.audit_connection(&connection.subject()))
    }

    /// Asks about a request, if it is one to be asked about.
    pub async fn request(
        &self,
        mut call: Box<Call>,
        request: &mut Request<Incoming>,
        after: &mut Afterwards,
    ) -> Passed {
        let selected = self.selected(|access| {
            let connection = &call.connection;
            let standing = connection.settled(access);
            let asked = rbac::asked(&call, request);
            access.audit(&standing, &connection.subject(), &asked)
        });
        let Some(policy) = selected else {
            return Ok(call);
        };
        let config = &self.config;
        if let Some(shown) = config.body {
            let most = shown.max_bytes as usize;
            let read = call.early.read(request.body_mut(), most).await;
            if read.is_err() {
                return Err(Box::new(reply(
                    call,
                    400,
                    Flag::DownstreamProtocolError,
                    "",
                )));
            }
            if call.early.len() > most && !shown.allow_partial {
                return Err(Box::new(reply(call, 413, Flag::None, "Payload Too Large")));
            }
        }
        call.authorizer = Some(Arc::clone(&config.authorizer));
        let verdict = self.ask(&call, request).await;
        let connection = Rc::clone(&call.connection);
        self.count(&connection, &verdict);
        match verdict {
            Ok(Verdict::Allowed(allowed)) => {
                call.decision = self.allowed(&policy, "allowed by the authorizer");
                self.carry_out(call, allowed, request, after)
            }
            Ok(Verdict::Denied(denied)) => {
                call.decision = self.denied(&policy, "refused by the authorizer");
                connection.open(call.policy());
                Err(Box::new(refusal(call, denied)))
            }
            Err(reason) => {
                tracing::info!(authorizer = &*config.authorizer, reason, "no answer");
                if config.failure_mode_allow {
                    call.decision = self.allowed(&policy, "allowed without an answer of");
                    return Ok(call);
                }
                call.decision = self.denied(&policy, "no answer of the authorizer");
                connection.open(call.policy());
                let flag = Flag::UnauthorizedExternalService;
                Err(Box::new(reply(call, config.status_on_error, flag, "")))
            }
        }
    }

    async fn ask(&self, call: &Call, request: &Request<Incoming>) -> Result<Verdict, String> {
        let config = &*self.config;
        let connection = &call.connection;
        let body = config.body.map(|shown| {
            let bytes = call.early.first(shown.max_bytes as usize);
            (bytes, shown.as_bytes)
        });
        let path = request.uri().path_and_query();
        let asked = AskedRequest {
            id: text(call.request_id.as_ref()),
            method: request.method().as_str(),
            path: path.map_or("/", |path| path.as_str()),
            host: text(request.headers().get(header::HOST)),
            scheme: if connection.session.is_some() {
                "https"
            } else {
                "http"
            },
            protocol: protocol(call.version),
            headers: request.headers(),
            received: i64::try_from(call.early.len()).unwrap_or(i64::MAX),
            body: body.as_ref().map(|(bytes, as_bytes)| SeenBody {
                bytes,
                partial: bytes.len() < call.early.len(),
                as_bytes: *as_bytes,
            }),
        };
        match &config.service {
            AuthorizationService::Grpc(service) => {
                let shown = |name: &str| {
                    let list = config.shown_headers.as_ref();
                    list.is_none_or(|list| list.iter().any(|one| string_fits(one, name)))
                };
                let message = question(&described(connection, Some(asked)), shown);
                let context = call.traceparent.clone();
                let answer = ask::grpc(&connection.worker, service, CHECK, message, context).await;
                verdict(answer.map_err(|error| error.to_string())?)
            }
            AuthorizationService::Http(service) => {
                let shown = config.shown_headers.as_deref();
                let question = authorization_http::question(&asked, service, shown);
                let mut question = question.map_err(|error| error.to_string())?;
                if let Some(context) = &call.traceparent {
                    let headers = question.headers_mut();
                    headers.insert(crate::headers::TRACEPARENT, context.clone());
                }
                let timeout = Some(service.timeout);
                let answer = ask::http(&connection.worker, &service.cluster, question, timeout);
                let answer = answer.await.map_err(|error| error.to_string())?;
                authorization_http::verdict(answer, service)
            }
        }
    }

    /// Whether it is to be asked about a connection that it was not asked about before, under `earlier` authorizers.
    pub fn is_news(&self, connection: &Connection, earlier: &[Self]) -> bool {
        !earlier.iter().any(|one| one.config == self.config)
            && self.selected_connection(connection).is_some()
    }

    /// Asks about a TCP connection, if it is one to be asked about.
    ///
    /// # Errors
    /// It may not go on.
    pub async fn connection(
        &self,
        connection: &Rc<Connection>,
    ) -> Result<Option<Decision>, Decision> {
        let Some(policy) = self.selected_connection(connection) else {
            return Ok(None);
        };
        let AuthorizationService::Grpc(service) = &self.config.service else {
            return Err(self.denied(
                &policy,
                "no TCP connection can be described to the authorizer",
            ));
        };
        *connection.authorizer.borrow_mut() = Some(Arc::clone(&self.config.authorizer));
        let message = question(&described(connection, None), |_| true);
        let answer = ask::grpc(&connection.worker, service, CHECK, message, None).await;
        let verdict = answer.map_err(|error| error.to_string()).and_then(verdict);
        self.count(connection, &verdict);
        match verdict {
            Ok(Verdict::Allowed(_)) => Ok(Some(self.allowed(&policy, "allowed by the authorizer"))),
            Ok(Verdict::Denied(_)) => Err(self.denied(&policy, "refused by the authorizer")),
            Err(reason) => {
                tracing::info!(authorizer = &*self.config.authorizer, reason, "no answer");
                if self.config.failure_mode_allow {
                    return Ok(Some(self.allowed(&policy, "allowed without an answer of")));
                }
                Err(self.denied(&policy, "no answer of the authorizer"))
            }
        }
    }

    fn count(&self, connection: &Connection, verdict: &Result<Verdict, String>) {
        connection.worker.metrics.asked(AuthorizerKey {
            authorizer: Arc::clone(&self.config.authorizer),
            outcome: match verdict {
                Ok(Verdict::Allowed(_)) => ALLOWED,
                Ok(Verdict::Denied(_)) => DENIED,
                Err(_) => ERROR,
            },
        });
    }

    fn allowed(&self, policy: &Arc<str>, reason: &str) -> Decision {
        Decision {
            allowed: true,
            ..self.denied(policy, reason)
        }
    }

    fn denied(&self, policy: &Arc<str>, reason: &str) -> Decision {
        Decision {
            allowed: false,
            policy: Arc::clone(policy),
            reason: format!("{reason} {}", self.config.authorizer).into(),
        }
    }

    /// Changes the request as an answer asks for, and remembers what is to become of its response.
    fn carry_out(
        &self,
        mut call: Box<Call>,
        allowed: Allowed,
        request: &mut Request<Incoming>,
        after: &mut Afterwards,
    ) -> Passed {
        let refused = allowed.request.refused + allowed.response.refused;
        if refused > 0 {
            let authorizer = &*self.config.authorizer;
            tracing::info!(
                authorizer,
                refused,
                "changes of headers that cannot be made"
            );
            if self.config.validate_mutations {
                let flag = Flag::UnauthorizedExternalService;
                return Err(Box::new(reply(call, 500, flag, "")));
            }
        }
        let changes = !allowed.request.is_empty() || !allowed.query.is_empty();
        call.reroute |= changes && self.config.clear_route_cache;
        allowed.request.apply(request.headers_mut());
        if !allowed.query.is_empty() {
            let path = request.uri().path_and_query();
            let changed = with_query(path.map_or("/", |path| path.as_str()), &allowed.query);
            if !set_path(request, &changed) {
                let flag = Flag::UnauthorizedExternalService;
                return Err(Box::new(reply(call, 500, flag, "")));
            }
        }
        if !allowed.response.is_empty() {
            after.0.push(Afterward::Headers(allowed.response));
        }
        Ok(call)
    }
}

fn described<'a>(connection: &'a Connection, request: Option<AskedRequest<'a>>) -> Question<'a> {
    let session = connection.session.as_ref();
    Question {
        source: connection.facts.source,
        destination: connection.facts.destination,
        source_principal: connection.peer_id().unwrap_or_default(),
        destination_principal: session
            .and_then(|session| session.own.spiffe_id())
            .unwrap_or_default(),
        time: SystemTime::now(),
        request,
    }
}

fn text(value: Option<&HeaderValue>) -> &str {
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The authorizer's own answer to the caller.
fn refusal(call: Box<Call>, denied: Denied) -> Response<ResponseBody> {
    let flag = Flag::UnauthorizedExternalService;
    let grpc = call.grpc;
    let Denied {
        status,
        headers,
        body,
    } = denied;
    let mut response = reply(call, status, flag, &String::from_utf8_lossy(&body));
    if !grpc {
        fill(&mut response, body, &headers);
    }
    response
}

/// Bytes as they came, and headers over those of an answer of our own.
fn fill(response: &mut Response<ResponseBody>, body: Bytes, headers: &Mutations) {
    response.body_mut().replace(body);
    let mut sent = HeaderMap::new();
    headers.apply(&mut sent);
    if sent.contains_key(header::CONTENT_TYPE) {
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response.headers_mut().extend(sent);
}

/// A path whose query has some parameters set and others removed.
fn with_query(path: &str, changes: &[QueryChange]) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|one| !one.is_empty())
        .map(str::to_owned)
        .collect();
    let named = |one: &String, key: &str| one.split('=').next() == Some(key);
    for change in changes {
        match change {
            QueryChange::Set(key, value) => {
                let made = format!("{key}={value}");
                match parameters.iter().position(|one| named(one, key)) {
                    Some(place) => parameters[place] = made,
                    None => parameters.push(made),
                }
            }
            QueryChange::Remove(key) => parameters.retain(|one| !named(one, key)),
        }
    }
    if parameters.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", parameters.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_and_removed_one_by_one() {
        let set = |key: &str, value: &str| QueryChange::Set(key.into(), value.into());
        let remove = |key: &str| QueryChange::Remove(key.into());
        for (path, changes, expected) in [
            ("/a", vec![set("x", "1")], "/a?x=1"),
            ("/a?x=0&y=2", vec![set("x", "1")], "/a?x=1&y=2"),
            ("/a?x=0&xx=2&x", vec![remove("x")], "/a?xx=2"),
            ("/a?x=0", vec![remove("x")], "/a"),
            ("/a?", vec![remove("x")], "/a"),
        ] {
            assert_eq!(with_query(path, &changes), expected);
        }
    }
}

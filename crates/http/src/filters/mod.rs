//! HTTP filters: what is done with a request before it goes on, and with its answer. A filter is one module here; what it
//! is told lies in a module of the same name in `config`, read by one in `xds`.

mod cors;
mod external_authorization;
mod external_processor;
mod fault;
mod jwt;
mod rate_limit;
mod rbac;

pub use fault::http_status_of_grpc;

use std::sync::Arc;

use hauberk_config::connection_manager::{HttpFilter, HttpFilterKind};
use hauberk_config::external_processor::ExternalProcessor;
use hauberk_config::fault::Fault;
use hauberk_config::route::FilterOverride;
use hauberk_jwt::Authenticator;
use hauberk_policy::{Access, Metadata};
use hauberk_route::{Matched, headers_fit};
use http::{Request, Response};

use crate::body::ResponseBody;
use crate::call::Call;
use crate::explain::Judged;
use crate::incoming::Incoming;
use hauberk_external::mutation::Mutations;

pub use external_authorization::Authorizer;
pub use rate_limit::Limits;

/// An answer that ends a request early.
pub type Answer = Box<Response<ResponseBody>>;

/// The call goes on, or it is answered.
pub type Passed = Result<Box<Call>, Answer>;

/// The filters of a chain, made ready, in their order.
pub struct Filters(Vec<Filter>);

struct Filter {
    /// Routes override a filter's settings by this name.
    name: Arc<str>,
    kind: Kind,
}

enum Kind {
    Jwt(Authenticator),
    Rbac(Access),
    ExternalAuthorization(Authorizer),
    ExternalProcessor(Arc<ExternalProcessor>),
    LocalRateLimit(Arc<rate_limit::Local>),
    GlobalRateLimit(Arc<rate_limit::Global>),
    Fault(Fault),
    Cors,
}

impl Filters {
    pub fn new(told: &[HttpFilter], limits: &Limits) -> Self {
        let ready = told.iter().filter_map(|filter| {
            let kind = match &filter.kind {
                HttpFilterKind::Jwt(jwt) => Kind::Jwt(Authenticator::new(jwt)),
                HttpFilterKind::Rbac(rbac) => Kind::Rbac(Access::new(rbac)),
                HttpFilterKind::ExternalAuthorization(config) => {
                    Kind::ExternalAuthorization(Authorizer::new(config))
                }
                HttpFilterKind::ExternalProcessor(config) => {
                    Kind::ExternalProcessor(Arc::clone(config))
                }
                HttpFilterKind::LocalRateLimit(config) => {
                    Kind::LocalRateLimit(limits.local(config))
                }
                HttpFilterKind::GlobalRateLimit(config) => {
                    Kind::GlobalRateLimit(limits.global(config))
                }
                HttpFilterKind::Fault(fault) => Kind::Fault(fault.clone()),
                HttpFilterKind::Cors => Kind::Cors,
                HttpFilterKind::Router { .. } => return None,
            };
            Some(Filter {
                name: Arc::clone(&filter.name),
                kind,
            })
        });
        Self(ready.collect())
    }

    /// Shows the request to each filter. What they want of its answer is put into `after`.
    ///
    /// # Errors
    /// The answer of the filter that ended it.
    pub async fn request(
        &self,
        mut call: Box<Call>,
        request: &mut Request<Incoming>,
        matched: Option<&Matched>,
        after: &mut Afterwards,
    ) -> Passed {
        for filter in &self.0 {
            let special = matched.and_then(|matched| matched.special(&filter.name));
            if matches!(special, Some(FilterOverride::Disabled)) {
                continue;
            }
            call = match (&filter.kind, special) {
                (Kind::Jwt(authenticator), _) => {
                    jwt::authenticate(call, &filter.name, authenticator, request)?
                }
                (Kind::Rbac(_), Some(FilterOverride::Rbac(None))) => call,
                (Kind::Rbac(_), Some(FilterOverride::Rbac(Some(rbac)))) => {
                    rbac::decide_specially(call, rbac, request)?
                }
                (Kind::Rbac(access), _) => rbac::decide(call, access, request)?,
                (Kind::ExternalAuthorization(authorizer), _) => {
                    // Rare and large: it does not make every call's state larger.
                    Box::pin(authorizer.request(call, request, after)).await?
                }
                (Kind::ExternalProcessor(config), _) => {
                    Box::pin(external_processor::request(call, config, request, after)).await?
                }
                (Kind::LocalRateLimit(limit), _) => limit.request(call, request, after)?,
                (Kind::GlobalRateLimit(limit), _) => limit.request(call, request, after)?,
                (Kind::Fault(_), Some(FilterOverride::Fault(fault))) | (Kind::Fault(fault), _) => {
                    fault::disturb(call, fault, request).await?
                }
                (Kind::Cors, Some(FilterOverride::Cors(policy))) => {
                    cors::admit(call, policy, request, after)?
                }
                (Kind::Cors, _) => call,
            };
        }
        call.connection.open(call.policy());
        Ok(call)
    }
}

impl Filters {
    /// Says what each filter would ask about a request, in their order; nothing is sent. Tokens are verified, and what they
    /// say is put into `metadata`.
    pub fn judge(
        &self,
        request: &mut Request<()>,
        matched: Option<&Matched>,
        metadata: &mut Option<Metadata>,
        hear: &mut dyn FnMut(Judged<'_>),
    ) {
        for filter in &self.0 {
            let special = matched.and_then(|matched| matched.special(&filter.name));
            match (&filter.kind, special) {
                (_, Some(FilterOverride::Disabled))
                | (Kind::Rbac(_), Some(FilterOverride::Rbac(None)))
                | (Kind::Cors, _) => {}
                (Kind::Jwt(authenticator), _) => {
                    match jwt::verify(&filter.name, authenticator, request) {
                        Ok(found) => *metadata = found.or(metadata.take()),
                        Err(failure) => hear(Judged::Refused(failure.message())),
                    }
                }
                (Kind::Rbac(_), Some(FilterOverride::Rbac(Some(rbac)))) => {
                    hear(Judged::Rules(
                        &Access::new(rbac),
                        metadata.as_ref(),
                        request,
                    ));
                }
                (Kind::Rbac(access), _) => {
                    hear(Judged::Rules(access, metadata.as_ref(), request));
                }
                (Kind::ExternalAuthorization(authorizer), _) => {
                    let (selection, name) = authorizer.selection();
                    hear(Judged::Authorizer(
                        selection,
                        name,
                        metadata.as_ref(),
                        request,
                    ));
                }
                (Kind::ExternalProcessor(_), _) => {
                    hear(Judged::Note(
                        "a processor sees it, and may change or answer it",
                    ));
                }
                (Kind::LocalRateLimit(_) | Kind::GlobalRateLimit(_), _) => {
                    hear(Judged::Note("a rate limit counts it"));
                }
                (Kind::Fault(_), Some(FilterOverride::Fault(fault))) | (Kind::Fault(fault), _) => {
                    if fault.abort.is_some() && headers_fit(&fault.headers, request) {
                        hear(Judged::Note("a fault may be injected"));
                    }
                }
            }
        }
    }
}

/// What filters have still to do with the answer, whoever gives it: the last first.
#[derive(Default)]
pub struct Afterwards(Vec<Afterward>);

enum Afterward {
    Cors(cors::Allowed),
    Headers(Mutations),
    Standing(rate_limit::Standing),
    Processing(Box<external_processor::Processing>),
}

impl Afterwards {
    pub async fn answer(self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        for one in self.0.into_iter().rev() {
            match one {
                Afterward::Cors(allowed) => allowed.write(response.headers_mut()),
                Afterward::Processing(processing) => {
                    response = Box::pin(processing.response(response)).await;
                }
                Afterward::Standing(standing) => standing.write(response.headers_mut()),
                Afterward::Headers(changes) => changes.apply(response.headers_mut()),
            }
        }
        response
    }
}

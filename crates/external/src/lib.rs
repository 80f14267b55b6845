//! What services outside the proxy are asked, and what their answers mean: messages made and read, no I/O.
//!
//! | module | what |
//! |---|---|
//! | [`grpc`] | messages in gRPC's frames, and the status of an answer |
//! | [`mutation`] | changes of headers that an answer asks for, as far as they are harmless |
//! | [`authorization`] | `envoy.service.auth.v3.Authorization/Check` |
//! | [`authorization_http`] | the same question as an HTTP request |
//! | [`processing`] | `envoy.service.ext_proc.v3.ExternalProcessor/Process` |
//! | [`rate_limit`] | `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit` |
#![forbid(unsafe_code)]

pub mod authorization;
pub mod authorization_http;
pub mod grpc;
pub mod mutation;
pub mod processing;
pub mod rate_limit;

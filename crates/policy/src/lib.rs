//! Role-based access control as Envoy states it, compiled once and evaluated for each connection or request. Pure.
#![forbid(unsafe_code)]

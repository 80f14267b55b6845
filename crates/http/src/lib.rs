//! HTTP/1.1 and HTTP/2 on both sides of the proxy, and what TCP shares with them: the program that a worker runs, its
//! connections and its calls.
//!
//! A worker is one thread; nothing here is locked or shared between threads but the [`program::Program`], which is immutable.
#![forbid(unsafe_code)]

mod access_log;
mod ask;
mod attempt;
mod attention;
mod body;
pub mod call;
pub mod connection;
mod ended;
pub mod executor;
pub mod explain;
pub mod filters;
mod hash_key;
mod headers;
mod http1;
mod http2;
mod incoming;
pub mod listener;
mod mirror;
pub mod pool;
pub mod program;
mod reply;
pub mod serve;
mod service;
mod trace;
mod upgrade;
pub mod worker;

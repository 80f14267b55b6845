//! Sockets: transparent listeners, original destinations, bound upstream connections, protocol detection, DNS.
#![forbid(unsafe_code)]

pub mod accept;
pub mod back_off;
pub mod client_hello;
pub mod copy;
pub mod detect;
pub mod dns_message;
pub mod dns_server;
pub mod peek;
pub mod socket;

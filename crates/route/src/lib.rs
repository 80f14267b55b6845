//! Route matching: a request and a virtual host table to a route. Pure.
#![forbid(unsafe_code)]

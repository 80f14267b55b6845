//! HTTP/1.1 and HTTP/2 on both sides of the proxy: connection management, pools, routing, retries.
#![forbid(unsafe_code)]

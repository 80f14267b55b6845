//! What a proxy runs from: immutable snapshots of listeners, routes, clusters, endpoints and secrets. No I/O, no protobuf.
#![forbid(unsafe_code)]

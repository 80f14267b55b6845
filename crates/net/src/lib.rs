//! Sockets: transparent listeners, original destinations, bound upstream connections, protocol detection.

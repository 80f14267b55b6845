//! The data plane: every byte of every call.
#![forbid(unsafe_code)]

fn main() {}

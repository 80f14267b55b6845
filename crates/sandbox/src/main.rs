//! Runs one container of a pod in namespaces of its own.

fn main() {}

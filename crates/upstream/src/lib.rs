//! Clusters at run time: balancing, limits and connecting.
#![forbid(unsafe_code)]

//! The data plane of one pod: workers that serve its listeners, and the thread beside them that hears from the control
//! plane, answers the admin socket and writes what happened.
#![forbid(unsafe_code)]

mod accept;
pub mod admin;
pub mod bootstrap;
pub mod command_line;
mod config_dump;
pub mod engine;
mod explain;
pub mod feed;
mod listeners;
mod names;
pub mod node;
pub mod process;
mod statistics;
mod tcp;
mod tunnel;

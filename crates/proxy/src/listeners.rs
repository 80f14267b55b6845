//! The listening sockets of one worker, kept in step with its program.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hauberk_config::listener::Traffic;
use hauberk_http::worker::Worker;
use hauberk_net::accept::Acceptor;
use hauberk_net::socket;
use tokio::task::JoinHandle;

use crate::{accept, names};

#[derive(Default)]
pub struct Listeners {
    open: HashMap<Arc<str>, Open>,
}

struct Open {
    address: SocketAddr,
    transparent: bool,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listeners {
    /// Opens what is new, closes what is gone. Returns what could not be opened, in words; it is tried again next time.
    pub fn follow(&mut self, worker: &Rc<Worker>) -> Vec<String> {
        let program = worker.program();
        self.open.retain(|name, open| {
            program.listeners.get(name).is_some_and(|listener| {
                let config = &listener.config;
                config.address == open.address
                    && config.transparent == open.transparent
                    && !open.task.is_finished()
            })
        });
        let mut failures = Vec::new();
        for listener in program.bound() {
            let config = &listener.config;
            if self.open.contains_key(&config.name) {
                continue;
            }
            let name = Arc::clone(&config.name);
            let opened = match &config.traffic {
                Traffic::Tcp(_) => {
                    socket::listen(config.address, config.transparent).map(|socket| {
                        tokio::task::spawn_local(serve(
                            Rc::clone(worker),
                            name,
                            Acceptor::new(socket, Rc::clone(&worker.failed_accepts)),
                        ))
                    })
                }
                Traffic::Dns(_) => {
                    names::serve(Rc::clone(worker), name).map(tokio::task::spawn_local)
                }
            };
            match opened {
                Ok(task) => {
                    let open = Open {
                        address: config.address,
                        transparent: config.transparent,
                        task,
                    };
                    self.open.insert(Arc::clone(&config.name), open);
                }
                Err(error) => failures.push(format!(
                    "listener {} cannot listen at {}{}: {error}",
                    config.name,
                    config.address,
                    if config.transparent {
                        " (transparent, needs CAP_NET_ADMIN)"
                    } else {
                        ""
                    },
                )),
            }
        }
        failures
    }

    /// Takes no more connections.
    pub fn close(&mut self) {
        self.open.clear();
    }
}

async fn serve(worker: Rc<Worker>, name: Arc<str>, mut acceptor: Acceptor) {
    loop {
        match acceptor.accept().await {
            Ok((stream, source)) => {
                let program = worker.program();
                let Some(listener) = program.listeners.get(&name) else {
                    continue;
                };
                let serving =
                    accept::serve(Rc::clone(&worker), Arc::clone(listener), stream, source);
                tokio::task::spawn_local(serving);
            }
            Err(error) => {
                tracing::error!(%error, %name, "the listener ended");
                return;
            }
        }
    }
}

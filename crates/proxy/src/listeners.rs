//! The listening sockets of one worker, kept in step with its program.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hauberk_config::listener::{self, Traffic};
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
    addresses: Vec<SocketAddr>,
    transparent: bool,
    /// One for each address.
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Listeners {
    /// Opens what is new, closes what is gone. Returns what could not be opened, in words; it is tried again next time.
    pub fn follow(&mut self, worker: &Rc<Worker>) -> Vec<String> {
        let program = worker.program();
        self.open.retain(|name, open| {
            program.listeners.get(name).is_some_and(|listener| {
                let config = &listener.config;
                config.addresses().eq(open.addresses.iter().copied())
                    && config.transparent == open.transparent
                    && !open.tasks.iter().any(JoinHandle::is_finished)
            })
        });
        let mut failures = Vec::new();
        for listener in program.bound() {
            let config = &listener.config;
            if self.open.contains_key(&config.name) {
                continue;
            }
            let mut open = Open {
                addresses: config.addresses().collect(),
                transparent: config.transparent,
                tasks: Vec::new(),
            };
            let mut complete = true;
            for address in config.addresses() {
                match start(worker, config, address) {
                    Ok(task) => open.tasks.push(task),
                    Err(error) => {
                        complete = false;
                        failures.push(format!(
                            "listener {} cannot listen at {address}{}: {error}",
                            config.name,
                            if config.transparent {
                                " (transparent, needs CAP_NET_ADMIN)"
                            } else {
                                ""
                            },
                        ));
                    }
                }
            }
            if complete {
                self.open.insert(Arc::clone(&config.name), open);
            }
        }
        failures
    }

    /// Takes no more connections.
    pub fn close(&mut self) {
        self.open.clear();
    }
}

fn start(
    worker: &Rc<Worker>,
    config: &listener::Listener,
    address: SocketAddr,
) -> io::Result<JoinHandle<()>> {
    let name = Arc::clone(&config.name);
    Ok(match &config.traffic {
        Traffic::Tcp(_) => {
            let socket = socket::listen(address, config.transparent)?;
            let acceptor = Acceptor::new(socket, Rc::clone(&worker.failed_accepts));
            tokio::task::spawn_local(serve(Rc::clone(worker), name, acceptor))
        }
        Traffic::Dns(_) => {
            let names = names::serve(Rc::clone(worker), name, address, config.transparent)?;
            tokio::task::spawn_local(names)
        }
    })
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

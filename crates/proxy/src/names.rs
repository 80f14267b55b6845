//! DNS answers from the table of a listener.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hauberk_config::listener::Traffic;
use hauberk_http::worker::Worker;
use hauberk_net::accept::Acceptor;
use hauberk_net::dns_message::{Carrier, answer};
use hauberk_net::{dns_server, socket};

/// Serves DNS over UDP and TCP at one of the listener's addresses until dropped.
///
/// # Errors
/// The sockets cannot be had.
pub fn serve(
    worker: Rc<Worker>,
    name: Arc<str>,
    address: SocketAddr,
    transparent: bool,
) -> io::Result<impl Future<Output = ()>> {
    let udp = socket::bind_udp(address, transparent)?;
    let failures = Rc::clone(&worker.failed_accepts);
    let mut tcp = Acceptor::new(socket::listen(address, transparent)?, failures);
    let turn = Rc::new(Cell::new(0_usize));
    let respond = Rc::new(move |query: &[u8], carrier: Carrier| {
        let program = worker.program();
        let Traffic::Dns(table) = &program.listeners.get(&name)?.config.traffic else {
            return None;
        };
        turn.set(turn.get().wrapping_add(1));
        answer(table, query, carrier, turn.get())
    });
    Ok(async move {
        let datagrams = {
            let respond = Rc::clone(&respond);
            dns_server::serve_udp(udp, move |query, carrier| respond(query, carrier))
        };
        let streams = async {
            loop {
                let (stream, _) = tcp.accept().await?;
                let respond = Rc::clone(&respond);
                tokio::task::spawn_local(async move {
                    let serving =
                        dns_server::serve_tcp(stream, |query, carrier| respond(query, carrier));
                    if let Err(error) = serving.await {
                        tracing::debug!(%error, "DNS over TCP");
                    }
                });
            }
            #[expect(unreachable_code, reason = "states the block's type")]
            io::Result::Ok(())
        };
        if let Err(error) = tokio::try_join!(datagrams, streams) {
            tracing::error!(%error, "the DNS listener ended");
        }
    })
}

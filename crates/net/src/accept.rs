//! Accepting that survives running out of file descriptors.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts connections, pausing while the process or machine has no descriptor or memory left.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    pause: Duration,
    /// Since when nothing could be accepted.
    since: Option<Instant>,
    /// Counts the accepts that failed for want of a descriptor or of memory.
    failures: Rc<Cell<u64>>,
}

impl Acceptor {
    pub fn new(listener: TcpListener, failures: Rc<Cell<u64>>) -> Self {
        Self {
            listener,
            pause: FIRST_PAUSE,
            since: None,
            failures,
        }
    }

    /// The next connection and its peer's address.
    ///
    /// # Errors
    /// Only those after which the listener is of no use.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.pause = FIRST_PAUSE;
                    if let Some(since) = self.since.take() {
                        tracing::info!(after = ?since.elapsed(), "accepting connections again");
                    }
                    stream.set_nodelay(true).ok();
                    return Ok((stream, peer));
                }
                Err(error) if exhausted(&error) => {
                    self.failures.set(self.failures.get() + 1);
                    if self.since.is_none() {
                        self.since = Some(Instant::now());
                        tracing::warn!(
                            %error,
                            "cannot accept connections; callers wait until others leave, or raise `ulimit -n`"
                        );
                    }
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) if of_the_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn exhausted(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM
    )
}

/// The connection died before it was accepted; the listener lives (accept(2)).
fn of_the_connection(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EPROTO
            | Errno::EPERM
            | Errno::ENETDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::ETIMEDOUT
    )
}

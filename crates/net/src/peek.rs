//! Looking at the first bytes of a connection without taking them.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::detect::{Detection, LONGEST_PREFIX, Protocol, Wanted, detect};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peeked {
    Protocol(Protocol),
    /// Nothing that tells came in time: perhaps the server speaks first.
    TimedOut,
    /// The peer closed without a byte.
    Closed,
}

/// Most connections show themselves in a first segment of this size; the larger buffer is only made for the others.
const FIRST_LOOK: usize = 2048;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Tells what `stream` speaks; `timeout` `None` waits for ever.
///
/// # Errors
/// What the kernel says of the connection.
pub async fn peek(
    stream: &TcpStream,
    wanted: Wanted,
    timeout: Option<Duration>,
) -> io::Result<Peeked> {
    let looking = look(stream, wanted);
    match timeout {
        None => looking.await,
        Some(timeout) => tokio::time::timeout_at(Instant::now() + timeout, looking)
            .await
            .unwrap_or(Ok(Peeked::TimedOut)),
    }
}

async fn look(stream: &TcpStream, wanted: Wanted) -> io::Result<Peeked> {
    let mut pause = FIRST_PAUSE;
    let mut seen = 0;
    loop {
        stream.readable().await?;
        let (length, detection) = if seen < FIRST_LOOK {
            let mut prefix = [0; FIRST_LOOK];
            let length = stream.peek(&mut prefix).await?;
            (length, detect(&prefix[..length], wanted))
        } else {
            let mut prefix = vec![0; LONGEST_PREFIX];
            let length = stream.peek(&mut prefix).await?;
            (length, detect(&prefix[..length], wanted))
        };
        if length == 0 {
            return Ok(Peeked::Closed);
        }
        if let Detection::Found(protocol) = detection {
            return Ok(Peeked::Protocol(protocol));
        }
        // Bytes that were peeked at keep the socket readable, so growth can only be looked for now and then.
        if length == seen {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        seen = length;
    }
}

//! What the node agent may ask of a monitor, over its Unix socket: one JSON line, one JSON line back.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::error::{Error, Result};

const LONGEST_LINE: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    Signal { signal: i32 },
}

/// Listens at `path`, replacing what an earlier container left there.
pub fn listen(path: &Path) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("replace the control socket", path, &error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|e| Error::io("listen at", path, &e))?;
    listener
        .set_nonblocking(true)
        .map_err(|e| Error::io("listen at", path, &e))?;
    Ok(listener)
}

/// Answers one connection that waits. A peer that is slow or gone costs at most a second and harms nobody.
pub fn answer(listener: &UnixListener, init: Pid) {
    if let Ok((stream, _)) = listener.accept() {
        let reply = match serve(&stream, init) {
            Ok(()) => serde_json::json!({"ok": true}),
            Err(error) => serde_json::json!({"error": error.to_string()}),
        };
        let mut stream = stream;
        // The peer went away without waiting for the answer: it is its own loss.
        let _ = stream.write_all(format!("{reply}\n").as_bytes());
    }
}

/// Up to the first end of line, all of it within `PATIENCE`: a peer that sends now and then a byte is slow too.
fn read_line(mut stream: &UnixStream) -> std::io::Result<Vec<u8>> {
    let end = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    let mut bytes = [0; 512];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut bytes)?;
        line.extend_from_slice(&bytes[..count]);
        if count == 0 || line.contains(&b'\n') || line.len() > LONGEST_LINE {
            return Ok(line);
        }
    }
}

fn serve(stream: &UnixStream, init: Pid) -> Result<()> {
    let io = |e: std::io::Error| Error::new(format!("control: {e}"));
    stream.set_nonblocking(false).map_err(io)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(io)?;
    let line = read_line(stream).map_err(io)?;
    let Request::Signal { signal } =
        serde_json::from_slice(&line).map_err(|e| Error::new(format!("control: {e}")))?;
    let signal = Signal::try_from(signal)
        .map_err(|_| Error::new(format!("control: expected a signal number, found {signal}")))?;
    kill(init, signal).map_err(|e| Error::new(format!("cannot signal the container: {e}")))
}

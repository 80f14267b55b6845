//! Container logs in the CRI format: `TIME STREAM F|P LINE`, F for a whole line, P for a part of one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::state::now;

/// A line longer than this is written in parts, so that no program can make the monitor grow.
const LONGEST_PART: usize = 16 * 1024;

/// The log file of one container; beyond `max_bytes` it is renamed to `PATH.1` and begun anew.
pub struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    max_bytes: u64,
    lost: Lost,
}

/// What could not be written, said in the log itself as soon as it can.
#[derive(Default)]
struct Lost {
    lines: u64,
    reason: String,
}

impl Log {
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(Log {
            path: path.to_owned(),
            file,
            size,
            max_bytes,
            lost: Lost::default(),
        })
    }

    /// A full disk costs lines, never the program: what cannot be written is counted.
    fn write(&mut self, stream: &str, tag: char, text: &[u8]) {
        if let Err(error) = self
            .say_what_is_lost()
            .and_then(|()| self.append(stream, tag, text))
        {
            self.lost.lines += 1;
            self.lost.reason = error.to_string();
        }
    }

    fn say_what_is_lost(&mut self) -> io::Result<()> {
        if self.lost.lines == 0 {
            return Ok(());
        }
        // The last write may have left a part of its line.
        self.file.set_len(self.size)?;
        let Lost { lines, reason } = &self.lost;
        let text = format!("hauberk: {lines} lines could not be written here: {reason}");
        self.append("stderr", 'F', text.as_bytes())?;
        self.lost = Lost::default();
        Ok(())
    }

    fn append(&mut self, stream: &str, tag: char, text: &[u8]) -> io::Result<()> {
        let mut line = format!("{} {stream} {tag} ", now()).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        if self.size > 0 && self.size + line.len() as u64 > self.max_bytes {
            // Gone already: somebody made room, or the last rotation ended between its two steps.
            match std::fs::rename(&self.path, rotated(&self.path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.file = open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(&line)?;
        self.size += line.len() as u64;
        Ok(())
    }
}

fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Cuts one stream of bytes into lines.
pub struct Stream {
    name: &'static str,
    pending: Vec<u8>,
}

impl Stream {
    pub fn new(name: &'static str) -> Self {
        Stream {
            name,
            pending: Vec::new(),
        }
    }

    /// Takes what the program wrote.
    pub fn feed(&mut self, log: &mut Log, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.pending.extend_from_slice(&bytes[..end]);
            self.flush_parts(log);
            log.write(self.name, 'F', &self.pending);
            self.pending.clear();
            bytes = &bytes[end + 1..];
        }
        self.pending.extend_from_slice(bytes);
        self.flush_parts(log);
    }

    /// The program closed its end: what is left is a line without its end.
    pub fn finish(&mut self, log: &mut Log) {
        if !self.pending.is_empty() {
            let rest = std::mem::take(&mut self.pending);
            log.write(self.name, 'F', &rest);
        }
    }

    fn flush_parts(&mut self, log: &mut Log) {
        while self.pending.len() > LONGEST_PART {
            let rest = self.pending.split_off(LONGEST_PART);
            log.write(self.name, 'P', &self.pending);
            self.pending = rest;
        }
    }
}

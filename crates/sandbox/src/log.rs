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
}

impl Log {
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Log {
            path: path.to_owned(),
            file,
            size,
            max_bytes,
        })
    }

    fn write(&mut self, stream: &str, tag: char, text: &[u8]) -> io::Result<()> {
        let mut line = format!("{} {stream} {tag} ", now()).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        if self.size > 0 && self.size + line.len() as u64 > self.max_bytes {
            std::fs::rename(&self.path, rotated(&self.path))?;
            self.file = append(&self.path)?;
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

fn append(path: &Path) -> io::Result<File> {
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
    pub fn feed(&mut self, log: &mut Log, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.pending.extend_from_slice(&bytes[..end]);
            self.flush_parts(log)?;
            log.write(self.name, 'F', &self.pending)?;
            self.pending.clear();
            bytes = &bytes[end + 1..];
        }
        self.pending.extend_from_slice(bytes);
        self.flush_parts(log)
    }

    /// The program closed its end: what is left is a line without its end.
    pub fn finish(&mut self, log: &mut Log) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let rest = std::mem::take(&mut self.pending);
        log.write(self.name, 'F', &rest)
    }

    fn flush_parts(&mut self, log: &mut Log) -> io::Result<()> {
        while self.pending.len() > LONGEST_PART {
            let rest = self.pending.split_off(LONGEST_PART);
            log.write(self.name, 'P', &self.pending)?;
            self.pending = rest;
        }
        Ok(())
    }
}

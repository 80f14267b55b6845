//! Writing records and the access log from a thread of their own.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::outbox::Outbox;
use crate::record::Record;

/// Records that may wait for the disk.
const WAITING: usize = 16 * 1024;
/// The writer looks for records this often instead of being woken, which would cost the data path a system call.
const PERIOD: Duration = Duration::from_millis(50);
/// Lines that a slow tap may lag behind before it loses some.
const TAP_LINES: usize = 1024;

enum Line {
    Record(Record),
    Access(Vec<u8>),
}

/// Takes records from any thread.
#[derive(Clone)]
pub struct Sink {
    lines: SyncSender<Line>,
    shared: Arc<Shared>,
    /// For collectors.
    pub outbox: Outbox,
}

struct Shared {
    dropped: AtomicU64,
    written: AtomicU64,
    failures: AtomicU64,
    reopen: AtomicBool,
    taps: AtomicUsize,
    tap: broadcast::Sender<Arc<str>>,
    stop: AtomicBool,
}

/// Where the two files lie; `None`: that kind is not written.
#[derive(Debug, Clone, Default)]
pub struct Files {
    pub records: Option<PathBuf>,
    pub access: Option<PathBuf>,
}

/// Starts the writer. Join the handle after [`Sink::stop`] to have everything on disk.
///
/// # Errors
/// A file cannot be opened, or the thread not started.
pub fn start(files: Files) -> io::Result<(Sink, JoinHandle<()>)> {
    let (lines, queue) = sync_channel(WAITING);
    let shared = Arc::new(Shared {
        dropped: AtomicU64::new(0),
        written: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        reopen: AtomicBool::new(false),
        taps: AtomicUsize::new(0),
        tap: broadcast::channel(TAP_LINES).0,
        stop: AtomicBool::new(false),
    });
    let mut writer = Writer {
        queue,
        records: Target::open(files.records)?,
        access: Target::open(files.access)?,
        shared: Arc::clone(&shared),
    };
    let handle = std::thread::Builder::new()
        .name("records".into())
        .spawn(move || writer.run())?;
    let sink = Sink {
        lines,
        shared,
        outbox: Outbox::default(),
    };
    Ok((sink, handle))
}

impl Sink {
    pub fn record(&self, record: Record) {
        self.put(Line::Record(record));
    }

    /// `line` without a line feed.
    pub fn access(&self, line: impl Into<Vec<u8>>) {
        self.put(Line::Access(line.into()));
    }

    fn put(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether somebody watches, so that every request is worth a record.
    pub fn tapped(&self) -> bool {
        self.shared.taps.load(Ordering::Relaxed) > 0
    }

    /// All records from now on, as JSON lines without line feed.
    pub fn tap(&self) -> Tap {
        self.shared.taps.fetch_add(1, Ordering::Relaxed);
        Tap {
            lines: self.shared.tap.subscribe(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Opens the files anew, after they were moved away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    /// Lets the writer write what it has and end.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Records that found the queue full, and so are lost.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Records lost because the disk refused them.
    pub fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }
}

/// A subscription to records.
pub struct Tap {
    pub lines: broadcast::Receiver<Arc<str>>,
    shared: Arc<Shared>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.taps.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Target {
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    /// The last write failed; said once, not for each line.
    failing: bool,
}

impl Target {
    fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let mut target = Self {
            path,
            file: None,
            failing: false,
        };
        target.reopen()?;
        Ok(target)
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let open = OpenOptions::new().create(true).append(true).open(path);
            let file = open.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            self.file = Some(BufWriter::with_capacity(64 * 1024, file));
        }
        Ok(())
    }

    /// Whether it worked.
    fn attempt(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> bool {
        let Some(file) = &mut self.file else {
            return true;
        };
        match write(file) {
            Ok(()) => {
                self.failing = false;
                true
            }
            Err(error) => {
                if !self.failing {
                    let path = self.path.as_deref().map(|path| path.display().to_string());
                    tracing::error!(%error, path, "records cannot be written and are lost until they can");
                    self.failing = true;
                }
                // What the buffer holds would be tried again for ever.
                if let Ok(clone) = file.get_ref().try_clone() {
                    let old = std::mem::replace(file, BufWriter::with_capacity(64 * 1024, clone));
                    drop(old.into_parts());
                }
                false
            }
        }
    }
}

struct Writer {
    queue: Receiver<Line>,
    records: Target,
    access: Target,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(&mut self) {
        loop {
            let stopping = self.shared.stop.load(Ordering::Acquire);
            let open = self.drain();
            self.flush();
            if stopping || !open {
                return;
            }
            if self.shared.reopen.swap(false, Ordering::Relaxed) {
                for target in [&mut self.records, &mut self.access] {
                    if let Err(error) = target.reopen() {
                        tracing::error!(%error, "cannot reopen; the old file is written on");
                    }
                }
            }
            std::thread::sleep(PERIOD);
        }
    }

    /// False: nobody is left who could send.
    fn drain(&mut self) -> bool {
        loop {
            match self.queue.try_recv() {
                Ok(Line::Record(record)) => self.record(&record),
                Ok(Line::Access(line)) => {
                    let written = self.access.attempt(|file| {
                        file.write_all(&line)?;
                        file.write_all(b"\n")
                    });
                    self.count(written);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn record(&mut self, record: &Record) {
        let Ok(line) = serde_json::to_string(record) else {
            self.count(false);
            return;
        };
        let written = self.records.attempt(|file| writeln!(file, "{line}"));
        self.count(written);
        if self.shared.taps.load(Ordering::Relaxed) > 0 {
            // No receiver is no error.
            self.shared.tap.send(line.into()).ok();
        }
    }

    fn count(&self, written: bool) {
        let counter = if written {
            &self.shared.written
        } else {
            &self.shared.failures
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&mut self) {
        for target in [&mut self.records, &mut self.access] {
            target.attempt(BufWriter::flush);
        }
    }
}

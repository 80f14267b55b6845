//! A container to test with: a directory and a network namespace of its own, both gone on drop.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub const BINARY: &str = env!("CARGO_BIN_EXE_hauberk-sandbox");
pub const UID_BASE: u32 = 0x1f00_0000;
const PATIENCE: Duration = Duration::from_secs(10);
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Namespaces and mounts need root; without it the reason is printed and the test ends.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("not run: namespaces and mounts need root");
    }
    root
}

pub struct Pod {
    pub directory: PathBuf,
    pub name: String,
    pub spec: Value,
}

impl Pod {
    /// A pod whose container runs `args` as container root.
    pub fn new(args: &[&str]) -> Self {
        let nanoseconds = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hbt{:x}{nanoseconds:x}{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        std::fs::create_dir(&directory).unwrap();
        let added = Command::new("ip").args(["netns", "add", &name]).status();
        assert!(added.unwrap().success(), "ip netns add {name}");
        let spec = json!({
            "id": name, "netns": format!("/run/netns/{name}"),
            "uid_base": UID_BASE, "gid_base": UID_BASE, "hostname": "pod", "args": args,
            "user": {"uid": 0, "gid": 0, "groups": []},
            "log": directory.join("log"), "state": directory.join("state.json"),
            "control": directory.join("control"),
        });
        Pod {
            directory,
            name,
            spec,
        }
    }

    pub fn shell(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script])
    }

    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn make_directory(&self, name: &str) -> PathBuf {
        std::fs::create_dir_all(self.path(name)).unwrap();
        self.path(name)
    }

    pub fn command(&self) -> Command {
        std::fs::write(self.path("spec.json"), self.spec.to_string()).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["run", "--spec"]).arg(self.path("spec.json"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the end and gives what the monitor itself said.
    pub fn run(&self) -> Output {
        self.command().output().unwrap()
    }

    pub fn start(&self) -> Running {
        Running(self.command().spawn().unwrap())
    }

    pub fn state(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("state.json")).unwrap()).unwrap()
    }

    /// The program's lines in the log, whatever their stream.
    pub fn said(&self) -> String {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let texts = log
            .lines()
            .map(|line| line.splitn(4, ' ').nth(3).unwrap_or(""));
        texts.collect::<Vec<_>>().join("\n")
    }

    pub fn wait_for(&self, text: &str) {
        until(text, || self.said().contains(text));
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A monitor, killed with its container on drop.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} for: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

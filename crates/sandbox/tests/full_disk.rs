//! A disk that fills up under a running container and is emptied again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{Pod, Running, is_root, until};

/// A file system of 256 KiB, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: PathBuf) -> Self {
        mount(
            Some("tmpfs"),
            &path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=256k"),
        )
        .unwrap();
        SmallDisk(path)
    }

    fn fill(&self) {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.0.join("filler"));
        let mut file = file.unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn lines(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()
}

#[test]
fn it_costs_lines_and_says_so_but_neither_the_program_nor_its_exit_code() {
    if !is_root() {
        return;
    }
    let script = "trap 'exit 7' TERM; i=0; while :; do i=$((i+1)); echo line $i of many that fill a disk; sleep 0.01; done";
    let pod = Pod::shell(script);
    let disk = SmallDisk::at(pod.make_directory("disk"));
    let inside = |name: &str| json!(disk.0.join(name));
    let mut pod = pod.with("log", inside("log"));
    pod.spec["state"] = inside("state.json");
    let (log, state) = (disk.0.join("log"), disk.0.join("state.json"));
    // Where the monitor's own words go is on the same disk.
    let words = fs::File::create(disk.0.join("monitor.log")).unwrap();
    let mut monitor = Running(pod.command().stderr(words).spawn().unwrap());
    until("the program writes", || {
        log.exists() && lines(&log).contains("line 5")
    });

    disk.fill();
    // The last page of the log has room for a while.
    until("the log grows no more", || {
        let before = lines(&log).len();
        std::thread::sleep(std::time::Duration::from_millis(200));
        lines(&log).len() == before
    });
    assert!(
        monitor.0.try_wait().unwrap().is_none(),
        "the container ended"
    );

    disk.empty();
    until("what was lost is said", || {
        lines(&log).contains("lines could not be written here")
    });
    let said = lines(&log);
    let after = said.rsplit_once("could not be written here").unwrap().1;
    assert!(after.contains("line "), "the log goes on: {after}");
    for line in said.lines() {
        let text = line.splitn(4, ' ').nth(3).unwrap_or("");
        let whole = text.starts_with("line ") || text.starts_with("hauberk: ");
        assert!(whole, "a torn line: {line:?}");
    }

    disk.fill();
    kill(Pid::from_raw(monitor.0.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(monitor.0.wait().unwrap().code(), Some(7));
    let state: Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    assert_eq!(state["phase"], "exited");
    assert_eq!(state["exit_code"], 7);
}

//! The life of a container: its exit code, its signals, its state.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::{Pod, is_root, until};

#[test]
fn the_exit_code_is_the_programs() {
    if !is_root() {
        return;
    }
    for (code, reason) in [(0, "Completed"), (7, "Error")] {
        let pod = Pod::shell(&format!("exit {code}"));
        assert_eq!(pod.run().status.code(), Some(code));
        let state = pod.state();
        assert_eq!(state["phase"], "exited");
        assert_eq!(state["exit_code"], code);
        assert_eq!(state["signal"], 0);
        assert_eq!(state["reason"], reason);
        assert!(state["started_at"].as_str() <= state["finished_at"].as_str());
    }
}

#[test]
fn a_program_that_a_signal_killed_is_reported_as_such() {
    if !is_root() {
        return;
    }
    // `abort` raises SIGABRT, 6.
    let pod = Pod::new(&["/usr/bin/python3", "-c", "import os; os.abort()"]);
    assert_eq!(pod.run().status.code(), Some(134));
    assert_eq!(pod.state()["signal"], 6);
    assert_eq!(pod.state()["exit_code"], 134);
}

const TRAP: &str = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done";

#[test]
fn sigterm_to_the_monitor_reaches_the_program() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell(TRAP);
    let mut running = pod.start();
    pod.wait_for("ready");
    assert_eq!(pod.state()["phase"], "running");
    assert_eq!(pod.state()["monitor"], running.0.id());
    kill(Pid::from_raw(running.0.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(42));
}

#[test]
fn a_signal_asked_for_at_the_control_socket_reaches_the_program() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell(TRAP);
    let mut running = pod.start();
    pod.wait_for("ready");
    let mut stream = UnixStream::connect(pod.path("control")).unwrap();
    stream
        .write_all(b"{\"op\":\"signal\",\"signal\":15}\n")
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "{\"ok\":true}\n");
    assert_eq!(running.0.wait().unwrap().code(), Some(42));
}

#[test]
fn the_container_dies_with_its_monitor() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell(TRAP);
    let mut running = pod.start();
    pod.wait_for("ready");
    let init = pod.state()["pid"].as_i64().unwrap();
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    // A zombie is dead: when it is reaped is the business of the host's init.
    let status = format!("/proc/{init}/status");
    until("the end of init", || {
        std::fs::read_to_string(&status).map_or(true, |text| text.contains("State:	Z"))
    });
}

#[test]
fn what_cannot_start_is_a_start_error_that_names_the_cause() {
    if !is_root() {
        return;
    }
    let no_program = Pod::new(&["/nowhere/program"]);
    let mount = json!([{"source": "/nowhere/source", "target": "/data"}]);
    let no_source = Pod::shell("true").with("mounts", mount);
    for (pod, cause) in [
        (no_program, "/nowhere/program"),
        (no_source, "/nowhere/source"),
    ] {
        assert!(!pod.run().status.success());
        let state = pod.state();
        assert_eq!(state["reason"], "StartError", "{state}");
        assert!(
            state["message"].as_str().unwrap().contains(cause),
            "{state}"
        );
    }
}

#[test]
fn a_slow_peer_at_the_control_socket_holds_nobody_up_for_long() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell(TRAP);
    let mut running = pod.start();
    pod.wait_for("ready");
    let mut slow = UnixStream::connect(pod.path("control")).unwrap();
    let dripping = std::thread::spawn(move || {
        let start = Instant::now();
        while slow.write_all(b" ").is_ok() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(200));
        }
        start.elapsed()
    });
    let mut stream = UnixStream::connect(pod.path("control")).unwrap();
    stream
        .write_all(b"{\"op\":\"signal\",\"signal\":15}\n")
        .unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(42));
    let held = dripping.join().unwrap();
    assert!(held < Duration::from_secs(10), "held for {held:?}");
}

#[test]
fn limits_of_resources_hold_in_the_container() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("ulimit -Sn; ulimit -Hn; ulimit -Sc")
        .with("rlimits", json!({"nofile": [100, 200], "core": [0, 0]}));
    pod.run();
    assert_eq!(pod.said(), "100\n200\n0");
    let wrong = Pod::shell("true").with("rlimits", json!({"files": [1, 1]}));
    wrong.run();
    let message = wrong.state()["message"].to_string();
    assert!(message.contains("expected nofile"), "{message}");
}

#[test]
fn a_program_that_takes_too_much_memory_is_reported_as_killed_for_that() {
    if !is_root() {
        return;
    }
    let Some(group) = Group::limited_to(64 << 20) else {
        eprintln!("not run: this machine has no control group for memory that can be written");
        return;
    };
    let eat = "b = []\nwhile True: b.append(bytearray(1 << 20))";
    let pod = Pod::new(&["/usr/bin/python3", "-c", eat]).with("cgroups", json!([group.0]));
    assert_eq!(pod.run().status.code(), Some(137));
    let state = pod.state();
    assert_eq!(state["reason"], "OOMKilled", "{state}");
    assert_eq!(state["signal"], 9);
    let other = Group::limited_to(64 << 20).unwrap();
    let modest = Pod::new(&[
        "/usr/bin/python3",
        "-c",
        "import os; os.kill(os.getpid(), 9)",
    ])
    .with("cgroups", json!([other.0]));
    modest.run();
    assert_eq!(
        modest.state()["reason"],
        "Error",
        "not every SIGKILL is one"
    );
}

/// A control group with a limit of memory, of version 1 or 2, removed on drop.
struct Group(PathBuf);

impl Group {
    fn limited_to(bytes: u64) -> Option<Self> {
        let root = PathBuf::from("/sys/fs/cgroup");
        let (parent, file) = if root.join("cgroup.controllers").exists() {
            std::fs::write(root.join("cgroup.subtree_control"), "+memory").ok()?;
            (root, "memory.max")
        } else {
            (root.join("memory"), "memory.limit_in_bytes")
        };
        let nanoseconds = std::time::UNIX_EPOCH.elapsed().ok()?.as_nanos();
        let group = parent.join(format!("hbt{nanoseconds}"));
        std::fs::create_dir(&group).ok()?;
        let group = Group(group);
        std::fs::write(group.0.join(file), bytes.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

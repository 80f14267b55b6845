//! The life of a container: its exit code, its signals, its state.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

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

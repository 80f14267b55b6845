//! A command in a running container.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::json;
use support::{BINARY, Pod, Running, is_root, until};

fn running() -> (Pod, Running) {
    let pod = Pod::shell("echo ready; exec sleep 60")
        .with("env", json!({"KEPT": "kept", "CHANGED": "old"}))
        .with("user", json!({"uid": 33, "gid": 33, "groups": [33]}));
    let monitor = pod.start();
    pod.wait_for("ready");
    (pod, monitor)
}

fn exec(pod: &Pod, options: &[&str], script: &str) -> Output {
    let mut command = Command::new(BINARY);
    command
        .args(["exec", "--state"])
        .arg(pod.path("state.json"));
    command.args(options).args(["--", "/bin/sh", "-c", script]);
    command.env("AGENT_SECRET", "secret").output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_exit_code_is_the_commands() {
    if !is_root() {
        return;
    }
    let (pod, _monitor) = running();
    assert_eq!(exec(&pod, &[], "exit 9").status.code(), Some(9));
    assert_eq!(exec(&pod, &[], "kill -9 $$").status.code(), Some(137));
}

#[test]
fn the_environment_is_the_containers_and_what_is_asked_for() {
    if !is_root() {
        return;
    }
    let (pod, _monitor) = running();
    let script = "echo $KEPT $CHANGED ${AGENT_SECRET-unset}";
    let output = exec(&pod, &["--env", "CHANGED=new"], script);
    assert_eq!(text(&output), "kept new unset");
}

#[test]
fn the_user_is_the_containers_or_the_one_asked_for() {
    if !is_root() {
        return;
    }
    let (pod, _monitor) = running();
    assert_eq!(text(&exec(&pod, &[], "id -u; id -g")), "33\n33");
    assert_eq!(
        text(&exec(&pod, &["--user", "5:6"], "id -u; id -g; id -G")),
        "5\n6\n6"
    );
    let refused = exec(&pod, &["--user", "root"], "true");
    assert_eq!(refused.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UID:GID"));
}

#[test]
fn a_command_is_as_restricted_as_the_container() {
    if !is_root() {
        return;
    }
    let (pod, _monitor) = running();
    let script = "hostname; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status";
    let found = text(&exec(&pod, &["--user", "0:0"], script));
    let words: Vec<&str> = found.split_whitespace().collect();
    let none = "0000000000000000";
    let expected = [
        "pod",
        "CapEff:",
        none,
        "CapBnd:",
        none,
        "NoNewPrivs:",
        "1",
        "Seccomp:",
        "2",
    ];
    assert_eq!(words, expected);
    assert_ne!(
        exec(&pod, &["--user", "0:0"], "unshare -n true")
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn after_the_end_it_is_refused() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("exit 7");
    pod.run();
    let refused = exec(&pod, &[], "true");
    assert_eq!(refused.status.code(), Some(125));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("ended at") && said.contains("exit code 7"),
        "{said}"
    );
}

#[test]
fn a_command_ends_with_who_waits_for_it() {
    if !is_root() {
        return;
    }
    let (pod, _monitor) = running();
    let mut command = Command::new(BINARY);
    command
        .args(["exec", "--state"])
        .arg(pod.path("state.json"));
    command.args(["--", "/bin/sh", "-c", "echo began >&2; exec sleep 4711"]);
    let mut waiting = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut began = [0; 6];
    waiting
        .stderr
        .take()
        .unwrap()
        .read_exact(&mut began)
        .unwrap();
    let found = || text(&exec(&pod, &[], "grep -l '471[1]' /proc/[0-9]*/cmdline"));
    until("the command runs", || !found().is_empty());
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    until("the command has ended", || found().is_empty());
}

#[test]
fn a_terminal_is_the_containers_own_and_the_commands_users() {
    if !is_root() {
        return;
    }
    let (pod, _monitor) = running();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["exec", "--state"])
        .arg(pod.path("state.json"));
    let script = "tty; stat -c '%u %g %a' $(tty); test -t 0 && test -t 1 && test -t 2 && echo all";
    command.args(["--tty", "--", "/bin/sh", "-c", script]);
    let mut waiting = command.stdin(OwnedFd::from(theirs)).spawn().unwrap();
    drop(command);
    let mut terminal = File::from(receive(&ours));
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    let mut said = Vec::new();
    let mut bytes = [0; 1024];
    // A terminal that nobody sits at any more answers with EIO.
    while let Ok(count) = terminal.read(&mut bytes) {
        said.extend_from_slice(&bytes[..count]);
    }
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said, "/dev/pts/0\r\n33 5 620\r\nall\r\n");
}

#[allow(unsafe_code)]
fn receive(socket: &UnixStream) -> OwnedFd {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::empty(),
    )
    .unwrap();
    let Some(ControlMessageOwned::ScmRights(descriptors)) = message.cmsgs().unwrap().next() else {
        panic!("expected a descriptor");
    };
    // SAFETY: the kernel has just made it for this process, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(descriptors[0]) }
}

//! What a pod's proxy holds and sees.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::{BINARY, Pod, is_root};

const UID: &str = "520093697";

fn proxy(pod: &Pod, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    let gate = Gate::of(pod);
    command.args(["proxy", "--netns"]).arg(&gate.0);
    command.arg("--directory").arg(pod.make_directory("proxy"));
    command
        .args(["--uid", UID, "--"])
        .args(args)
        .output()
        .unwrap()
}

/// A network namespace that belongs to a user namespace in which there is the proxy's user alone.
struct Gate(PathBuf);

impl Gate {
    fn of(pod: &Pod) -> Self {
        let path = PathBuf::from(format!("/run/netns/{}g", pod.name));
        let mut inside = Command::new("unshare")
            .args(["--user", "--net", "sh", "-c", "echo made; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut made = [0; 5];
        inside.stdout.take().unwrap().read_exact(&mut made).unwrap();
        let process = PathBuf::from(format!("/proc/{}", inside.id()));
        for map in ["gid_map", "uid_map"] {
            std::fs::write(process.join(map), format!("{UID} {UID} 1\n")).unwrap();
        }
        std::fs::File::create(&path).unwrap();
        let mounted = Command::new("mount")
            .arg("--bind")
            .args([&process.join("ns/net"), &path])
            .status();
        assert!(mounted.unwrap().success());
        drop(inside.stdin.take());
        inside.wait().unwrap();
        Gate(path)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_gate_of_the_machines_own_user_namespace_is_refused() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("true");
    let output = Command::new(BINARY)
        .args(["proxy", "--netns"])
        .arg(format!("/run/netns/{}", pod.name))
        .arg("--directory")
        .arg(pod.make_directory("proxy"))
        .args(["--uid", UID, "--", "/usr/bin/true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("user namespace of its own"), "{said}");
}

#[test]
fn its_capability_is_one_over_the_gate_alone() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("true");
    let output = proxy(
        &pod,
        &[
            "/usr/bin/grep",
            "-h",
            "",
            "/proc/self/uid_map",
            "/proc/self/gid_map",
        ],
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let maps: Vec<Vec<&str>> = said
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(maps, [[UID, UID, "1"], [UID, UID, "1"]]);
}

#[test]
fn it_is_a_user_of_its_own_with_one_capability() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("true");
    let fields = "^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):";
    let output = proxy(&pod, &["/usr/bin/grep", "-E", fields, "/proc/self/status"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for line in text.lines() {
        let (name, value) = line.split_once(':').unwrap();
        let value: Vec<&str> = value.split_whitespace().collect();
        match name {
            "Uid" | "Gid" => assert_eq!(value, [UID; 4], "{name}"),
            "Groups" => assert!(value.is_empty(), "{value:?}"),
            "NoNewPrivs" => assert_eq!(value, ["1"]),
            "Seccomp" => assert_eq!(value, ["2"]),
            _ => assert_eq!(value, ["0000000000001000"], "{name}: CAP_NET_ADMIN alone"),
        }
    }
    assert_eq!(text.lines().count(), 10, "{text}");
}

#[test]
fn it_sees_its_directory_and_no_other() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("true");
    let own = pod.make_directory("proxy").join("own");
    let other = pod.path("other");
    for path in [&own, &other] {
        std::fs::write(path, "word\n").unwrap();
    }
    let grep = |path: &str| {
        proxy(&pod, &["/usr/bin/grep", "-c", "", path])
            .status
            .code()
    };
    assert_eq!(grep(&own.display().to_string()), Some(0));
    for hidden in [
        &other.display().to_string(),
        "/etc/shadow",
        "/root/.bashrc",
        "/usr/bin/env",
    ] {
        assert_eq!(grep(hidden), Some(2), "{hidden}");
    }
}

#[test]
fn it_sees_no_other_process() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("true");
    let test = format!("/proc/{}/status", std::process::id());
    assert_eq!(
        proxy(&pod, &["/usr/bin/grep", "-c", "", &test])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        proxy(&pod, &["/usr/bin/grep", "-c", "", "/proc/1/status"])
            .status
            .code(),
        Some(2)
    );
}

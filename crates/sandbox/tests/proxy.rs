//! What a pod's proxy holds and sees.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::{Command, Output};

use support::{BINARY, Pod, is_root};

const UID: &str = "520093697";

fn proxy(pod: &Pod, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command
        .args(["proxy", "--netns"])
        .arg(format!("/run/netns/{}", pod.name));
    command.arg("--directory").arg(pod.make_directory("proxy"));
    command
        .args(["--uid", UID, "--"])
        .args(args)
        .output()
        .unwrap()
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

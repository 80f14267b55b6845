//! What a container sees of the host, and what it may do to it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;
use support::{Pod, UID_BASE, is_root};

fn outcome(pod: &Pod) -> String {
    let output = pod.run();
    let failure = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(failure.is_empty(), "{failure}");
    pod.said()
}

#[test]
fn the_hosts_files_are_read_only_and_its_secrets_unreadable() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell(
        "touch /etc/made 2>&1 | grep -o Read-only; cat /etc/shadow 2>/dev/null || echo unreadable",
    );
    assert_eq!(outcome(&pod), "Read-only\nunreadable");
    assert!(!std::path::Path::new("/etc/made").exists());
}

#[test]
fn a_hidden_path_is_empty() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("ls -A /usr/share/doc | wc -l").with("hidden", json!(["/usr/share/doc"]));
    assert_eq!(outcome(&pod), "0");
}

#[test]
fn a_file_is_laid_over_the_hosts() {
    if !is_root() {
        return;
    }
    let host = std::fs::read("/etc/hosts").unwrap();
    let pod = Pod::shell("cat /etc/hosts").with("files", json!({"/etc/hosts": "127.9.9.9 own\n"}));
    assert_eq!(outcome(&pod), "127.9.9.9 own");
    assert_eq!(std::fs::read("/etc/hosts").unwrap(), host);
}

#[test]
fn mounts_appear_at_targets_that_the_host_lacks() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell(
        "cat /srv/hbt-one/deep/a /srv/hbt-two/b; touch /srv/hbt-two/c 2>/dev/null || echo refused; touch /srv/hbt-one/deep/d",
    );
    std::fs::write(pod.make_directory("one").join("a"), "a\n").unwrap();
    std::fs::write(pod.make_directory("two").join("b"), "b\n").unwrap();
    for name in ["one", "two"] {
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(pod.path(name), open).unwrap();
    }
    let mounts = json!([
        {"source": pod.path("one"), "target": "/srv/hbt-one/deep"},
        {"source": pod.path("two"), "target": "/srv/hbt-two", "readonly": true},
    ]);
    let pod = pod.with("mounts", mounts);
    let pod = pod.with("user", json!({"uid": 33, "gid": 34, "groups": [34, 35]}));
    assert_eq!(outcome(&pod), "a\nb\nrefused");
    let made = std::fs::metadata(pod.path("one/d")).unwrap();
    assert_eq!((made.uid(), made.gid()), (UID_BASE + 33, UID_BASE + 34));
    assert!(!std::path::Path::new("/srv/hbt-one").exists());
}

#[test]
fn groups_and_capabilities_are_those_asked_for() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("id -G; grep -E '^Cap(Eff|Bnd)' /proc/self/status | cut -f2")
        .with("user", json!({"uid": 0, "gid": 34, "groups": [34, 35]}))
        .with("capabilities", json!(["NET_BIND_SERVICE"]));
    assert_eq!(outcome(&pod), "34 35\n0000000000000400\n0000000000000400");
}

/// Prints the error of each call that could open a way out; nothing may succeed.
const ESCAPES: &str = r#"
import ctypes, errno, socket
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, result):
    print(name, "done" if result == 0 else errno.errorcode[ctypes.get_errno()])
attempt("mount", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
attempt("unshare net", libc.unshare(0x40000000))
attempt("unshare user", libc.unshare(0x10000000))
# No descriptor at all: without the filter the kernel says EBADF.
attempt("setns", libc.setns(-1, 0))
try:
    socket.socket(40, socket.SOCK_STREAM)
    print("vsock done")
except OSError as error:
    print("vsock", errno.errorcode[error.errno])
"#;

#[test]
fn container_root_with_many_capabilities_makes_no_namespace_and_no_mount() {
    if !is_root() {
        return;
    }
    let many = json!([
        "SYS_ADMIN",
        "NET_ADMIN",
        "SYS_PTRACE",
        "DAC_OVERRIDE",
        "SETUID"
    ]);
    let pod = Pod::new(&["/usr/bin/python3", "-c", ESCAPES]).with("capabilities", many);
    let said = outcome(&pod);
    let names = [
        "mount EPERM",
        "unshare net EPERM",
        "unshare user EPERM",
        "setns EPERM",
        "vsock E",
    ];
    assert_eq!(said.lines().count(), names.len(), "{said}");
    for (line, name) in said.lines().zip(names) {
        assert!(line.starts_with(name), "{line}");
    }
}

#[test]
fn proc_shows_the_containers_processes_alone() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("cat /proc/[0-9]*/comm; true");
    for name in outcome(&pod).lines() {
        assert!(
            ["hauberk-sandbox", "hauberk-sandbo", "sh", "cat"].contains(&name),
            "{name}"
        );
    }
}

#[test]
fn nothing_of_the_monitors_parent_is_inherited() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell(
        "ls /proc/self/fd; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep SECRET",
    );
    let monitor = pod.command();
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", "exec 7</etc/passwd 9</etc/shadow; exec \"$@\"", "sh"]);
    shell.arg(monitor.get_program()).args(monitor.get_args());
    shell.env("AGENT_SECRET", "secret").output().unwrap();
    let said = pod.said();
    // Descriptor 3 is the directory that `ls` reads.
    assert_eq!(said, "0\n1\n2\n3");
}

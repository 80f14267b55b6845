//! A specification that is wrong is refused with the name of what is wrong, and never run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::json;
use support::{Pod, is_root};

fn assert_refused(pod: &Pod, naming: &str) {
    let output = pod.run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains(naming), "expected {naming:?} in: {said}");
    assert!(!pod.path("log").exists(), "it ran");
}

#[test]
fn a_wrong_field_is_named() {
    if !is_root() {
        return;
    }
    let cases = [
        ("privileged", json!(true), "privileged"),
        ("uid_base", json!(0), "uid_base"),
        ("gid_base", json!(0), "gid_base"),
        ("args", json!([]), "args"),
        ("user", json!({"uid": 65_536, "gid": 0}), "user"),
        ("cwd", json!("/a/../b"), "/a/../b"),
        ("hidden", json!(["/work/../etc"]), "/work/../etc"),
        ("files", json!({"relative": ""}), "relative"),
        (
            "mounts",
            json!([{"source": "/tmp", "target": "/x/../etc"}]),
            "/x/../etc",
        ),
    ];
    for (field, value, naming) in cases {
        assert_refused(&Pod::shell("true").with(field, value), naming);
    }
}

#[test]
fn bytes_that_are_no_specification_never_crash_it() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("true");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..100_usize {
        let mut command = pod.command();
        let mut bytes = std::fs::read(pod.path("spec.json")).unwrap();
        // Half of them are noise, half a good text cut short with a byte changed.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let cut = random as usize % bytes.len();
        bytes.truncate(cut);
        if round % 2 == 0 {
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = random.rotate_left(index as u32) as u8;
            }
        } else if let Some(byte) = bytes.last_mut() {
            *byte = random as u8;
        }
        std::fs::write(pod.path("spec.json"), bytes).unwrap();
        assert_eq!(
            command.output().unwrap().status.code(),
            Some(125),
            "cut at {cut}"
        );
    }
    assert!(!pod.path("log").exists(), "it ran");
}

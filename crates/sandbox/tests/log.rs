//! The log: what the program wrote, all of it, in the CRI format.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Write;
use std::os::unix::net::UnixStream;

use serde_json::json;
use support::{Pod, is_root};

/// Stream, tag and text of each line of a log file.
fn entries(pod: &Pod, name: &str) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(pod.path(name)).unwrap();
    let parse = |line: &str| {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        assert!(
            fields[0].ends_with('Z') && fields[0].len() == 30,
            "time: {line}"
        );
        (
            fields[1].to_owned(),
            fields[2].to_owned(),
            fields[3].to_owned(),
        )
    };
    text.lines().map(parse).collect()
}

fn entry(stream: &str, tag: &str, text: &str) -> (String, String, String) {
    (stream.into(), tag.into(), text.into())
}

#[test]
fn both_streams_are_kept_apart_and_a_line_without_end_is_kept() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("echo out; echo err >&2; printf rest");
    assert!(pod.run().status.success());
    let mut found = entries(&pod, "log");
    found.sort();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], entry("stderr", "F", "err"));
    assert_eq!(found[1], entry("stdout", "F", "out"));
    assert_eq!(
        (found[2].0.as_str(), found[2].2.as_str()),
        ("stdout", "rest")
    );
}

#[test]
fn a_long_line_is_written_in_parts() {
    if !is_root() {
        return;
    }
    let pod = Pod::new(&["/usr/bin/python3", "-c", "print('x' * 40000)"]);
    assert!(pod.run().status.success());
    let found = entries(&pod, "log");
    let shape: Vec<_> = found.iter().map(|e| (e.1.as_str(), e.2.len())).collect();
    assert_eq!(
        shape,
        [("P", 16384), ("P", 16384), ("F", 40000 - 2 * 16384)]
    );
}

#[test]
fn a_full_log_is_rotated() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("seq 1 100").with("log_max_bytes", json!(2000));
    assert!(pod.run().status.success());
    let (old, new) = (entries(&pod, "log.1"), entries(&pod, "log"));
    assert_eq!(new.last().unwrap().2, "100");
    let numbers = old
        .iter()
        .chain(&new)
        .map(|e| e.2.parse::<usize>().unwrap());
    let first = 101 - old.len() - new.len();
    assert!(numbers.eq(first..=100), "the two files follow one another");
    for name in ["log", "log.1"] {
        assert!(
            std::fs::metadata(pod.path(name)).unwrap().len() <= 2000,
            "{name}"
        );
    }
}

#[test]
fn a_log_whose_file_somebody_removed_begins_anew() {
    if !is_root() {
        return;
    }
    let script = "trap 'seq 1 100; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let pod = Pod::shell(script).with("log_max_bytes", json!(2000));
    let mut running = pod.start();
    pod.wait_for("ready");
    std::fs::remove_file(pod.path("log")).unwrap();
    let mut control = UnixStream::connect(pod.path("control")).unwrap();
    control
        .write_all(b"{\"op\":\"signal\",\"signal\":15}\n")
        .unwrap();
    assert!(running.0.wait().unwrap().success());
    assert_eq!(entries(&pod, "log").last().unwrap().2, "100");
}

#[test]
fn nothing_of_many_lines_is_lost() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("seq 1 10000");
    assert!(pod.run().status.success());
    let found = entries(&pod, "log");
    assert!(
        found
            .iter()
            .map(|e| e.2.parse::<u32>().unwrap())
            .eq(1..=10_000)
    );
}

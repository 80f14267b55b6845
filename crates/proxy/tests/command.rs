//! The binary's command line.
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_hauberk-proxy"))
        .args(arguments)
        .output()
        .expect("it runs");
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn help_and_version_are_told() {
    let (code, text) = run(&["--help"]);
    assert!(
        code == Some(0) && text.contains("--bootstrap FILE"),
        "{text}"
    );
    let (code, text) = run(&["--version"]);
    assert!(
        code == Some(0) && text.starts_with("hauberk-proxy "),
        "{text}"
    );
}

#[test]
fn a_wrong_command_line_or_file_is_refused() {
    let (code, text) = run(&["--what"]);
    assert!(
        code == Some(2) && text.contains("unknown argument --what"),
        "{text}"
    );
    let (code, text) = run(&["--bootstrap", "/nonexistent/bootstrap.json"]);
    assert!(
        code == Some(2) && text.contains("/nonexistent/bootstrap.json: No such file"),
        "{text}"
    );
}

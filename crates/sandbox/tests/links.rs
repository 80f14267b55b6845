//! Links that a program planted in a volume lead the runtime nowhere outside of the container's new root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::symlink;

use serde_json::json;
use support::{Pod, is_empty, is_root};

/// A pod with an empty `host` directory and a `volume` full of links to it.
fn pod_with_planted_links() -> Pod {
    let pod = Pod::shell("true");
    let host = pod.make_directory("host").display().to_string();
    let volume = pod.make_directory("volume");
    symlink(format!("../../../../..{host}"), volume.join("rel")).unwrap();
    symlink(format!("/../../..{host}"), volume.join("abs")).unwrap();
    symlink("l2", volume.join("chain")).unwrap();
    symlink(&host, volume.join("l2")).unwrap();
    pod
}

#[test]
fn a_mount_through_a_planted_link_makes_nothing_on_the_host() {
    if !is_root() {
        return;
    }
    for link in ["rel", "abs", "chain"] {
        let pod = pod_with_planted_links();
        let other = pod.make_directory("other");
        let mounts = json!([
            {"source": pod.path("volume"), "target": "/data"},
            {"source": other, "target": format!("/data/{link}/made")},
        ]);
        let pod = pod.with("mounts", mounts);
        pod.run();
        assert!(is_empty(&pod.path("host")), "through {link}");
        assert_eq!(pod.state()["phase"], "exited");
    }
}

#[test]
fn a_file_through_a_planted_link_makes_nothing_on_the_host() {
    if !is_root() {
        return;
    }
    for link in ["rel", "abs", "chain"] {
        let pod = pod_with_planted_links();
        let mounts = json!([{"source": pod.path("volume"), "target": "/data"}]);
        let files = json!({format!("/data/{link}/made"): "text"});
        let pod = pod.with("mounts", mounts).with("files", files);
        pod.run();
        assert!(is_empty(&pod.path("host")), "through {link}");
    }
}

#[test]
fn a_sub_path_that_leads_out_of_its_volume_is_refused() {
    if !is_root() {
        return;
    }
    for link in ["rel", "abs", "chain", "l2"] {
        let pod = pod_with_planted_links();
        let mounts = json!([{"source": pod.path("volume"), "sub_path": link, "target": "/data"}]);
        let pod = pod.with("mounts", mounts);
        assert!(!pod.run().status.success(), "{link}");
        assert_eq!(pod.state()["reason"], "StartError", "{link}");
    }
}

#[test]
fn a_sub_path_within_its_volume_is_mounted() {
    if !is_root() {
        return;
    }
    let pod = Pod::shell("cat /data/name");
    std::fs::write(pod.make_directory("volume/inner").join("name"), "inner\n").unwrap();
    let mounts = json!([{"source": pod.path("volume"), "sub_path": "inner", "target": "/data"}]);
    let pod = pod.with("mounts", mounts);
    assert!(pod.run().status.success());
    assert_eq!(pod.said(), "inner");
}

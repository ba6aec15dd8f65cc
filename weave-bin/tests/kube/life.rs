//! `weave lab cluster`: it finds nothing wrong and leaves nothing behind.

use std::process::{Command, Stdio};

use serde_json::Value;
use weave_datapath::netns::list_named;

#[test]
fn a_cluster_of_the_lab_lives_through_its_steps() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let name = format!("wlc-{}", std::process::id());
    let directory = std::env::temp_dir().join(&name);
    let output = Command::new(env!("CARGO_BIN_EXE_weave"))
        .args(["lab", "cluster", "--nodes", "3", "--pods", "1", "--json"])
        .args(["--outage", "2", "--skip", "drain"])
        .args(["--name", &name, "--state-dir"])
        .arg(&directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();

    let told = String::from_utf8_lossy(&output.stderr);
    let found: Value = serde_json::from_slice(&output.stdout).expect(&told);
    assert!(output.status.success(), "{told}\n{found:#}");
    assert_eq!(found["nodes"].as_array().unwrap().len(), 4);
    assert_eq!(found["rings"], 1);
    assert_eq!(found["reclaim_s"].as_array().unwrap().len(), 1);
    for nothing in ["duplicate_addresses", "leaked"] {
        assert_eq!(found[nothing], Value::Array(Vec::new()), "{nothing}");
    }
    let events = found["events"].to_string();
    for words in [
        "another machine is node-2",
        "machine id of node-1",
        "API server was away",
        "ended while its daemon was away",
        "node-4 joined",
    ] {
        assert!(events.contains(words), "{words}: {events}");
    }
    let left = list_named().unwrap();
    assert!(
        !left.iter().any(|other| other.starts_with(&name)),
        "{left:?}"
    );
    assert!(!directory.exists());
}

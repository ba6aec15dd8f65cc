//! The overlay bench on the running kernel: its numbers are complete, and it leaves nothing behind.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

/// Whether this test can run; says so if not.
fn can_run() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// A name for the lab of a test.
fn name(test: &str) -> String {
    format!("wt-bench-{test}-{}", std::process::id())
}

fn bench(name: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
    command
        .args(["lab", "bench", "overlay", "--name", name])
        .args(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What is left of a lab: namespaces and files.
fn remains(name: &str) -> Vec<String> {
    let namespaces = std::fs::read_dir("/run/netns").into_iter().flatten();
    let names = namespaces
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut left: Vec<String> = names.filter(|entry| entry.starts_with(name)).collect();
    if Path::new("/run").join(name).exists() {
        left.push("files".to_owned());
    }
    left
}

#[test]
fn every_metric_has_a_sample_of_every_path_in_every_round() {
    if !can_run() {
        return;
    }
    let name = name("json");

    let words = ["--json", "--rounds", "2", "--seconds", "0.2"];
    let output = bench(&name, &words).output().unwrap();

    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{progress}");
    assert!(progress.contains("round 2 of 2"), "{progress}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["rounds"], &report["hosts"]),
        (&2.into(), &2.into())
    );
    assert_eq!(report["overlay"], "fastdp", "nothing else was measured");
    assert_eq!(report["mtu"], 1376);
    assert!(report["elapsed_s"].as_f64().unwrap() > 1.0);
    let metrics = report["metrics"].as_array().unwrap();
    assert_eq!(metrics.len(), 7);
    for metric in metrics {
        for path in ["ours", "vxlan", "plain"] {
            let runs = metric["runs"][path].as_array().unwrap();
            assert_eq!(runs.len(), 2, "{metric}");
            assert!(
                runs.iter().all(|run| run.as_f64().unwrap() > 0.0),
                "{metric}"
            );
            assert!(metric[path].as_f64().unwrap() > 0.0, "{metric}");
        }
        assert!(metric["ratio_vxlan"].as_f64().unwrap() > 0.0, "{metric}");
        assert!(metric["ratio_plain"].as_f64().unwrap() > 0.0, "{metric}");
        let is_time = metric["unit"] == "us";
        assert_eq!(metric["added_us_vxlan"].is_f64(), is_time, "{metric}");
    }
    assert_eq!(remains(&name), Vec::<String>::new());
}

#[test]
fn encrypted_sleeve_is_measured_beside_the_same_paths() {
    if !can_run() {
        return;
    }
    let name = name("sealed");

    let words = [
        "--json",
        "--rounds",
        "1",
        "--seconds",
        "0.2",
        "--password",
        "x",
    ];
    let output = bench(&name, &words).output().unwrap();

    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{progress}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["overlay"], &report["encrypted"]),
        (&"sleeve".into(), &true.into())
    );
}

#[test]
fn an_interrupted_bench_removes_what_it_made() {
    if !can_run() {
        return;
    }
    let name = name("int");
    let mut child = bench(&name, &[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("round 1 of 7")));
    assert!(!remains(&name).is_empty());

    let pid = Pid::from_raw(child.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();

    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(remains(&name), Vec::<String>::new());
}

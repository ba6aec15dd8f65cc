//! The committed kernel objects are what their sources compile to.
#![cfg(feature = "bpf")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, process::Command};

#[test]
fn the_object_of_the_fast_path_is_up_to_date() {
    is_up_to_date("weave.bpf");
}

#[test]
fn the_object_of_the_faults_is_up_to_date() {
    is_up_to_date("faults.bpf");
}

fn is_up_to_date(name: &str) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf");
    let compiler = Command::new("clang-14").arg("--version").output();
    if !compiler.is_ok_and(|output| output.status.success()) {
        println!("skipped: needs clang-14");
        return;
    }
    let dir = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let object = dir.join(format!("{name}.o"));

    let built = Command::new(sources.join("build.sh"))
        .arg(&object)
        .arg(format!("{name}.c"))
        .output();

    let built = built.unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let (new, committed) = (
        std::fs::read(&object).unwrap(),
        std::fs::read(sources.join(format!("{name}.o"))).unwrap(),
    );
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(new == committed, "run bpf/build.sh and commit the object");
}

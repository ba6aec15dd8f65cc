//! A network namespace of a test's own, and the `nft` program in it.

#![allow(
    dead_code,
    reason = "every test binary uses its own part of this module"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

/// Runs a test on a thread in a network namespace without a name, which is gone when the thread
/// and its sockets are. Says so and does nothing without root.
pub(crate) fn inside<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        test()
    });
    match thread.join() {
        Ok(value) => Some(value),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Whether the `nft` program is installed; says so when not.
pub(crate) fn has_nft() -> bool {
    let has = Command::new("nft")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !has {
        println!("skipped: needs the nft program");
    }
    has
}

/// Runs a program in the namespace of this thread, with a text as its input; its output.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .map_err(|error| error.to_string())?;
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Runs the `nft` program; panics with what it says if it fails.
pub(crate) fn nft(arguments: &[&str], input: &str) -> String {
    run("nft", arguments, input)
        .unwrap_or_else(|error| panic!("nft {arguments:?}: {error}\n{input}"))
}

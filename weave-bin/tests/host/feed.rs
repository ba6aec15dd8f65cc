//! Programs that read from their standard input, run in a namespace.

use std::io::Write as _;
use std::process::{Command, Stdio};

use weave_datapath::netns::Namespace;

/// The output of a program in `host` that reads `input`.
pub(crate) fn feed(host: &Namespace, line: &str, input: &str) -> String {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = host.run(|| command.spawn()).unwrap().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

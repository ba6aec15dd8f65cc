//! The operator's commands as processes, against a daemon in this process and against none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;
use tokio::sync::oneshot;
use weave_bin::args::daemon::Settings;
use weave_bin::daemon::{Daemon, Plumbing};

/// A daemon without a network of its own, on a thread of its own; it ends when dropped.
struct Running {
    address: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    scratch: std::path::PathBuf,
}

impl Running {
    fn start(test: &str) -> Self {
        let name = format!("weave-cli-{test}-{}", std::process::id());
        let scratch = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&scratch).unwrap();
        let words: Vec<String> = [
            "--name=::1".to_owned(),
            "--nickname=host-0".to_owned(),
            "--host=127.0.0.1".to_owned(),
            "--port=0".to_owned(),
            "--no-dns".to_owned(),
            "--http-addr=127.0.0.1:0".to_owned(),
            "--ipalloc-range=10.32.0.0/12".to_owned(),
            "--ipalloc-init=seed=::1".to_owned(),
            format!("--db-prefix={}", scratch.join("weave").display()),
        ]
        .into();
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let settings = Settings::read(&words, |_| None).unwrap();
                let daemon = Daemon::start(settings, Plumbing::None).await.unwrap();
                tell.send(daemon.http_address().unwrap().to_string())
                    .unwrap();
                let _ = stopped.await;
                daemon.stop().await;
            });
        });
        let address = told.recv().unwrap();
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
            scratch,
        }
    }

    fn weave(&self, words: &[&str]) -> Said {
        weave(&self.address, words)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(thread::JoinHandle::join);
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

/// What a command printed, and its exit status.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    stdout: String,
    stderr: String,
    code: i32,
}

fn weave(address: &str, words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
    command.args(words).env("WEAVE_HTTP_ADDR", address);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Said {
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
        code: status.code().unwrap(),
    }
}

/// An address where nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn pages_are_printed_as_scripts_expect_them() {
    let daemon = Running::start("pages");

    let overview = daemon.weave(&["--local", "status"]);
    let peers = daemon.weave(&["status", "peers"]);
    let targets = daemon.weave(&["status", "targets"]);
    let shares = daemon.weave(&["status", "ipam"]);

    assert_eq!((overview.code, overview.stderr.as_str()), (0, ""));
    assert!(
        overview.stdout.starts_with("\n        Version: "),
        "{}",
        overview.stdout
    );
    assert!(
        overview
            .stdout
            .ends_with("  DefaultSubnet: 10.32.0.0/12\n\n"),
        "{}",
        overview.stdout
    );
    assert_eq!(peers.stdout, "00:00:00:00:00:01(host-0)\n");
    assert_eq!((targets.stdout.as_str(), targets.code), ("", 0));
    let line = "00:00:00:00:00:01(host-0)              1048576 IPs (100.0% of total) (0 active)\n";
    assert_eq!(shares.stdout, line);
}

#[test]
fn json_comes_whole_or_in_part() {
    let daemon = Running::start("json");

    let report = daemon.weave(&["report"]);
    let part = daemon.weave(&["status", "ipam", "--json"]);

    let whole: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(whole["Router"]["Name"], "00:00:00:00:00:01");
    assert!(!report.stdout.ends_with('\n'));
    assert_eq!(
        serde_json::from_str::<Value>(&part.stdout).unwrap(),
        whole["IPAM"]
    );
}

#[test]
fn templates_are_rendered_by_the_daemon() {
    let daemon = Running::start("template");
    let render = |template: &str| daemon.weave(&["report", "-f", template]);

    let said = render(
        "{{.Router.Name}}({{.Router.NickName}}) {{len .Router.Peers}}{{range .Router.Targets}}{{.}}{{end}}",
    );
    assert_eq!(
        (said.stdout.as_str(), said.code),
        ("00:00:00:00:00:01(host-0) 1", 0)
    );
    let said = render("{{.Bogus}}");
    let text = "error during template execution: can't evaluate field Bogus in type struct\n";
    assert_eq!((said.stderr.as_str(), said.code), (text, 1));
    let said = render("{{");
    let text = "template: format:1: unclosed action\n";
    assert_eq!((said.stderr.as_str(), said.code), (text, 1));
    assert_eq!(render("").code, 0);
}

#[test]
fn commands_do_and_say_what_they_did() {
    let daemon = Running::start("do");

    assert_eq!(daemon.weave(&["prime"]).code, 0);
    let said = daemon.weave(&["rmpeer", "nosuch", "other"]);
    let text = "0 IPs taken over from nosuch\n0 IPs taken over from other\n";
    assert_eq!((said.stdout.as_str(), said.code), (text, 0));
    assert_eq!(daemon.weave(&["connect", "127.0.0.1:1"]).code, 0);
    assert_eq!(daemon.weave(&["status", "targets"]).stdout, "127.0.0.1:1\n");
    assert_eq!(daemon.weave(&["forget", "127.0.0.1:1", "unknown"]).code, 0);
    let bad = daemon.weave(&["connect", "bad..host"]);
    assert_eq!(
        (bad.code, bad.stderr.as_str()),
        (1, "lookup bad..host: no such host\n")
    );
    assert!(daemon.weave(&["version"]).stdout.starts_with("weave 3."));
}

#[test]
fn without_a_daemon_the_reason_is_told() {
    let address = nowhere();
    let reason = format!("cannot reach weave daemon at {address}: connection refused\n");

    let status = weave(&address, &["status"]);
    let connect = weave(&address, &["connect", "10.0.0.1"]);
    let remove = weave(&address, &["rmpeer", "x"]);
    let version = weave(&address, &["version"]);

    assert_eq!(
        status,
        Said {
            stdout: "\n\n".to_owned(),
            stderr: reason.clone(),
            code: 1
        }
    );
    assert_eq!((connect.code, &connect.stderr), (7, &reason));
    assert_eq!((remove.code, &remove.stderr), (1, &reason));
    assert_eq!((version.code, version.stderr.as_str()), (0, ""));
}

#[test]
fn words_that_are_no_command_get_the_usage() {
    for (words, first, code) in [
        (vec!["bogus"], "Unknown weave command 'bogus'", 1),
        (
            vec!["status", "endpoints"],
            "Invalid 'weave status' sub-command: endpoints",
            1,
        ),
        (vec!["connect"], "Usage: weave", 1),
        (vec![], "Usage: weave", 1),
        (vec!["help"], "Usage: weave", 0),
        (vec!["status", "--help"], "Usage: weave", 0),
    ] {
        let said = weave(&nowhere(), &words);

        assert_eq!((said.code, said.stdout.as_str()), (code, ""), "{words:?}");
        assert!(said.stderr.starts_with(first), "{words:?}: {}", said.stderr);
        assert!(
            said.stderr.contains("Usage: weave"),
            "{words:?}: {}",
            said.stderr
        );
    }
}

#[test]
fn a_reader_that_went_away_is_no_panic() {
    for words in [
        &["lab", "--help"][..],
        &["version"],
        &["status"],
        &["weaver", "--version"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_weave"))
            .args(words)
            .env("WEAVE_HTTP_ADDR", "127.0.0.1:1")
            .stdout(writer)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{words:?}: {stderr}");
        assert_ne!(output.status.code(), Some(101), "{words:?}");
    }
}

/// The lines a program wrote to standard error, each of them JSON.
fn json_lines(words: &[&str], variable: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_weave"))
        .args(words)
        .env("WEAVE_LOG_FORMAT", variable)
        .env_remove("WEAVE_HTTP_ADDR")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let read = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{words:?}: {line}"));
    text.lines().map(read).collect()
}

#[test]
fn every_program_writes_json_from_its_first_line_on() {
    for (words, variable, level) in [
        (
            &["weaver", "--log-format=json", "--bogus"][..],
            "text",
            "fatal",
        ),
        (&["weaver", "--port=x"], "json", "fatal"),
        (
            &["weave-npc", "--log-format", "json", "--bogus"],
            "",
            "fatal",
        ),
        (&["weave-npc", "--control-addr=here"], "json", "fatal"),
        (&["weave-net"], "json", "info"),
    ] {
        let lines = json_lines(words, variable);

        let last = lines
            .last()
            .unwrap_or_else(|| panic!("{words:?} says nothing"));
        assert_eq!(last["level"], level, "{words:?}: {last}");
        assert!(last["time"].as_str().unwrap().ends_with('Z'), "{last}");
        assert!(!last["message"].as_str().unwrap().is_empty(), "{last}");
    }
}

#[test]
fn the_table_and_the_page_are_printed_by_commands() {
    let running = Running::start("top");

    let page = weave(&running.address, &["report", "--html"]);
    let once = weave(&running.address, &["top", "--once"]);
    let json = weave(&running.address, &["top", "--once", "--json"]);
    let tried = weave(&running.address, &["connectivity", "--json"]);

    assert_eq!(page.code, 0, "{}", page.stderr);
    assert!(
        page.stdout.starts_with("<!DOCTYPE html>"),
        "{}",
        page.stdout
    );
    assert_eq!(once.code, 0, "{}", once.stderr);
    assert!(once.stdout.starts_with("host-0 "), "{}", once.stdout);
    assert!(once.stdout.contains("0 of 10.32.0.0/12"), "{}", once.stdout);
    let top: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(top["seconds"].as_f64().unwrap() > 0.5, "{top}");
    assert_eq!(top["node"]["nickname"], "host-0");
    assert_eq!(
        (tried.code, tried.stdout.as_str()),
        (0, "[]\n"),
        "{}",
        tried.stderr
    );
    for words in [
        &["top", "--once"][..],
        &["connectivity"],
        &["report", "--html"],
    ] {
        assert_eq!(weave(&nowhere(), words).code, 7, "{words:?}");
    }
}

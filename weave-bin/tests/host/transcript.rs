//! The command lines that were recorded with a Weave Net between two peers, typed here.

use std::process::{Child, Command, Output, Stdio};

use crate::node::{HOST, Node};

/// A command line with what came of it.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    line: String,
    stdout: String,
    stderr: String,
    code: i32,
}

/// The recorded ones.
fn recorded() -> Vec<Said> {
    let text = include_str!("../vectors/cli/cli-transcript.txt");
    let blocks = text.split(">>> weave --local ").skip(1);
    let said = blocks.map(|block| {
        let (line, rest) = block.split_once("\n--- stdout\n").unwrap();
        let (stdout, rest) = rest.split_once("--- stderr\n").unwrap();
        let (stderr, rest) = rest.split_once("--- exit ").unwrap();
        Said {
            line: line.to_owned(),
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
            code: rest.trim().parse().unwrap(),
        }
    });
    said.collect()
}

/// Why a recorded line is answered otherwise.
fn differs(line: &str) -> Option<&'static str> {
    match line {
        "status dns" => Some("a page without lines is no failure"),
        "status bogus" | "status endpoints" => Some("no word about a container"),
        "ps" => Some("no Docker is asked"),
        "dns-add 10.32.0.5 -h foo.weave.local" => Some("says that there is no name server"),
        _ => None,
    }
}

/// Versions, ports, counts and shares, which are of the moment; and overlays, which are not tried here.
fn masked(said: &Said) -> Said {
    let mask = |text: &str| {
        let mut masked = String::new();
        let mut digits = false;
        for letter in text.chars() {
            if !letter.is_ascii_digit() {
                masked.push(letter);
            } else if !digits {
                masked.push('#');
            }
            digits = letter.is_ascii_digit();
        }
        let mut words: Vec<&str> = masked.split(' ').filter(|word| !word.is_empty()).collect();
        // However many parts the ring has.
        words.dedup();
        words.join(" ")
    };
    let is_of_the_moment = ["status", "version", "report"]
        .iter()
        .any(|word| said.line.starts_with(word));
    let show = |text: &str| {
        if is_of_the_moment {
            mask(text)
        } else {
            text.to_owned()
        }
    };
    Said {
        line: said.line.clone(),
        stdout: show(&said.stdout),
        stderr: said.stderr.clone(),
        code: said.code,
    }
}

/// Words of a recorded line, each as it was given.
fn words(line: &str) -> Vec<&str> {
    match line.strip_prefix("report -f ") {
        Some(template) => vec!["report", "-f", template],
        None => line.split(' ').collect(),
    }
}

fn typed(node: &Node, line: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
    command.arg("--local").args(words(line));
    command.env_remove("WEAVE_HTTP_ADDR");
    let Output {
        status,
        stdout,
        stderr,
    } = node.host.run(|| command.output()).unwrap().unwrap();
    let mut stderr = String::from_utf8(stderr).unwrap();
    if let Some(start) = stderr.find("Usage: weave") {
        stderr.replace_range(start.., "[usage text omitted]\n");
    }
    Said {
        line: line.to_owned(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr,
        code: status.code().unwrap(),
    }
}

/// A second peer, outside; it ends when dropped.
struct Second(Child);

impl Second {
    fn start(node: &Node) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command
            .args([
                "weaver",
                "--no-dns",
                "--no-overlay",
                "--name=::2",
                "--http-addr=",
            ])
            .args(["--nickname=host-1", "--ipalloc-range=10.32.0.0/12"])
            .args(["--ipalloc-init=seed=::1,::2", HOST])
            .arg(format!("--db-prefix={}", node.path("second").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(node.outside.run(|| command.spawn()).unwrap().unwrap())
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn recorded_command_lines_say_what_they_said() {
    let Some(mut node) = Node::new("transcript", &[]) else {
        return;
    };
    node.start(&[
        "--nickname=host-0",
        "--ipalloc-init=seed=::1,::2",
        "--min-protocol-version=1",
    ]);
    let _second = Second::start(&node);
    node.until("the second peer is there", |node| {
        let connections = typed(node, "status connections").stdout;
        connections.contains(" established ")
    });
    // What those before the recorded ones left behind.
    node.ask("POST", "/ip/c0ffee01");
    for address in ["10.32.0.77", "10.32.0.78"] {
        node.ask("POST", &format!("/expose/{address}/12"));
    }

    let mut wrong = Vec::new();
    let mut compared = 0;
    for expected in recorded() {
        if differs(&expected.line).is_some() {
            continue;
        }
        compared += 1;
        let mut found = typed(&node, &expected.line);
        found.stdout = as_recorded(&expected.line, &found.stdout);
        let (expected, found) = (masked(&expected), masked(&found));
        if expected != found {
            wrong.push((expected, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(compared, 25);

    let odd = typed(&node, "status bogus");
    assert!(
        odd.code == 1
            && odd
                .stderr
                .starts_with("Invalid 'weave status' sub-command: bogus\n"),
        "{odd:?}"
    );
}

/// The page as it would be with the addresses and the overlay of the recorded one.
fn as_recorded(line: &str, page: &str) -> String {
    if !["status", "report", "version"]
        .iter()
        .any(|word| line.starts_with(word))
    {
        return page.to_owned();
    }
    let released = env!("CARGO_PKG_VERSION").split('-').next().unwrap();
    page.replace(env!("CARGO_PKG_VERSION"), released)
        .replace(" none   ", " sleeve ")
        .replace("\"none   ", "\"sleeve ")
        .replace("(host-1) \n", "(host-1) mtu=1438\n")
        .replace(
            "\"Attrs\":null",
            "\"Attrs\":{\"mtu\":1438,\"name\":\"sleeve\"}",
        )
}

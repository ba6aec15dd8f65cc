//! The commands of a plain host, as an operator types them: attach, ps, detach, launch, stop.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::ip;
use crate::node::{BRIDGE, Node, block_on, seen_by};
use weave_datapath::netlink::{Netlink, mac_text};

impl Node {
    /// What a command prints on standard output or, if it fails, standard error, and its exit status.
    fn weave(&self, words: &[&str]) -> (String, i32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command.args(words).stdin(Stdio::null());
        let output = self.host.run(|| command.output()).unwrap().unwrap();
        let said = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        let code = output.status.code().unwrap();
        (String::from_utf8(said).unwrap(), code)
    }
}

#[test]
fn a_namespace_joins_and_leaves_by_hand() {
    let Some(mut node) = Node::new("byhand", &[]) else {
        return;
    };
    node.start(&[]);
    node.expose("");
    let blue = node.namespace("blue");
    let target = blue.path().display().to_string();
    let id = blue
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();

    // What is another's is refused, and nothing stays.
    let (text, code) = node.weave(&["attach", "net:default", "10.32.0.1/12", &target]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("already owned by weave:expose"), "{text}");
    assert_eq!(node.ask("GET", &format!("/ip/{id}")), "");
    assert_eq!(node.weave(&["attach", "/proc/self/ns/net"]).1, 1);

    assert_eq!(
        node.weave(&["attach", "10.32.0.9/12", &target]),
        ("10.32.0.9\n".to_owned(), 0)
    );
    assert_eq!(seen_by(&blue, &node.host, BRIDGE), ip("10.32.0.9"));
    assert_eq!(node.weave(&["attach", &target]).0, "10.32.0.9\n");
    let (second, code) = node.weave(&["attach", "10.32.0.10/12", &target]);
    assert_eq!(code, 0, "{second}");

    let mac = block_on(async {
        let netlink = Netlink::open_in(&blue).unwrap();
        mac_text(netlink.require_link("ethwe").await.unwrap().mac.unwrap())
    });
    let (list, _) = node.weave(&["ps"]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(
        lines[0].starts_with("weave:expose ") && lines[0].ends_with(" 10.32.0.1/12"),
        "{list}"
    );
    let short: String = id.chars().take(12).collect();
    assert!(lines[1].starts_with(&format!("{short} {mac} ")), "{list}");
    assert!(
        lines[1].contains(" 10.32.0.9/12") && lines[1].contains(second.trim()),
        "{list}"
    );
    assert_eq!(node.weave(&["ps", "weave:expose"]).0.lines().count(), 1);
    assert_eq!(node.weave(&["bridge-type"]), ("bridge\n".to_owned(), 0));

    assert_eq!(
        node.weave(&["detach", "10.32.0.9/12", &target]),
        ("10.32.0.9\n".to_owned(), 0)
    );
    assert_eq!(seen_by(&blue, &node.host, BRIDGE), ip(second.trim()));
    assert_eq!(node.weave(&["detach", &target]), (second, 0));
    let link = block_on(async {
        let netlink = Netlink::open_in(&blue).unwrap();
        netlink.link_by_name("ethwe").await.unwrap()
    });
    assert_eq!(link, None);
    assert_eq!(node.ask("GET", &format!("/ip/{id}")), "");
    assert_eq!(node.weave(&["detach", &target]), (String::new(), 0));
}

#[test]
fn another_bridge_is_joined_once() {
    let Some(mut node) = Node::new("bridges", &[]) else {
        return;
    };
    node.start(&[]);
    let (text, code) = node.weave(&["attach-bridge", "br0"]);
    assert!(code == 1 && text.contains("interface br0"), "{text}");
    let link = |name: &str| {
        block_on(async {
            let netlink = Netlink::open_in(&node.host).unwrap();
            netlink.link_by_name(name).await.unwrap()
        })
    };
    block_on(async {
        let netlink = Netlink::open_in(&node.host).unwrap();
        netlink.create_bridge("br0", None, 1500).await.unwrap();
    });

    for _ in 0..2 {
        assert_eq!(node.weave(&["attach-bridge", "br0"]), (String::new(), 0));
        let [ours, theirs] = ["vethweblbr0", "vethwebgbr0"].map(|name| link(name).unwrap());
        assert_eq!(ours.master, Some(link("weave").unwrap().index));
        assert_eq!(theirs.master, Some(link("br0").unwrap().index));
        assert!(ours.up && theirs.up);
    }
}

#[test]
fn exposing_is_answered_as_recorded() {
    let Some(mut node) = Node::new("recorded", &[]) else {
        return;
    };
    node.start(&[]);
    let cases = include_str!("../vectors/http-cases.json");
    let cases: Value = serde_json::from_str(cases).unwrap();
    let cases = cases["cases"].as_array().unwrap().iter();
    let mut replayed = 0;

    for case in cases {
        let path = case["request"]["path"].as_str().unwrap();
        if !path.starts_with("/expose/") {
            continue;
        }
        let (status, body) = node.answer("POST", path);
        assert_eq!(Value::from(status), case["status"], "{path}");
        assert_eq!(body, case["body"].as_str().unwrap(), "{path}");
        replayed += 1;
    }

    assert_eq!(replayed, 6);
}

/// Ends the daemon of a test that fails half way.
struct Launched<'n>(&'n Node, String);

impl Drop for Launched<'_> {
    fn drop(&mut self) {
        self.0.weave(&["stop", &self.1]);
    }
}

#[test]
fn a_daemon_is_launched_and_stopped_without_a_service_manager() {
    let Some(node) = Node::new("launch", &[]) else {
        return;
    };
    let prefix = format!("--db-prefix={}", node.path("weave").display());
    let log = format!("--log-file={}", node.path("log").display());
    let bpf = format!("--bpf-dir={}", node.path("bpf").display());
    let words = [
        "launch",
        &log,
        &prefix,
        &bpf,
        "--no-overlay",
        "--name=::1",
        "--password=hush",
    ];
    let _guard = Launched(&node, prefix.clone());

    let mut clash = words.to_vec();
    clash.push("--ipalloc-range=192.0.2.0/24");
    let (text, code) = node.weave(&clash);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("overlaps with existing route"), "{text}");

    assert_eq!(node.weave(&words), (String::new(), 0));
    let (page, code) = node.weave(&["status"]);
    assert_eq!(code, 0, "{page}");
    assert!(
        page.contains("Encryption: enabled") && page.contains("10.32.0.0/12"),
        "{page}"
    );
    assert_eq!(
        node.weave(&words),
        ("weave is already running\n".to_owned(), 1)
    );

    assert_eq!(node.weave(&["stop", &prefix]), (String::new(), 0));
    assert_eq!(node.weave(&["status"]).1, 1);
    assert_eq!(node.weave(&["stop", &prefix]), (String::new(), 0));
}

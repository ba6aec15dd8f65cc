//! The policy controller on the real kernel: manifests in, packets out.
//!
//! Needs root; else, or without a program, a test prints one line and passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attach;
mod closed;
#[cfg(feature = "kube")]
mod cluster;
#[path = "../host/feed.rs"]
mod feed;
#[path = "../host/ground.rs"]
mod ground;
mod node;
mod start;
mod storm;

use std::time::Duration;

use node::{Line, Node, reaches};
use serde_json::Value;

/// Three pods of one node, without policies.
pub(crate) const WORLD: &str = "
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.32.0.2}]}
---
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.32.0.3}]}
---
kind: Pod
metadata: {namespace: shop, name: other, labels: {app: other}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.32.0.4}]}
";
/// Only `web` may talk to `db`.
pub(crate) const POLICY: &str = "
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]
";

#[test]
fn a_file_that_changes_changes_what_passes() {
    let Some(mut node) = Node::new("files", &[]) else {
        return;
    };
    let [web, db, other] = ["10.32.0.2", "10.32.0.3", "10.32.0.4"].map(|ip| node.pod(ip));
    node.write("world.yaml", WORLD);
    node.start(&[]);
    assert!(reaches(&other, &db, "10.32.0.3:80"), "{}", node.log());

    node.write("policy.yaml", POLICY);
    node.sync();
    assert!(!reaches(&other, &db, "10.32.0.3:81"), "{}", node.log());
    assert!(reaches(&web, &db, "10.32.0.3:82"), "{}", node.log());

    node.write("world.yaml", &WORLD.replace("app: other", "app: web"));
    node.sync();
    assert!(reaches(&other, &db, "10.32.0.3:83"), "{}", node.log());

    node.write(
        "policy.yaml",
        "kind: NetworkPolicy\nmetadata: {namespace: shop, name: db}\n",
    );
    node.write("world.yaml", WORLD);
    node.sync();
    assert!(
        !reaches(&other, &db, "10.32.0.3:84"),
        "a bad policy opens nothing"
    );
    let status = node.status();
    assert_eq!(
        status["refused"][0],
        "NetworkPolicy shop/db: spec: is missing"
    );

    node.remove("policy.yaml");
    node.sync();
    assert!(reaches(&other, &db, "10.32.0.3:85"), "{}", node.log());
    assert_eq!(node.status()["refused"], Value::Array(vec![]));
}

#[test]
fn only_connections_that_lost_permission_are_cut() {
    let Some(mut node) = Node::new("cut", &[]) else {
        return;
    };
    let [web, db, other] = ["10.32.0.2", "10.32.0.3", "10.32.0.4"].map(|ip| node.pod(ip));
    node.write("world.yaml", WORLD);
    node.start(&[]);
    let mut allowed = Line::open(&web, &db, "10.32.0.3:80");
    let mut lost = Line::open(&other, &db, "10.32.0.3:81");
    let mut away = Line::open(&db, &other, "10.32.0.4:82");
    let mut own = Line::open(&node.host, &db, "10.32.0.3:83");
    let patience = Duration::from_secs(5);
    assert!(lost.carries(patience));

    node.write("policy.yaml", POLICY);
    node.sync();

    assert!(!lost.carries(Duration::from_millis(700)), "{}", node.log());
    for line in [&mut allowed, &mut away, &mut own] {
        assert!(line.carries(patience), "{}", node.log());
    }
    assert_eq!(node.status()["counts"]["cut_connections"], 1);
}

#[test]
fn what_others_flush_is_there_again() {
    let Some(mut node) = Node::new("flush", &["nft"]) else {
        return;
    };
    let [db, other] = ["10.32.0.3", "10.32.0.4"].map(|ip| node.pod(ip));
    node.write("world.yaml", WORLD);
    node.write("policy.yaml", POLICY);
    node.start(&[]);
    // Listening begins with the first look around.
    node.until("it is told of changes", |node| {
        node.status()["counts"]["commits"] != 0
    });

    for round in 1..=3 {
        node.run("nft flush ruleset");
        let took = node.until("the table is back", |node| {
            node.run("nft list tables").contains("table inet weave-npc")
        });
        assert!(took < Duration::from_secs(2), "{took:?}");
        node.until("it is counted", |node| {
            node.status()["counts"]["repairs"] == round
        });
    }
    assert!(!reaches(&other, &db, "10.32.0.3:80"), "{}", node.log());
}

#[test]
fn a_blocked_connection_is_logged_explained_and_counted() {
    let Some(mut node) = Node::new("log", &[]) else {
        return;
    };
    let [db, other] = ["10.32.0.3", "10.32.0.4"].map(|ip| node.pod(ip));
    node.write("world.yaml", WORLD);
    node.write("policy.yaml", POLICY);
    node.start(&[]);

    assert!(!reaches(&other, &db, "10.32.0.3:5432"));

    node.until("the line is there", |node| {
        node.log().contains("blocked by Weave NPC.")
    });
    let log = node.log();
    let line = log
        .lines()
        .find(|line| line.contains("blocked by"))
        .unwrap();
    let sentence = line.split_once(" TCP connection from 10.32.0.4:").unwrap();
    assert!(sentence.0.starts_with("WARN: 20"), "{line}");
    assert!(
        sentence
            .1
            .ends_with(" to 10.32.0.3:5432 blocked by Weave NPC."),
        "{line}"
    );

    let shown = node.weave("npc blocked --json");
    let records: Vec<Value> = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(records[0]["from_pod"], "shop/other");
    assert_eq!(records[0]["policies"][0], "shop/db");
    let missing = "shop/db rule 0: asks for pod label app=web, has app=other";
    assert_eq!(records[0]["missing"], missing);

    let shown = node.weave("npc explain shop/other shop/db 5432/TCP");
    assert_eq!(shown.status.code(), Some(1));
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.contains("denied: ingress of shop/db is isolated by shop/db"),
        "{text}"
    );
    let shown = node.weave("npc explain shop/web shop/db 5432/TCP");
    assert_eq!(shown.status.code(), Some(0));

    let shown = String::from_utf8(node.weave("npc status").stdout).unwrap();
    assert!(shown.contains("Rules: in force"), "{shown}");
    let page = node.try_get("/metrics").unwrap().body;
    let family = "weavenpc_blocked_connections_total{dport=\"5432\",protocol=\"tcp\"} ";
    assert!(page.contains(family), "{page}");
}

#[test]
fn rules_count_the_connections_they_decide() {
    let Some(mut node) = Node::new("rules", &[]) else {
        return;
    };
    let [web, db, other] = ["10.32.0.2", "10.32.0.3", "10.32.0.4"].map(|ip| node.pod(ip));
    node.write("world.yaml", WORLD);
    node.write("policy.yaml", POLICY);
    node.start(&[]);

    assert!(reaches(&web, &db, "10.32.0.3:80"), "{}", node.log());
    assert!(!reaches(&other, &db, "10.32.0.3:81"), "{}", node.log());

    let shown = node.weave("npc rules --json");
    let rules: Vec<Value> = serde_json::from_slice(&shown.stdout).unwrap();
    let found = |outcome: &str, rule: &str| {
        let is_it = |found: &&Value| found["outcome"] == outcome && found["rule"] == rule;
        let found = rules.iter().find(is_it);
        found.and_then(|found| found["packets"].as_u64())
    };
    assert_eq!(found("allowed", "shop/db#0"), Some(1), "{rules:?}");
    let denied = found("denied", "ingress denied by shop/db");
    assert!(denied.is_some_and(|packets| packets >= 1), "{rules:?}");
    let text = String::from_utf8(node.weave("npc rules").stdout).unwrap();
    assert!(text.contains("ingress  allowed  shop/db#0"), "{text}");
}

#[test]
fn a_policy_in_audit_mode_is_logged_and_lets_pass() {
    let Some(mut node) = Node::new("audit", &[]) else {
        return;
    };
    let [db, other] = ["10.32.0.3", "10.32.0.4"].map(|ip| node.pod(ip));
    node.write("world.yaml", WORLD);
    let named = "name: db, annotations: {policy.weave.works/mode: audit}";
    node.write("policy.yaml", &POLICY.replacen("name: db", named, 1));
    node.start(&["--log-detail"]);

    assert!(reaches(&other, &db, "10.32.0.3:80"), "{}", node.log());

    node.until("it is logged", |node| {
        let log = node.log();
        log.contains("would be blocked by Weave NPC.") && log.contains("from=shop/other")
    });
    assert_eq!(node.status()["counts"]["blocked"], 0);
}

use std::path::PathBuf;

use clap::Parser as _;
use serde_json::Value;

use super::args::{Arguments, Command};
use super::*;

const WORLD: &str = "
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 172.16.0.1}]}
---
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.32.0.1}, {ip: 'fd00::1'}]}
---
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.32.0.2}]}
---
kind: Pod
metadata: {namespace: shop, name: done}
status: {phase: Succeeded, podIPs: [{ip: 10.32.0.3}]}
";
const CLOSED: &str = "
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
";

/// A directory of manifests that goes away with the test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let id = format!("weave-npc-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(id);
        for (file, text) in files {
            let file = path.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        Self(path)
    }

    fn run(&self, line: &str) -> Result<Outcome, Error> {
        let place = self.0.display().to_string();
        let line = line.replace('@', &place);
        let words = std::iter::once("weave npc").chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words).unwrap();
        carry_out(&arguments.command)
    }

    fn text(&self, line: &str) -> String {
        self.run(line).unwrap().text
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn shop(name: &str) -> Files {
    Files::new(name, &[("world.yaml", WORLD), ("policy.yaml", CLOSED)])
}

#[test]
fn one_connection_is_decided_with_its_reason() {
    let files = shop("one");

    let allowed = files
        .run("decide -f @ --from shop/web --to shop/db --port 5432")
        .unwrap();
    assert_eq!(
        allowed.text,
        "shop/web -> shop/db 5432/TCP: allowed: egress of shop/web is not isolated; \
         shop/db allows by ingress[0].from[0].ports[0]\n"
    );
    assert_eq!(allowed.code, ExitCode::SUCCESS);

    let denied = files
        .run("decide -f @ --from shop/web --to shop/db --port 80")
        .unwrap();
    assert_eq!(
        denied.text,
        "shop/web -> shop/db 80/TCP: denied: ingress of shop/db is isolated by shop/db; \
         closest is shop/db rule 0: the port does not match\n"
    );
    assert_eq!(denied.code, ExitCode::FAILURE);
}

#[test]
fn an_address_can_be_an_end() {
    let files = shop("address");

    let text = files.text("decide -f @ --from 192.0.2.1 --to shop/db --port 5432");

    assert!(
        text.contains("asks for a pod, the other end is none"),
        "{text}"
    );
}

#[test]
fn the_table_shows_every_pair() {
    let files = shop("table");

    let text = files.text("decide -f @ --all --ports 80/TCP");

    assert_eq!(
        text,
        "80/TCP IPv4\n             1 2\n1 shop/db    . .\n2 shop/web   X .\n\n\
         80/TCP IPv6\n             1 2\n1 shop/db    - -\n2 shop/web   - .\n\n\
         . allowed   X denied   - no address of the family\n"
    );
}

#[test]
fn json_is_a_list_of_records() {
    let files = shop("json");

    let text = files.text("decide -f @ --all --ports 80/TCP,53/UDP --json");

    let records: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(records.len(), 2 * (4 + 1));
    let mut keys: Vec<&String> = records[0].as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "allowed", "family", "from", "port", "protocol", "reason", "to"
        ]
    );
    let denied = records.iter().filter(|record| record["allowed"] == false);
    assert_eq!(denied.count(), 2);
}

#[test]
fn the_rules_of_a_node_are_printed() {
    let files = shop("render");

    let text = files.text("render -f @ --node n1");
    assert!(text.contains("table inet weave-npc"), "{text}");
    assert!(text.contains("10.32.0.2 : jump in-"), "{text}");

    let other = files.text("render -f @ --node n2 --json");
    let record: Value = serde_json::from_str(&other).unwrap();
    assert!(!record["ruleset"].as_str().unwrap().contains("10.32.0.2"));
}

#[test]
fn what_a_change_opens_and_closes_is_listed() {
    let files = Files::new(
        "diff",
        &[
            ("old/world.yaml", WORLD),
            ("new/world.yaml", WORLD),
            ("new/policy.yaml", CLOSED),
        ],
    );

    let text = files.text("diff -f @/old -f @/new --ports 80/TCP,5432/TCP");
    assert!(
        text.starts_with("- shop/web -> shop/db 80/TCP IPv4\n    was allowed: "),
        "{text}"
    );
    assert!(text.ends_with("0 connections opened, 1 closed\n"), "{text}");

    let text = files.text("diff -f @/new -f @/old --ports 80/TCP --json");
    let records: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["new"]["allowed"], true);
}

#[test]
fn a_bad_object_costs_only_itself() {
    let bad = "kind: NetworkPolicy\nmetadata: {name: bad}\n---\n";
    let files = Files::new("bad", &[("a.yaml", &format!("{bad}{WORLD}"))]);

    let (world, complaints) = input::read(std::slice::from_ref(&files.0)).unwrap();

    assert_eq!(world.pods().count(), 3);
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].ends_with("a.yaml: NetworkPolicy bad: spec: is missing"));
}

#[test]
fn a_question_without_answer_says_why() {
    let files = shop("why");
    let error = |line: &str| files.run(line).unwrap_err().to_string();

    assert_eq!(
        error("decide -f @ --from shop/done --to shop/db --port 1"),
        "pod shop/done is not in the pod network: it has no address of its own, or has ended"
    );
    assert!(error("decide -f @ --from nobody --to shop/db --port 1").starts_with("nobody is not"));
    assert!(error("decide -f @ --from fd00::9 --to shop/db --port 1").contains("in common"));
    assert!(error("diff -f @").starts_with("diff compares two inputs, 1 given"));
    assert!(error("render -f @/missing.yaml --node n").starts_with("cannot read"));
}

#[test]
fn words_are_checked() {
    let parse = |line: &str| {
        let words = std::iter::once("weave npc").chain(line.split_whitespace());
        Arguments::try_parse_from(words)
    };

    assert!(parse("decide -f a --from x/y --to x/z").is_err(), "no port");
    assert!(parse("decide -f a --all --ports 80/TCP,81/XTP").is_err());
    assert!(parse("decide --all").is_err(), "no files");
    let arguments = parse("decide -f a b -f c --all").unwrap();
    let Command::Decide(decide) = arguments.command else {
        panic!("another command");
    };
    assert_eq!(decide.files.files.len(), 3);
}

//! What a Weave Net router answered about addresses, replayed against daemons over real sockets.
//!
//! The records are in order, so the scenarios of one router run one after another. A request that
//! got no answer is left hanging while what follows is compared, and given up at the end. Three
//! records show faults, and what is better is checked in their place: a claim that was accepted
//! before there was a ring is kept, requests of callers that hung up are gone at once, and a
//! request for metrics without addresses is answered.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::args::daemon::Settings;
use crate::daemon::{Daemon, Plumbing};
use crate::http::client::Client;
use crate::store::tests::Scratch;

const RANGE: &str = "--ipalloc-range=10.32.0.0/12";

/// A daemon without a network of its own.
struct Node {
    daemon: Daemon,
    address: String,
    /// Requests that are not answered.
    hanging: Vec<TcpStream>,
}

/// What came back: status, head and body.
struct Answer {
    status: u64,
    head: String,
    body: String,
}

impl Node {
    async fn start(scratch: &Scratch, number: usize, words: &[&str]) -> Self {
        let mut line = vec![
            format!("--name=::{number}"),
            format!("--nickname=node{number}"),
            format!(
                "--db-prefix={}",
                scratch.path(&number.to_string()).display()
            ),
            "--host=127.0.0.1".to_owned(),
            "--port=0".to_owned(),
            "--no-dns".to_owned(),
            "--http-addr=127.0.0.1:0".to_owned(),
        ];
        line.extend(words.iter().map(|word| (*word).to_owned()));
        let settings = Settings::read(&line, |_| None).unwrap();
        let daemon = Daemon::start(settings, Plumbing::None).await.unwrap();
        let address = daemon.http_address().unwrap().to_string();
        Self {
            daemon,
            address,
            hanging: Vec::new(),
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.address).with_limit(Duration::from_secs(20))
    }

    async fn join(&self, other: &Self) {
        let target = other.daemon.mesh().listen_address().to_string();
        let form = [("peer", target.as_str())];
        assert!(
            self.client()
                .post_form("/connect", &form)
                .await
                .unwrap()
                .is_success()
        );
    }

    async fn send(&self, exchange: &Value) -> TcpStream {
        let (method, path) = (text(exchange, "method"), text(exchange, "path"));
        let body = exchange["body"].as_str().unwrap_or_default();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        for (name, value) in exchange["headers"].as_object().into_iter().flatten() {
            head.push_str(&format!("{name}: {}\r\n", value.as_str().unwrap()));
        }
        let length = body.len();
        let request = format!("{head}content-length: {length}\r\n\r\n{body}");
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, exchange: &Value) -> Answer {
        let mut stream = self.send(exchange).await;
        let mut raw = Vec::new();
        tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut raw))
            .await
            .unwrap_or_else(|_| panic!("no answer to {exchange}"))
            .unwrap();
        let raw = String::from_utf8(raw).unwrap();
        let (head, body) = raw.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    /// The part of the report about addresses.
    async fn report(&self) -> Value {
        let report = self.client().get_json("/report").await.unwrap().body;
        let report: Value = serde_json::from_str(&report).unwrap();
        report["IPAM"].clone()
    }

    /// Waits until the report says so.
    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        for _ in 0..600 {
            if holds(&self.report().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what}: {}", self.report().await);
    }

    /// Replays a scenario. How many exchanges were compared.
    async fn replay(&mut self, name: &str) -> usize {
        let mut compared = 0;
        for exchange in exchanges(name) {
            if exchange["status"].is_null() && !text(&exchange, "path").starts_with("/metrics") {
                let mut stream = self.send(&exchange).await;
                let mut first = [0];
                let answer = stream.read(&mut first);
                let waited = tokio::time::timeout(Duration::from_millis(200), answer).await;
                assert!(waited.is_err(), "{exchange} is answered");
                self.hanging.push(stream);
                compared += 1;
            } else if differs(&exchange).is_none() {
                let answer = self.ask(&exchange).await;
                compare(&exchange, &answer);
                compared += 1;
            } else if text(&exchange, "note").starts_with("a tick later") {
                self.hanging.clear();
                self.until("a request of a caller that hung up is gone", |report| {
                    report["PendingAllocates"].is_null()
                })
                .await;
            }
        }
        compared
    }
}

/// Exchanges that are not compared, and why.
fn differs(exchange: &Value) -> Option<&'static str> {
    let (path, note) = (text(exchange, "path"), text(exchange, "note"));
    if path.starts_with("/report?format") {
        return Some("templates are not served");
    }
    if path == "/report" && exchange["headers"].is_null() {
        return Some("without a template the report is JSON");
    }
    if note.starts_with("a tick later") {
        return Some("the request has to be given up first");
    }
    let is_disabled = note.starts_with("IPAM disabled");
    match path {
        "/ip/foo/::1" => Some("the address asked for is named, not 0.0.0.0"),
        "/metrics" if is_disabled => Some("the router dies of it"),
        "/status/ipam" if is_disabled => Some("an empty page instead of an error"),
        _ => None,
    }
}

fn compare(exchange: &Value, answer: &Answer) {
    let body = &answer.body;
    assert_eq!(
        Value::from(answer.status),
        exchange["status"],
        "{exchange}: {body}"
    );
    let part = &exchange["ipam_part_of_body"];
    match text(exchange, "path") {
        "/report" => {
            let report: Value = serde_json::from_str(body).unwrap();
            for (key, value) in part.as_object().unwrap() {
                assert_eq!(&report["IPAM"][key], value, "{key} in {exchange}");
            }
        }
        "/status" if part == "\n" => assert!(!body.contains("Service: ipam"), "{body}"),
        "/status" => assert!(body.contains(part.as_str().unwrap()), "{exchange}: {body}"),
        "/metrics" => {
            for line in text(exchange, "response_body").lines() {
                assert!(body.lines().any(|found| found == line), "{line} in {body}");
            }
        }
        "/ip" if body.contains("},{") => {
            // The recorded order is that of a hash table.
            assert_eq!(holders(body), holders(text(exchange, "response_body")));
        }
        _ => assert_eq!(body, text(exchange, "response_body"), "{exchange}"),
    }
    for (name, value) in exchange["response_headers"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let is_framing = ["Content-Length", "Transfer-Encoding"].contains(&name.as_str());
        let line = format!("{name}: {}", value.as_str().unwrap()).to_lowercase();
        assert!(
            is_framing || answer.head.contains(&line),
            "{line} in {}",
            answer.head
        );
    }
}

fn holders(text: &str) -> BTreeSet<String> {
    let owned: Value = serde_json::from_str(text).unwrap();
    let owned = owned["owned"].as_array().unwrap();
    owned.iter().map(ToString::to_string).collect()
}

fn text<'v>(exchange: &'v Value, key: &str) -> &'v str {
    exchange[key].as_str().unwrap_or_default()
}

fn exchanges(name: &str) -> Vec<Value> {
    let file = include_str!("../../../tests/vectors/ipam-http.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let scenarios = file["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 8);
    let found = scenarios
        .iter()
        .find(|scenario| text(scenario, "scenario").starts_with(name));
    found.unwrap()["exchanges"].as_array().unwrap().clone()
}

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test)
}

#[test]
fn before_there_is_a_ring() {
    run(async {
        let scratch = Scratch::new();
        let flags = [RANGE, "--ipalloc-init=consensus=3"];
        let mut node = Node::start(&scratch, 1, &flags).await;

        assert_eq!(node.replay("idle and awaiting consensus").await, 34);

        // The claim that was accepted stays; who hung up does not wait any more.
        node.hanging.clear();
        node.until("requests of callers that hung up are gone", |report| {
            let claims = report["PendingClaims"].as_array();
            let is_foo = |claims: &Vec<Value>| claims.len() == 1 && claims[0]["Ident"] == "foo";
            claims.is_some_and(is_foo) && report["PendingAllocates"].is_null()
        })
        .await;
        let other = Node::start(&scratch, 2, &flags).await;
        node.join(&other).await;
        node.until("the claim is met", |report| report["ActiveIPs"] == 1)
            .await;
        let held = node.client().get("/ip/foo").await.unwrap().body;
        assert_eq!(held, "10.32.0.5/12");
    });
}

#[test]
fn allocation_takeover_and_departure() {
    run(async {
        let scratch = Scratch::new();
        let flags = [RANGE, "--ipalloc-init=consensus=3"];
        let mut node = Node::start(&scratch, 1, &flags).await;
        let claim = serde_json::json!({"method": "PUT", "path": "/ip/ext/10.99.0.5/16"});
        assert_eq!(node.ask(&claim).await.status, 204);
        let second = Node::start(&scratch, 2, &flags).await;
        node.join(&second).await;
        assert!(node.client().get("/ring").await.unwrap().is_success());
        let third = Node::start(&scratch, 3, &flags).await;
        node.join(&third).await;
        third
            .until("the ring has come", |report| report["Entries"].is_array())
            .await;

        node.until("both are known", |report| {
            let entries = report["Entries"].as_array();
            entries.is_some_and(|all| all.iter().all(|entry| entry["IsKnownPeer"] == true))
        })
        .await;

        assert_eq!(node.replay("consensus reached").await, 30);
        second.daemon.stop().await;
        node.until("the second is gone", |report| {
            let entries = report["Entries"].as_array().unwrap();
            entries.iter().any(|entry| entry["IsKnownPeer"] == false)
        })
        .await;
        assert_eq!(node.replay("an owner disappears").await, 10);
        assert_eq!(node.replay("graceful leave").await, 7);
    });
}

#[test]
fn an_observer_alone() {
    run(async {
        let scratch = Scratch::new();
        let flags = [RANGE, "--ipalloc-init=observer"];
        let mut node = Node::start(&scratch, 1, &flags).await;

        assert_eq!(node.replay("observer without electors").await, 6);
    });
}

#[test]
fn all_owners_gone() {
    run(async {
        let scratch = Scratch::new();
        let mut node = Node::start(&scratch, 1, &[RANGE, "--ipalloc-init=observer"]).await;
        let owner = Node::start(&scratch, 2, &[RANGE, "--ipalloc-init=consensus=1"]).await;
        assert!(owner.client().get("/ring").await.unwrap().is_success());
        node.join(&owner).await;
        node.until("the ring has come", |report| report["Entries"].is_array())
            .await;
        owner.daemon.stop().await;
        node.until("the owner is gone", |report| {
            report["Entries"][0]["IsKnownPeer"] == false
        })
        .await;

        assert_eq!(node.replay("peer without ranges, all owners gone").await, 6);
    });
}

#[test]
fn a_tiny_universe_exhausted() {
    run(async {
        let scratch = Scratch::new();
        let flags = ["--ipalloc-range=10.32.0.0/29", "--ipalloc-init=seed=::1"];
        let mut node = Node::start(&scratch, 1, &flags).await;

        assert_eq!(node.replay("tiny universe exhausted").await, 12);
    });
}

#[test]
fn allocation_disabled() {
    run(async {
        let scratch = Scratch::new();
        let mut node = Node::start(&scratch, 1, &[]).await;

        assert_eq!(node.replay("IP allocation disabled").await, 6);
        let metrics = serde_json::json!({"method": "GET", "path": "/metrics"});
        assert_eq!(node.ask(&metrics).await.status, 200);
    });
}

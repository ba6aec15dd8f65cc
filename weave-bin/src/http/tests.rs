//! The control interface over real sockets: recorded exchanges replayed, limits, verbs.

mod families;
mod names;
mod page;
mod pods;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::args::daemon::{ListenAddress, Settings};
use crate::daemon::{Daemon, Plumbing};
use crate::http::client::Client;
use crate::store::tests::Scratch;

/// A daemon without a network of its own.
struct Host {
    daemon: Daemon,
    address: String,
}

impl Host {
    async fn start(scratch: &Scratch, number: usize, words: &[&str]) -> Self {
        let mut line: Vec<String> = vec![
            format!("--name=::{number}"),
            format!("--nickname=host-{}", number - 1),
            format!(
                "--db-prefix={}",
                scratch.path(&format!("host-{number}")).display()
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
        Self { daemon, address }
    }

    fn client(&self) -> Client {
        Client::new(&self.address).with_limit(Duration::from_secs(20))
    }
}

/// An answer with its headers.
struct Answer {
    status: u64,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

async fn ask(address: &str, method: &str, path: &str, form: Option<&str>) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let form = form.unwrap_or_default();
    let kind = if form.is_empty() {
        ""
    } else {
        "content-type: application/x-www-form-urlencoded\r\n"
    };
    let length = form.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{kind}content-length: \
         {length}\r\n\r\n{form}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut raw = Vec::new();
    let read = stream.read_to_end(&mut raw);
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("an answer in time")
        .unwrap();
    let text = String::from_utf8(raw).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: body.to_owned(),
    }
}

/// Waits until `host` has routes to `count` peers, itself included.
async fn until_joined(host: &Host, count: usize) {
    for _ in 0..200 {
        if host.daemon.mesh().report().await.unicast_routes.len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "no connection: {}",
        host.client().get("/status/connections").await.unwrap().body
    );
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

/// Exchanges that differ here on purpose, or need a bridge.
fn differs(method: &str, path: &str) -> Option<&'static str> {
    match (method, path) {
        (_, "/status/dns") => Some("an empty page instead of an error without a name server"),
        ("POST", "/expose/10.32.0.77/12" | "/expose/10.32.0.77/12?skipNAT=true") => {
            Some("this host has no bridge")
        }
        _ => None,
    }
}

#[test]
fn recorded_exchanges_are_answered_as_recorded() {
    run(async {
        let scratch = Scratch::new();
        let flags = [
            "--ipalloc-range=10.32.0.0/12",
            "--ipalloc-init=seed=::1,::2",
        ];
        let first = Host::start(&scratch, 1, &flags).await;
        let second = Host::start(&scratch, 2, &flags).await;
        let target = second.daemon.mesh().listen_address().to_string();
        let joined = first
            .client()
            .post_form("/connect", &[("peer", &target)])
            .await
            .unwrap();
        assert!(joined.is_success(), "{}", joined.body);
        until_joined(&first, 2).await;
        for (method, path) in [("POST", "/ip/c0ffee01"), ("PUT", "/ip/c1aim/10.32.9.9/12")] {
            assert!(ask(&first.address, method, path, None).await.status < 300);
        }

        let vectors = include_str!("../../tests/vectors/http-cases.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        let mut replayed = 0;
        for case in cases {
            let request = &case["request"];
            let method = request["method"].as_str().unwrap();
            let path = request["path"].as_str().unwrap();
            if differs(method, path).is_some() {
                continue;
            }
            replayed += 1;
            let answer = ask(&first.address, method, path, request["form"].as_str()).await;
            compare(&format!("{method} {path}"), case, &answer);
        }
        assert_eq!((cases.len(), replayed), (56, 52));
    });
}

fn compare(what: &str, case: &Value, answer: &Answer) {
    let recorded = case["body"].as_str().unwrap();
    assert_eq!(
        Value::from(answer.status),
        case["status"],
        "{what}: {}",
        answer.body
    );
    if what == "GET /ip" {
        // The recorded order is that of a hash table.
        let holders = |text: &str| -> BTreeSet<String> {
            let parsed: Value = serde_json::from_str(text).unwrap();
            parsed["owned"]
                .as_array()
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(holders(&answer.body), holders(recorded), "{what}");
        assert!(answer.body.ends_with('\n'));
    } else if what.contains("json%20.IPAM") {
        // How often an entry changed depends on who spoke first; the rest is equal, in the same order.
        assert_eq!(masked(&answer.body), masked(recorded), "{what}");
        return;
    } else if what.contains("format=%7B%7B.Version") {
        assert_eq!(answer.body, env!("CARGO_PKG_VERSION"));
        return;
    } else {
        assert_eq!(answer.body, recorded, "{what}");
    }
    for name in ["Content-Type", "X-Content-Type-Options"] {
        if let Some(value) = case["headers"][name].as_str() {
            assert_eq!(answer.header(name), Some(value), "{what}: {name}");
        }
    }
}

/// A ring as JSON without the versions of its entries, and without what old daemons do not tell.
fn masked(ring: &str) -> String {
    let ring = ring.split(",\"Donated\"").next().unwrap();
    let mut parts = ring.trim_end_matches('}').split("\"Version\":");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        text + part.trim_start_matches(|one: char| one.is_ascii_digit())
    })
}

#[test]
fn what_differs_from_the_records_differs_as_intended() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, &[]).await;

        let dns = ask(&host.address, "GET", "/status/dns", None).await;
        let expose = ask(&host.address, "POST", "/expose/10.32.0.1/12", None).await;

        assert_eq!((dns.status, dns.body.as_str()), (200, ""));
        assert_eq!(
            (expose.status, &*expose.body),
            (500, "unable to expose: this peer has no bridge\n")
        );
    });
}

#[test]
fn without_allocation_its_paths_are_not_there() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, &[]).await;

        for (method, path) in [
            ("GET", "/ip"),
            ("POST", "/ip/x"),
            ("GET", "/ring"),
            ("GET", "/ipinfo/tracker"),
        ] {
            assert_eq!(
                ask(&host.address, method, path, None).await.status,
                404,
                "{path}"
            );
        }
        let report = host.client().get_json("/report").await.unwrap().body;
        assert!(!report.contains("\"IPAM\""));
    });
}

#[test]
fn verbs_that_a_path_does_not_know_are_refused_with_nothing() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, &["--ipalloc-range=10.32.0.0/12"]).await;

        for (method, path) in [
            ("HEAD", "/status"),
            ("HEAD", "/ip/foo"),
            ("PATCH", "/ip/foo"),
            ("POST", "/ip/foo/10.32.0.0"),
            ("GET", "/connect"),
            ("DELETE", "/report"),
        ] {
            let answer = ask(&host.address, method, path, None).await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (405, ""),
                "{method} {path}"
            );
        }
        let unknown = ask(&host.address, "GET", "/ip/", None).await;
        assert_eq!(
            (unknown.status, unknown.body.as_str()),
            (404, "404 page not found\n")
        );
    });
}

#[test]
fn nonsense_gets_one_line_and_changes_nothing() {
    run(async {
        let scratch = Scratch::new();
        let flags = ["--ipalloc-range=10.32.0.0/24", "--ipalloc-init=seed=::1"];
        let host = Host::start(&scratch, 1, &flags).await;
        let large = format!("peer={}", "x".repeat(70_000));

        for (method, path, form, status) in [
            ("POST", "/ip/x/10.32.0.0/99", None, 400),
            ("POST", "/ip/x/fd00::/64", None, 400),
            ("PUT", "/ip/x/nonsense/12", None, 400),
            ("DELETE", "/ip/x/1.2.3", None, 400),
            ("POST", "/connect", Some("peer=1.2.3.4:99999"), 400),
            ("POST", "/connect", Some(large.as_str()), 413),
            ("POST", "/expose/10.32.0.1/40", None, 400),
            ("POST", "/ip/%ff", None, 400),
        ] {
            let answer = ask(&host.address, method, path, form).await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
            assert_eq!(
                answer.body.lines().count(),
                1,
                "{method} {path}: {}",
                answer.body
            );
        }
        let owned = ask(&host.address, "GET", "/ip", None).await;
        assert_eq!(owned.body, "{\"owned\":null}\n");
    });
}

#[test]
fn a_caller_that_hangs_up_gives_its_request_up() {
    run(async {
        let scratch = Scratch::new();
        let flags = ["--ipalloc-range=10.32.0.0/24", "--ipalloc-init=consensus=3"];
        let host = Host::start(&scratch, 1, &flags).await;
        let pending = async || {
            let report = host.client().get_json("/report").await.unwrap().body;
            let report: Value = serde_json::from_str(&report).unwrap();
            report["IPAM"]["PendingAllocates"].clone()
        };
        let limited = Client::new(&host.address).with_limit(Duration::from_millis(100));
        let waiting = tokio::spawn(async move { limited.post("/ip/pod").await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(pending().await, serde_json::json!(["pod 10.32.0.0/24"]));

        assert!(waiting.await.unwrap().is_err());

        for _ in 0..100 {
            if pending().await.is_null() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the request is still pending: {}", pending().await);
    });
}

#[test]
fn status_listens_apart_and_only_looks() {
    run(async {
        let scratch = Scratch::new();
        let socket = scratch.path("status.sock");
        let flag = format!("--status-addr={}", socket.display());
        let _host = Host::start(&scratch, 1, &[&flag]).await;
        let client = Client::new(socket.to_str().unwrap());

        let page = client.get("/status").await.unwrap();
        let connect = client.post("/connect").await.unwrap();

        assert!(page.body.contains("Service: router"), "{}", page.body);
        assert_eq!(connect.status.as_u16(), 404);
    });
}

#[test]
fn metrics_listen_apart_and_tell_nothing_else() {
    run(async {
        let scratch = Scratch::new();
        let socket = scratch.path("metrics.sock");
        let flag = format!("--metrics-addr={}", socket.display());
        let host = Host::start(&scratch, 1, &[&flag]).await;
        let client = Client::new(socket.to_str().unwrap());

        let page = client.get("/metrics").await.unwrap();

        crate::status::strict::parse(&page.body);
        assert!(page.body.contains("weave_build_info"), "{}", page.body);
        for path in ["/status", "/report", "/connect", "/debug/pprof/"] {
            assert_eq!(
                client.get(path).await.unwrap().status.as_u16(),
                404,
                "{path}"
            );
        }
        // Weave Net's control address also tells how its memory is used.
        let profile = ask(&host.address, "GET", "/debug/pprof/", None).await;
        assert_eq!(
            (profile.status, &*profile.body),
            (404, "404 page not found\n")
        );
    });
}

#[test]
fn a_socket_file_that_nobody_serves_is_replaced_and_a_live_one_is_not() {
    run(async {
        let scratch = Scratch::new();
        let address = ListenAddress::Unix(scratch.path("control.sock"));
        drop(super::bind(&address).await.unwrap());

        let live = super::bind(&address).await.unwrap();
        let refused = super::bind(&address).await;

        let text = refused.unwrap_err().to_string();
        assert!(text.contains("cannot listen for HTTP on"), "{text}");
        drop(live);
    });
}

#[test]
fn given_peers_are_remembered_for_a_resume() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, &[]).await;
        let form = [("peer", "192.0.2.7"), ("peer", "192.0.2.8:99")];
        let added = host.client().post_form("/connect", &form).await.unwrap();
        let dropped = host
            .client()
            .post_form("/forget", &form[..1])
            .await
            .unwrap();
        assert!(added.is_success() && dropped.is_success());
        host.daemon.stop().await;

        let again = Host::start(&scratch, 1, &["--resume"]).await;

        let targets = again.client().get("/status/targets").await.unwrap();
        assert_eq!(targets.body, "192.0.2.8:99\n");
    });
}

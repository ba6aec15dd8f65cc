//! Names over the control interface: the recorded exchanges, on two daemons.

use super::*;

const FLAGS: [&str; 2] = ["--no-dns=false", "--dns-listen-address=127.0.0.1:0"];

/// A request of the transcript and what came back.
struct Exchange<'a> {
    method: &'a str,
    path: &'a str,
    form: Option<&'a str>,
    accepts_json: bool,
    status: u64,
    body: &'a str,
}

fn exchanges(text: &str) -> Vec<Exchange<'_>> {
    let blocks = text.split(">>> ").skip(1);
    blocks
        .map(|block| {
            let (request, answer) = block.split_once('\n').unwrap();
            let answer = answer.split("\nQ ").next().unwrap();
            let (head, body) = answer.split_once("\n\n").unwrap();
            let mut words = request.split(' ');
            Exchange {
                method: words.next().unwrap(),
                path: words.next().unwrap(),
                form: request.split_once(" -d ").map(|(_, form)| form),
                accepts_json: request.contains("Accept: application/json"),
                status: head.split(' ').nth(1).unwrap().parse().unwrap(),
                body: body.trim_end_matches('\n'),
            }
        })
        .collect()
}

/// The body of `GET /name` without the second of a deletion.
fn listed(body: &str) -> Value {
    let mut list: Value = serde_json::from_str(body).unwrap();
    for entry in list.as_array_mut().unwrap() {
        let is_dead = entry["Tombstone"] != 0;
        entry["Tombstone"] = is_dead.into();
    }
    list
}

async fn until_listed(host: &Host, count: usize) {
    for _ in 0..200 {
        let body = host.client().get_json("/name").await.unwrap().body;
        let list: Value = serde_json::from_str(&body).unwrap();
        if list.as_array().is_some_and(|list| list.len() == count) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("names of the other peer do not come");
}

#[test]
fn recorded_exchanges_about_names_are_answered_as_recorded() {
    run(async {
        let scratch = Scratch::new();
        let first = Host::start(&scratch, 1, &FLAGS).await;
        let second = Host::start(&scratch, 2, &FLAGS).await;
        let target = second.daemon.mesh().listen_address().to_string();
        let form = [("peer", target.as_str())];
        assert!(
            first
                .client()
                .post_form("/connect", &form)
                .await
                .unwrap()
                .is_success()
        );
        until_joined(&first, 2).await;

        let transcript = include_str!("../../../tests/vectors/dns/dns-transcript.txt");
        let all = exchanges(transcript);
        for one in &all {
            let what = format!("{} {}", one.method, one.path);
            let is_of_second = ["/name/c333", "/name/c444"];
            let is_of_second = is_of_second.iter().any(|path| one.path.starts_with(path));
            if one.accepts_json {
                until_listed(&first, 5).await;
                let answer = first.client().get_json(one.path).await.unwrap();
                assert_eq!(listed(&answer.body), listed(one.body), "{what}");
                assert!(answer.body.ends_with("]\n"), "{what}");
                assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
                continue;
            }
            let host = if one.method == "PUT" && is_of_second {
                &second
            } else {
                &first
            };
            let answer = ask(&host.address, one.method, one.path, one.form).await;
            assert_eq!(answer.status, one.status, "{what}: {}", answer.body);
            if one.path == "/dns-address-port" {
                assert!(answer.body.starts_with("127.0.0.1:"), "{}", answer.body);
            } else {
                assert_eq!(answer.body.trim_end_matches('\n'), one.body, "{what}");
            }
        }
        assert_eq!(all.len(), 21);

        // What one host deleted is gone on the other.
        let page = || async { ask(&second.address, "GET", "/status/dns", None).await.body };
        for _ in 0..200 {
            if page().await.lines().count() == 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(page().await.lines().count(), 4, "{}", page().await);
        // A peer that leaves takes its names along.
        first.daemon.stop().await;
        for _ in 0..600 {
            if page().await.lines().count() == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("names outlive their peer: {}", page().await);
    });
}

#[test]
fn names_that_cannot_be_are_refused_and_none_are_null() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, &FLAGS).await;
        let label = format!("fqdn={}.weave.local", "x".repeat(64));

        assert_eq!(
            host.client().get_json("/name").await.unwrap().body,
            "null\n"
        );
        for (path, form) in [
            ("/name/c/10.32.0.1", label.as_str()),
            ("/name/c/10.32.0.1", "fqdn=a..weave.local"),
            ("/name/c/fd00::1", "fqdn=a.weave.local"),
        ] {
            let answer = ask(&host.address, "PUT", path, Some(form)).await;
            assert_eq!(
                (answer.status, answer.body.lines().count()),
                (400, 1),
                "{form}"
            );
        }
        let removed = ask(&host.address, "DELETE", "/name", None).await;
        assert_eq!((removed.status, removed.body.as_str()), (204, ""));
        let report = host.client().get_json("/report").await.unwrap().body;
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["DNS"]["Domain"], "weave.local.");
        assert_eq!(report["DNS"]["Entries"], Value::Null);
        assert_eq!(report["DNS"]["Upstream"], Value::Null);
    });
}

#[test]
fn a_daemon_whose_names_nobody_could_ask_for_does_not_start() {
    run(async {
        let scratch = Scratch::new();
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let line: Vec<String> = [
            "--name=::1".to_owned(),
            format!("--db-prefix={}", scratch.path("weave").display()),
            "--host=127.0.0.1".to_owned(),
            "--port=0".to_owned(),
            "--http-addr=127.0.0.1:0".to_owned(),
            format!("--dns-listen-address={address}"),
        ]
        .into();
        let settings = Settings::read(&line, |_| None).unwrap();

        let error = Daemon::start(settings, Plumbing::None).await.unwrap_err();

        let text = error.to_string();
        assert!(
            text.starts_with(&format!("cannot listen for DNS on {address}: ")),
            "{text}"
        );
        assert!(text.contains("--no-dns"), "{text}");
    });
}

//! Addresses of pods that are given back without a DEL.

use super::{Host, ask};
use crate::http::client::Client;
use crate::pods::{Counts, spool};
use crate::store::tests::Scratch;

const ALONE: &[&str] = &["--ipalloc-range=10.32.0.0/24", "--ipalloc-init=seed=::1"];

async fn owned(host: &Host, id: &str) -> String {
    let path = format!("/ip/{id}");
    host.client().get(&path).await.unwrap().body
}

async fn add(host: &Host, id: &str, query: &str) {
    let path = format!("/ip/{id}{query}");
    let answer = host.client().post(&path).await.unwrap();
    assert!(answer.is_success(), "{}", answer.body);
}

async fn counts(client: &Client) -> Counts {
    let body = client.get_json("/report").await.unwrap().body;
    let report: serde_json::Value = serde_json::from_str(&body).unwrap();
    serde_json::from_value(report["Pods"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_frees_what_plugins_asked_for_and_runtimes_do_not_list() {
    let scratch = Scratch::new();
    let host = Host::start(&scratch, 1, ALONE).await;
    add(&host, "stale", "?plugin=weave-net&network=weave").await;
    add(&host, "listed", "?plugin=weave-net&network=weave").await;
    add(&host, "elsewhere", "?plugin=weave-ipam&network=macvlan").await;
    add(&host, "by-hand", "").await;

    let form = "network=weave&valid=listed&valid=unknown";
    let answer = ask(&host.address, "POST", "/gc", Some(form)).await;

    assert_eq!((answer.status, &*answer.body), (200, "stale\n"));
    assert_eq!(owned(&host, "stale").await, "");
    for id in ["listed", "elsewhere", "by-hand"] {
        assert_ne!(owned(&host, id).await, "", "{id}");
    }
    assert_eq!(counts(&host.client()).await.collected, 1);
    let metrics = host.client().get("/metrics").await.unwrap().body;
    let line = "weave_ips_given_back_total{reason=\"unlisted\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let answer = ask(&host.address, "POST", "/gc", Some("valid=listed")).await;
    assert_eq!(answer.status, 400);
    host.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_without_a_daemon_is_free_when_it_answers() {
    let scratch = Scratch::new();
    let host = Host::start(&scratch, 1, ALONE).await;
    add(&host, "gone", "?plugin=weave-net&network=weave").await;
    add(&host, "kept", "?plugin=weave-net&network=weave").await;
    host.daemon.stop().await;
    let directory = spool::beside(&scratch.path("host-1"));
    for id in ["gone", "never-there"] {
        spool::put(&directory, id).unwrap();
    }

    let host = Host::start(&scratch, 1, ALONE).await;

    assert_eq!(owned(&host, "gone").await, "");
    assert_ne!(owned(&host, "kept").await, "");
    assert_eq!(spool::waiting(&directory).unwrap(), [""; 0]);
    assert_eq!(counts(&host.client()).await.replayed, 2);
    // What the plugins asked for is known from before.
    let answer = ask(&host.address, "POST", "/gc", Some("network=weave")).await;
    assert_eq!(answer.body, "kept\n");
    host.daemon.stop().await;
}

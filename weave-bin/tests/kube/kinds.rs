//! Any kind of object, listed and watched as raw JSON.

use ::kube::Client;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::mpsc;
use weave_bin::kube::api::Api;
use weave_bin::kube::follow::{self, Kind, News};
use weave_bin::kube::state::Board;

use crate::{add_node, delete_node, fake};

const NODES: Kind = Kind {
    path: "/api/v1/nodes",
    what: "list of nodes",
    may_be_absent: false,
};

async fn next(news: &mut mpsc::Receiver<News<Value>>) -> News<Value> {
    let told = tokio::time::timeout(Duration::from_secs(30), news.recv()).await;
    told.expect("no news in time").expect("nobody tells")
}

fn names(all: &[Value]) -> Vec<&str> {
    all.iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_told_whole_and_again_when_the_server_forgot() {
    let (fake, config) = fake();
    let admin = Client::try_from(config.clone()).unwrap();
    add_node(&admin, "a", "203.0.113.1").await;
    let (board, _reader) = Board::new("n");
    let (sender, mut news) = mpsc::channel(16);
    let api = Api::new(config).unwrap();
    let task = tokio::spawn(async move { follow::follow(&api, &board, NODES, sender).await });

    let News::All(all) = next(&mut news).await else {
        panic!("changes before the first list");
    };
    assert_eq!(names(&all), ["a"]);
    assert_eq!(all[0]["status"]["addresses"][0]["address"], "203.0.113.1");
    // It may come before the watch: it is told all the same.
    fake.add_node("b", "203.0.113.2");
    assert!(
        matches!(next(&mut news).await, News::Set(node) if names(std::slice::from_ref(&node)) == ["b"])
    );
    delete_node(&admin, "a").await;
    assert!(
        matches!(next(&mut news).await, News::Gone(node) if names(std::slice::from_ref(&node)) == ["a"])
    );

    fake.forget_versions();
    let News::All(all) = next(&mut news).await else {
        panic!("no new list");
    };
    assert_eq!(names(&all), ["b"]);
    drop(news);
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .expect("it goes on with nobody listening")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_a_cluster_lacks_has_no_objects() {
    let (_fake, config) = fake();
    let (board, reader) = Board::new("n");
    let (sender, mut news) = mpsc::channel(16);
    let api = Api::new(config).unwrap();
    let kind = Kind {
        path: "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
        what: "list of cluster policies",
        may_be_absent: true,
    };
    let _task = tokio::spawn(async move { follow::follow(&api, &board, kind, sender).await });

    assert_eq!(next(&mut news).await, News::All(Vec::new()));
    assert!(reader.borrow().problems.is_empty());
}

//! Watches that end, break and move on, and a server that takes its time.

use weave_bin::lab::cluster::server::recorded::Mood;

use super::{Client, Mesh, NAMES, Peer, Recorded, add_node, fake, start, until};

const LISTS: &str = "/api/v1/nodes?&limit";

/// The first node of a cluster, ready.
async fn ready(mesh: &Mesh) -> (Recorded, Client, Peer) {
    let (fake, config) = fake();
    let admin = Client::try_from(config.clone()).unwrap();
    add_node(&admin, "host-0", "203.0.113.1").await;
    let peer = start(config, mesh, "host-0", NAMES[0]).await;
    until("it is ready", 30, async || {
        peer.board.borrow().summary() == "ready"
    })
    .await;
    (fake, admin, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_from_a_bookmark() {
    let mesh = Mesh::default();
    let (fake, admin, _peer) = ready(&mesh).await;
    let lists = fake.count("GET", LISTS);

    let version = fake.bookmark();
    // All watches end, and begin again where they were.
    fake.set_mood(Mood::Well);

    let from = format!("resourceVersion={version}");
    until("a watch begins at the bookmark", 10, async || {
        let asked = fake.paths("GET");
        asked
            .iter()
            .any(|path| path.contains("watch=true") && path.contains(&from))
    })
    .await;
    add_node(&admin, "host-1", "203.0.113.2").await;
    until("what comes after it is told", 20, async || {
        mesh.targets(NAMES[0]) == ["203.0.113.2"]
    })
    .await;
    assert_eq!(fake.count("GET", LISTS), lists, "nothing is listed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_loses_nothing() {
    let mesh = Mesh::default();
    let (fake, admin, peer) = ready(&mesh).await;

    for number in 1..=3 {
        fake.break_streams();
        let address = format!("203.0.113.{}", number + 1);
        add_node(&admin, &format!("host-{number}"), &address).await;
        until("the node is a target", 30, async || {
            mesh.targets(NAMES[0]).contains(&address)
        })
        .await;
    }

    until("no trouble is left", 30, async || {
        peer.board.borrow().summary() == "ready"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_waited_for() {
    let mesh = Mesh::default();
    let (fake, admin, peer) = ready(&mesh).await;
    fake.set_mood(Mood::Slow);

    add_node(&admin, "host-1", "203.0.113.2").await;

    until("the node is a target", 30, async || {
        mesh.targets(NAMES[0]) == ["203.0.113.2"]
    })
    .await;
    let problems = peer.board.borrow().problems.clone();
    assert!(problems.is_empty(), "{problems:?}");
}

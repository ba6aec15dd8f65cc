//! Meshes on real sockets of the loopback device. Each peer has its own address in 127.0.0.0/8 and
//! all share one port, as hosts of a real mesh do.

#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use weave_mesh::gossip::{Channel, ChannelError, Relay};
use weave_mesh::node::ConnectionState;
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::{Config, Error, Mesh, OverlayEvent, OverlayEvents, start};

/// The largest value seen, as a channel; payloads are as long as one wants them to be.
#[derive(Clone, Default)]
struct Largest {
    value: Arc<Mutex<Vec<u8>>>,
    unicasts: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Largest {
    fn set(&self, value: &[u8]) {
        *self.value.lock().unwrap() = value.to_vec();
    }

    fn is(&self, value: &[u8]) -> bool {
        *self.value.lock().unwrap() == value
    }
}

impl Channel for Largest {
    fn state(&mut self) -> Option<Bytes> {
        let value = self.value.lock().unwrap();
        (!value.is_empty()).then(|| Bytes::copy_from_slice(&value))
    }

    fn handle_gossip(&mut self, payload: &[u8]) -> Result<Relay, ChannelError> {
        let mut value = self.value.lock().unwrap();
        if payload <= value.as_slice() {
            return Ok(Relay::Nothing);
        }
        *value = payload.to_vec();
        Ok(Relay::State)
    }

    fn handle_broadcast(&mut self, _: PeerName, payload: &[u8]) -> Result<Relay, ChannelError> {
        self.handle_gossip(payload)
    }

    fn handle_unicast(&mut self, _: PeerName, payload: &[u8]) -> Result<(), ChannelError> {
        self.unicasts.lock().unwrap().push(payload.to_vec());
        Ok(())
    }
}

fn name(n: u8) -> PeerName {
    PeerName::from_bytes([10, 0, 0, 0, 0, n])
}

fn config(n: u8, port: u16) -> Config {
    Config::default()
        .name(name(n))
        .nickname(format!("host{n}"))
        .listen(SocketAddr::from(([127, 0, 0, n], port)))
}

async fn launch(config: Config, channel: Largest) -> (Mesh, OverlayEvents) {
    start(config, vec![("largest".to_owned(), Box::new(channel))])
        .await
        .unwrap()
}

/// Waits for a condition on the report, for at most 20 s of real time.
async fn until(mesh: &Mesh, is_done: impl Fn(&weave_mesh::node::Report) -> bool) {
    let poll = async {
        while !is_done(&mesh.report().await) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(Duration::from_secs(20), poll).await.is_err() {
        panic!("not within 20 s: {:#?}", mesh.report().await);
    }
}

async fn wait_for(is_done: impl Fn() -> bool) {
    let poll = async {
        while !is_done() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), poll)
        .await
        .expect("within 20 s");
}

fn established(count: usize) -> impl Fn(&weave_mesh::node::Report) -> bool {
    move |report| {
        let live = report
            .connections
            .iter()
            .filter(|c| c.state == ConnectionState::Established);
        live.count() == count && report.peers.len() == count + 1
    }
}

#[tokio::test]
async fn three_peers_form_share_state_and_take_one_back() {
    let channels: Vec<_> = (0..4).map(|_| Largest::default()).collect();
    let (one, _events1) = launch(config(1, 0), channels[1].clone()).await;
    let port = one.listen_address().port();
    let seed = [format!("127.0.0.1:{port}")];
    let (two, _events2) = launch(config(2, port).peers(seed.clone()), channels[2].clone()).await;
    let (three, _events3) = launch(config(3, port).peers(seed.clone()), channels[3].clone()).await;
    for mesh in [&one, &two, &three] {
        until(mesh, established(2)).await;
    }

    channels[2].set(b"hello");
    two.broadcast("largest").await;
    wait_for(|| channels[1].is(b"hello") && channels[3].is(b"hello")).await;
    three
        .unicast("largest", name(2), Bytes::from_static(b"to two"))
        .await
        .unwrap();
    wait_for(|| *channels[2].unicasts.lock().unwrap() == [b"to two"]).await;
    let mut routes = one.routes();
    let table = routes
        .wait_for(|table| table.unicast.len() == 2)
        .await
        .unwrap()
        .clone();
    assert_eq!(table.broadcast[&name(1)], [name(2), name(3)]);

    two.shutdown().await;
    for mesh in [&one, &three] {
        until(mesh, established(1)).await;
    }
    routes
        .wait_for(|table| table.known.len() == 2)
        .await
        .unwrap();

    let fresh = Largest::default();
    let (two, _events2) = launch(config(2, port).peers(seed), fresh.clone()).await;
    for mesh in [&one, &two, &three] {
        until(mesh, established(2)).await;
    }
    wait_for(|| fresh.is(b"hello")).await;
}

#[tokio::test]
async fn a_state_of_megabytes_arrives_whole() {
    let (large, received) = (Largest::default(), Largest::default());
    let state: Vec<u8> = (0..5_000_000_u32)
        .map(|i| (i % 251).to_le_bytes()[0] | 1)
        .collect();
    large.set(&state);
    let (one, _events1) = launch(config(1, 0), large).await;
    let address = one.listen_address().to_string();

    let (_two, _events2) = launch(config(2, 0).peers([address]), received.clone()).await;

    wait_for(|| received.is(&state)).await;
}

#[tokio::test]
async fn the_data_plane_is_told_and_answers() {
    let config1 = config(1, 0).overlays(["fastdp", "sleeve"]);
    let (one, mut events1) = launch(config1, Largest::default()).await;
    let address = one.listen_address().to_string();
    let config2 = config(2, 0).overlays(["fastdp"]).peers([address]);
    let (two, mut events2) = launch(config2, Largest::default()).await;

    let confirmed = |event| match event {
        Some(OverlayEvent::Confirmed(connection)) => connection,
        other => panic!("unexpected {other:?}"),
    };
    let (at1, at2) = (
        confirmed(events1.recv().await),
        confirmed(events2.recv().await),
    );
    assert_eq!((at1.remote, at2.remote), (name(2), name(1)));
    assert_eq!(at1.connection_uid, at2.connection_uid);
    assert_eq!((at1.outbound, at2.outbound), (false, true));
    assert_eq!((at1.peer, at1.local), (at2.local, at2.peer));
    assert_eq!(at1.overlays, ["fastdp"]);

    two.send_control(at2.id, Bytes::from_static(&[0, 0])).await;
    let control = OverlayEvent::Control {
        id: at1.id,
        body: Bytes::from_static(&[0, 0]),
    };
    assert_eq!(events1.recv().await, Some(control));

    one.established(at1.id).await;
    two.established(at2.id).await;
    one.set_overlay(
        at1.id,
        "fastdp",
        BTreeMap::from([("mtu".into(), "1376".into())]),
    )
    .await;
    one.routes()
        .wait_for(|table| table.unicast.contains_key(&name(2)))
        .await
        .unwrap();
    let report = one.report().await;
    assert_eq!(
        report.connections[0].attributes.as_ref().unwrap()["mtu"],
        "1376"
    );

    one.overlay_failed(at1.id, "no working forwarders".to_owned())
        .await;
    assert_eq!(
        events1.recv().await,
        Some(OverlayEvent::Closed { id: at1.id })
    );
    assert_eq!(
        events2.recv().await,
        Some(OverlayEvent::Closed { id: at2.id })
    );
}

#[tokio::test]
async fn targets_that_do_not_answer_are_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let (one, _events) = launch(config(1, 0), Largest::default()).await;

    let targets = vec![
        free.to_string(),
        "no such:thing".to_owned(),
        "host.invalid".to_owned(),
    ];
    let errors = one.connect(targets, false).await;

    assert_eq!(
        errors,
        ["invalid peer name \"no such:thing\", should be host[:port]"]
    );
    until(&one, |report| {
        report
            .connections
            .iter()
            .filter(|c| c.error.is_some())
            .count()
            == 2
    })
    .await;
    let report = one.report().await;
    let error = |address: &str| {
        let found = report.connections.iter().find(|c| c.address == address);
        found
            .and_then(|c| c.error.clone())
            .unwrap_or_else(|| panic!("{address}: {report:#?}"))
    };
    assert_eq!(
        error(&free.to_string()),
        format!("dial tcp 127.0.0.1:0->{free}: connect: connection refused")
    );
    assert!(error("host.invalid").starts_with("dial tcp: lookup host.invalid: "));
    one.forget(vec![free.to_string()]).await;
    assert_eq!(one.report().await.targets, ["host.invalid"]);
}

#[tokio::test]
async fn a_target_may_be_a_host_name() {
    let (one, _events1) = launch(config(1, 0), Largest::default()).await;
    let target = format!("localhost:{}", one.listen_address().port());

    let (two, _events2) = launch(config(2, 0).peers([target]), Largest::default()).await;

    until(&two, established(1)).await;
}

#[tokio::test]
async fn strangers_are_turned_away_and_do_no_harm() {
    let (one, _events) = launch(config(1, 0), Largest::default()).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"weave\x01\x02\x00\xff\xff\xff\xff",
        b"weave",
    ] {
        let mut stranger = TcpStream::connect(one.listen_address()).await.unwrap();
        stranger.write_all(bytes).await.unwrap();
        if bytes == b"weave" {
            continue;
        }
        let mut answer = Vec::new();
        let end = timeout(Duration::from_secs(5), stranger.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "the connection is closed");
    }

    until(&one, |report| report.termination_count == 3).await;
    assert_eq!(one.report().await.connections, []);
}

#[tokio::test]
async fn a_mesh_stops_with_its_last_handle_and_answers_afterwards() {
    let (one, mut events) = launch(config(1, 0), Largest::default()).await;
    let address = one.listen_address();
    let other = one.clone();

    one.shutdown().await;

    assert_eq!(events.recv().await, None);
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nothing listens any more"
    );
    assert_eq!(other.report().await.name, name(1));
    assert!(other.connect(vec!["x".into()], false).await.is_empty());
    let error = other
        .unicast("largest", name(2), Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the mesh has stopped");

    let (one, mut events) = launch(config(1, 0), Largest::default()).await;
    drop(one);
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn a_taken_address_and_a_missing_name_are_errors() {
    let (one, _events) = launch(config(1, 0), Largest::default()).await;
    let taken = Config::default().name(name(2)).listen(one.listen_address());

    let error = start(taken, vec![]).await.unwrap_err();
    assert!(matches!(error, Error::Listen { .. }));
    assert!(error.to_string().starts_with("cannot listen on 127.0.0.1:"));
    let nameless = Config::default().listen(SocketAddr::from(([127, 0, 0, 1], 0)));
    assert!(matches!(
        start(nameless, vec![]).await,
        Err(Error::Config(_))
    ));
}

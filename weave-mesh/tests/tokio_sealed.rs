//! Meshes with passwords on real sockets of the loopback device.

#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use weave_mesh::crypto::{Keyring, KeyringError, Password};
use weave_mesh::gossip::{Channel, ChannelError, Relay};
use weave_mesh::node::Report;
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::{Config, Mesh, OverlayEvents, start};

/// The longest text seen.
#[derive(Clone, Default)]
struct Longest(Arc<Mutex<Vec<u8>>>);

impl Channel for Longest {
    fn state(&mut self) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(&self.0.lock().unwrap())).filter(|text| !text.is_empty())
    }

    fn handle_gossip(&mut self, payload: &[u8]) -> Result<Relay, ChannelError> {
        let mut text = self.0.lock().unwrap();
        if payload.len() <= text.len() {
            return Ok(Relay::Nothing);
        }
        *text = payload.to_vec();
        Ok(Relay::State)
    }

    fn handle_broadcast(&mut self, _: PeerName, payload: &[u8]) -> Result<Relay, ChannelError> {
        self.handle_gossip(payload)
    }

    fn handle_unicast(&mut self, _: PeerName, _: &[u8]) -> Result<(), ChannelError> {
        Ok(())
    }
}

fn keyring(words: &[&str]) -> Keyring {
    Keyring::new(words.iter().map(|word| Password::new(*word))).unwrap()
}

async fn launch(n: u8, port: u16, words: &[&str], peers: &[u8]) -> (Mesh, OverlayEvents, Longest) {
    let channel = Longest::default();
    let config = Config::default()
        .name(PeerName::from_bytes([10, 0, 0, 0, 0, n]))
        .listen(SocketAddr::from(([127, 0, 0, n], port)))
        .keyring(keyring(words))
        .peers(peers.iter().map(|peer| format!("127.0.0.{peer}")));
    let channels: Vec<(String, Box<dyn Channel>)> =
        vec![("longest".to_owned(), Box::new(channel.clone()))];
    let (mesh, events) = start(config, channels).await.unwrap();
    (mesh, events, channel)
}

/// Waits for a condition on the report, for at most 20 s of real time.
async fn until(mesh: &Mesh, is_done: impl Fn(&Report) -> bool) {
    let poll = async {
        while !is_done(&mesh.report().await) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(Duration::from_secs(20), poll).await.is_err() {
        panic!("not within 20 s: {:#?}", mesh.report().await);
    }
}

fn live(report: &Report) -> usize {
    let connections = report.connections.iter();
    connections.filter(|one| one.remote.is_some()).count()
}

#[tokio::test]
async fn sealed_peers_form_and_a_large_state_passes_in_many_pieces() {
    let (one, _events1, state) = launch(1, 0, &["secret"], &[]).await;
    let port = one.listen_address().port();
    *state.0.lock().unwrap() = vec![7; 3 << 20];
    let (two, _events2, copy) = launch(2, port, &["secret"], &[1]).await;

    until(&two, |report| live(report) == 1).await;
    let arrived = async {
        while copy.0.lock().unwrap().len() < 3 << 20 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), arrived).await.unwrap();

    let report = two.report().await;
    assert_eq!(report.connections[0].encrypted, Some(true));
    assert_eq!(report.passwords.unwrap().with_current, 1);
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test]
async fn a_password_is_changed_under_running_connections() {
    let (one, _events1, _) = launch(1, 0, &["old"], &[]).await;
    let port = one.listen_address().port();
    let (two, _events2, _) = launch(2, port, &["old"], &[1]).await;
    until(&two, |report| live(report) == 1).await;

    for words in [&["old", "new"][..], &["new", "old"], &["new"]] {
        for mesh in [&one, &two] {
            mesh.set_keyring(keyring(words)).await.unwrap();
        }
    }
    let (three, _events3, _) = launch(3, port, &["new"], &[1, 2]).await;
    until(&three, |report| live(report) == 2).await;

    let report = one.report().await;
    let passwords = report.passwords.unwrap();
    assert_eq!((passwords.with_current, passwords.with_dropped), (1, 1));
    assert_eq!((report.termination_count, passwords.accepted), (0, 1));
    let plain = one.set_keyring(Keyring::default()).await;
    assert_eq!(plain, Err(KeyringError::Switched));
    let other = one.clone();
    for mesh in [one, two, three] {
        mesh.shutdown().await;
    }
    let stopped = other.set_keyring(keyring(&["late"])).await;
    assert_eq!(stopped, Err(KeyringError::Stopped));
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_one_are_named_in_the_status_of_both_sides() {
    let (one, _events1, _) = launch(1, 0, &["right"], &[]).await;
    let port = one.listen_address().port();
    let (two, _events2, _) = launch(2, port, &["wrong"], &[1]).await;
    let (three, _events3, _) = launch(3, port, &[], &[1]).await;

    let error = |text: &'static str| {
        move |report: &Report| {
            let errors = report
                .connections
                .iter()
                .filter_map(|one| one.error.as_ref());
            errors.into_iter().any(|error| error.contains(text))
        }
    };
    until(&two, error("another password")).await;
    until(&three, error("no password specificed")).await;
    until(&one, |report| report.refusals.len() == 2).await;

    let report = one.report().await;
    assert!(report.counters.password_refused >= 1 && report.counters.password_missing >= 1);
    assert_eq!(live(&report), 0);
    assert_eq!(report.peers.len(), 1);
}

/// The answer to a stranger's key is silence, not something to test guesses on.
#[tokio::test]
async fn a_stranger_with_a_key_hears_nothing_but_header_and_key() {
    let (one, _events, _) = launch(1, 0, &["secret"], &[]).await;
    let mut stream = TcpStream::connect(one.listen_address()).await.unwrap();
    let mut sent = b"weave\x01\x02\x01".to_vec();
    sent.extend([9; 32]);
    stream.write_all(&sent).await.unwrap();

    let mut heard = Vec::new();
    let read = stream.read_to_end(&mut heard);
    assert!(
        timeout(Duration::from_millis(300), read).await.is_err(),
        "it waits"
    );
    stream.write_all(&[0, 0, 0, 16]).await.unwrap();
    stream.write_all(&[0; 16]).await.unwrap();
    // The end is a reset.
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut heard))
        .await
        .unwrap();

    assert!(heard.len() <= 40, "{} bytes", heard.len());
    until(&one, |report| report.refusals.len() == 1).await;
}

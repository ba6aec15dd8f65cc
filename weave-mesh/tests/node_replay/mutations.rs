//! A recorded session with errors in it: whatever arrives, a node neither panics nor runs wild.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use weave_mesh::node::{Config, Node, Transmit};
use weave_mesh::random::Random;

use crate::unhex;

const RUNS: u64 = 2_000;

fn stream() -> Vec<u8> {
    let file: Value =
        serde_json::from_str(include_str!("../vectors/capture_v2_plaintext.json")).unwrap();
    unhex(file["outbound_side"]["stream"].as_str().unwrap())
}

/// Changes, inserts or removes a few bytes, most of them behind the introduction.
fn mutate(stream: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let from = if random.below(4) == 0 { 0 } else { 186 };
        let at = from + usize::try_from(random.below((stream.len() - from) as u64)).unwrap();
        let byte = random.next_u64().to_le_bytes()[0];
        match random.below(3) {
            0 => stream[at] = byte,
            1 => stream.insert(at, byte),
            _ => {
                stream.remove(at);
            }
        }
    }
}

#[test]
fn a_damaged_stream_ends_the_connection_at_most() {
    let original = stream();
    let mut ended = 0;
    for seed in 0..RUNS {
        let mut random = Random::new(seed);
        let mut damaged = original.clone();
        mutate(&mut damaged, &mut random);
        let config = Config::default()
            .name("0a::2".parse().unwrap())
            .overlays(["sleeve"]);
        let mut node = Node::new(config, []).unwrap();
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (local, remote) = (at("10.99.0.2:6783"), at("10.99.0.1:34549"));
        let id = node.handle_accepted(Duration::ZERO, local, remote);

        let mut is_closed = false;
        for piece in damaged.chunks(1000) {
            node.handle_bytes(Duration::ZERO, id, piece);
            while let Some(transmit) = node.poll_transmit(Duration::ZERO) {
                match transmit {
                    Transmit::Data { connection, bytes } => {
                        assert!(bytes.len() < 100_000, "seed {seed}");
                        node.handle_written(Duration::ZERO, connection, bytes.len());
                    }
                    Transmit::Close { .. } => is_closed = true,
                    Transmit::Dial { .. } => {}
                }
            }
        }
        node.handle_timeout(Duration::from_secs(5));

        let report = node.report(Duration::from_secs(5));
        assert!(report.peers.len() < 10, "seed {seed}");
        assert_eq!(
            report.termination_count,
            u64::from(is_closed),
            "seed {seed}"
        );
        ended += u64::from(is_closed);
    }
    assert!(ended > RUNS / 2 && ended < RUNS, "{ended} of {RUNS} ended");
}

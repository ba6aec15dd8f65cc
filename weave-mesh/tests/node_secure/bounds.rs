//! What strangers may cost before they are introduced.

use std::net::SocketAddr;
use std::time::Duration;

use weave_mesh::connection::{Handshake, Offer};
use weave_mesh::crypto::Credentials;
use weave_mesh::crypto::nacl::SecretKey;
use weave_mesh::crypto::session::Sender;
use weave_mesh::node::{ConnectionId, Node, Transmit};
use weave_mesh::peer::Uid;
use weave_mesh::wire::intro::{Features, Header, MAX_FEATURES};

use super::world::{S, address, config, keyring, name};

fn stranger(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

/// Connections that `node` closed.
fn closed(node: &mut Node, now: Duration) -> Vec<ConnectionId> {
    let mut closed = Vec::new();
    while let Some(transmit) = node.poll_transmit(now) {
        match transmit {
            Transmit::Close { connection } => closed.push(connection),
            Transmit::Data { connection, bytes } => {
                node.handle_written(now, connection, bytes.len());
            }
            Transmit::Dial { .. } => {}
        }
    }
    closed
}

#[test]
fn a_host_that_opens_too_many_connections_loses_its_own() {
    let mut node = Node::new(config(1, &["secret"], &[]), []).unwrap();
    let honest = node.handle_accepted(S, address(1), stranger(1, 1));
    let greedy: Vec<_> = (0..400)
        .map(|port| node.handle_accepted(S, address(1), stranger(2, 1000 + port)))
        .collect();
    let late = node.handle_accepted(S, address(1), stranger(3, 1));

    let closed = closed(&mut node, S);

    assert_eq!(closed.len(), 1 + 400 + 1 - 256);
    assert_eq!(closed, greedy[..closed.len()], "the oldest of the greedy");
    assert!(!closed.contains(&honest) && !closed.contains(&late));
    let report = node.report(S);
    assert_eq!(report.counters.introduction_refused, closed.len() as u64);
    assert_eq!(report.refusals.len(), 1);
    assert_eq!(
        report.refusals[0].reason,
        "too many connections are being introduced"
    );
}

#[test]
fn a_stranger_that_says_nothing_is_gone_after_ten_seconds_and_a_slow_one_after_a_minute() {
    let mut node = Node::new(config(1, &["secret"], &[]), []).unwrap();
    let silent = node.handle_accepted(S, address(1), stranger(1, 1));
    let slow = node.handle_accepted(S, address(1), stranger(2, 1));
    node.handle_bytes(S, slow, b"weave\x02\x02\x01");
    closed(&mut node, S);

    node.handle_timeout(11 * S);
    assert_eq!(closed(&mut node, 11 * S), [silent]);
    // Bytes that complete nothing do not put the end off.
    node.handle_bytes(50 * S, slow, b"x");
    node.handle_timeout(61 * S);

    assert_eq!(closed(&mut node, 61 * S), [slow]);
    let report = node.report(61 * S);
    assert_eq!(report.counters.read_timeout, 2);
    assert_eq!(report.counters.introduction_failed, 2);
    assert_eq!(report.refusals.len(), 2);
}

#[test]
fn an_introduction_over_its_size_ends_when_the_length_is_known() {
    for (words, flag) in [(&[][..], &[0][..]), (&["secret"], &[1; 33])] {
        let mut node = Node::new(config(1, words, &[]), []).unwrap();
        let id = node.handle_accepted(S, address(1), stranger(1, 1));
        node.handle_bytes(S, id, b"weave\x02\x02");
        node.handle_bytes(S, id, flag);
        let length = u32::try_from(MAX_FEATURES + 17).unwrap();
        node.handle_bytes(S, id, &length.to_be_bytes());

        assert_eq!(closed(&mut node, S), [id]);
        let report = node.report(S);
        assert_eq!(report.counters.message_oversized, 1);
        assert!(report.refusals[0].reason.contains("exceeds maximum size"));
    }
}

/// A peer that knows the password, up to the moment when it is introduced.
fn introduced(node: &mut Node, id: ConnectionId) -> weave_mesh::connection::Introduced {
    let features = Features {
        name: name(9),
        nickname: String::new(),
        uid: Uid(9),
        conn_id: 9,
        short_id: None,
        trusted: false,
        overlays: None,
        sync: 0,
        refused: None,
        needy: false,
    };
    let offer = Offer {
        versions: Header { min: 2, max: 2 },
        features,
    };
    let credentials = Credentials {
        keyring: keyring(&["secret"]),
        choice: 0,
        secret: SecretKey::from_bytes([9; 32]),
        role: Sender::Dialler,
    };
    let mut remote = Handshake::with_password(offer, credentials);
    for _ in 0..4 {
        node.handle_bytes(S, id, &remote.take_output());
        while let Some(transmit) = node.poll_transmit(S) {
            if let Transmit::Data { connection, bytes } = transmit {
                node.handle_written(S, connection, bytes.len());
                if let Some(introduced) = remote.handle_bytes(&bytes).unwrap() {
                    return introduced;
                }
            }
        }
    }
    panic!("not introduced")
}

#[test]
fn a_message_that_was_tampered_with_ends_the_connection_and_is_counted() {
    for (at, counter) in [(4, true), (20, true), (0, false)] {
        let mut node = Node::new(config(1, &["secret"], &[]), []).unwrap();
        let id = node.handle_accepted(S, address(1), stranger(1, 1));
        let mut remote = introduced(&mut node, id);
        let mut wire = bytes::BytesMut::new();
        remote.outgoing.put(&[0], &mut wire).unwrap();
        wire[at] ^= 0x80;

        node.handle_bytes(S, id, &wire);

        assert_eq!(closed(&mut node, S), [id]);
        let counters = node.report(S).counters;
        let counted = (counters.message_not_opened, counters.message_oversized);
        assert_eq!(counted, if counter { (1, 0) } else { (0, 1) });
    }
}

#[test]
fn a_message_that_cannot_be_decoded_ends_the_connection_and_is_counted() {
    let mut node = Node::new(config(1, &["secret"], &[]), []).unwrap();
    let id = node.handle_accepted(S, address(1), stranger(1, 1));
    let mut remote = introduced(&mut node, id);
    let mut wire = bytes::BytesMut::new();
    remote.outgoing.put(&[4, 1, 2, 3], &mut wire).unwrap();

    node.handle_bytes(S, id, &wire);

    assert_eq!(closed(&mut node, S), [id]);
    assert_eq!(node.report(S).counters.message_malformed, 1);
}

/// Hazard 13 of the protocol's list: nonces are counted under the same lock as the writes.
#[test]
fn hazard_13_what_is_written_opens_in_the_order_in_which_it_was_sealed() {
    let mut node = Node::new(config(1, &["secret"], &[]), []).unwrap();
    let id = node.handle_accepted(S, address(1), stranger(1, 1));
    let mut remote = introduced(&mut node, id);
    let mut opened = Vec::new();
    for second in 1..=200 {
        let now = second * S;
        // Heartbeats, gossip and unicasts are put into one stream, a few bytes at a time.
        let _ = node.unicast("some", name(9), &[7; 300]);
        let mut alive = bytes::BytesMut::new();
        remote.outgoing.put(&[0], &mut alive).unwrap();
        node.handle_bytes(now, id, &alive);
        node.handle_timeout(now);
        while let Some(transmit) = node.poll_transmit(now) {
            let Transmit::Data { connection, bytes } = transmit else {
                panic!("{transmit:?}");
            };
            for piece in bytes.chunks(7) {
                remote.incoming.push(piece);
                node.handle_written(now, connection, piece.len());
            }
            while let Some(message) = remote.incoming.pop().unwrap() {
                opened.push(message[0]);
            }
        }
    }

    let count = |tag| opened.iter().filter(|first| **first == tag).count();
    assert_eq!((count(0), count(5)), (6, 200), "heartbeats and unicasts");
    assert!(count(4) > 0, "gossip");
    assert!(remote.incoming.is_between_frames());
}

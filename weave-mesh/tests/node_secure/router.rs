//! A Weave Net router as the other side: it has one password and does not wait with its features.

use std::time::Duration;

use bytes::BytesMut;
use weave_mesh::connection::{Handshake, Offer};
use weave_mesh::crypto::nacl::SecretKey;
use weave_mesh::crypto::session::{Sealer, Sender, SessionKey};
use weave_mesh::crypto::{Credentials, Password};
use weave_mesh::node::{Config, ConnectionId, ConnectionState, Node, Transmit};
use weave_mesh::peer::Uid;
use weave_mesh::wire::frame;
use weave_mesh::wire::intro::{Features, Header};

use super::world::{S, address, config, keyring, name};

fn features(n: usize) -> Features {
    Features {
        name: name(n),
        nickname: "router".to_owned(),
        uid: Uid(n as u64),
        conn_id: 7,
        short_id: None,
        trusted: false,
        overlays: None,
        sync: 0,
        refused: None,
        needy: false,
    }
}

/// Everything that `node` wants to be written, and whether it closed the connection.
fn drain(node: &mut Node, now: Duration) -> (Vec<u8>, bool) {
    let (mut written, mut is_closed) = (Vec::new(), false);
    while let Some(transmit) = node.poll_transmit(now) {
        match transmit {
            Transmit::Data { connection, bytes } => {
                written.extend_from_slice(&bytes);
                node.handle_written(now, connection, bytes.len());
            }
            Transmit::Close { .. } => is_closed = true,
            Transmit::Dial { .. } => {}
        }
    }
    (written, is_closed)
}

fn dial(node: &mut Node, now: Duration) -> ConnectionId {
    node.handle_timeout(now);
    let Some(Transmit::Dial { dial, .. }) = node.poll_transmit(now) else {
        panic!("a dial")
    };
    node.handle_dialled(now, dial, address(1), address(9))
}

/// What an accepting router has written by the time it has our public key.
fn router(password: &str, ours: &[u8]) -> Vec<u8> {
    let secret = SecretKey::from_bytes([9; 32]);
    let theirs: [u8; 32] = ours[8..40].try_into().unwrap();
    let shared = secret.agree(&theirs).unwrap();
    let key = SessionKey::derive(&shared, &Password::new(password));
    let mut sealed = BytesMut::new();
    Sealer::new(key, Sender::Acceptor).seal(&features(9).encode(), &mut sealed);
    let mut stream = b"weave\x01\x02\x01".to_vec();
    stream.extend_from_slice(&secret.public());
    stream.extend_from_slice(&frame::encode(&sealed).unwrap());
    stream
}

/// Header and flag of ours go out before anything of the router arrives.
fn greet(node: &mut Node, id: ConnectionId, now: Duration) -> Vec<u8> {
    let (mut ours, _) = drain(node, now);
    node.handle_bytes(now, id, b"weave\x01\x02");
    ours.extend(drain(node, now).0);
    ours
}

#[test]
fn a_router_with_the_next_password_is_redialled_at_once_with_that() {
    let now = S;
    let mut node = Node::new(config(1, &["old", "older", "new"], &[9]), []).unwrap();
    let id = dial(&mut node, now);
    let ours = greet(&mut node, id, now);
    node.handle_bytes(now, id, &router("new", &ours)[7..]);
    let (_, is_closed) = drain(&mut node, now);
    assert!(
        is_closed,
        "the router could not open what was sealed with the first password"
    );

    let id = dial(&mut node, now);
    let ours = greet(&mut node, id, now);
    node.handle_bytes(now, id, &router("new", &ours)[7..]);

    let report = node.report(now);
    assert_eq!(report.connections[0].state, ConnectionState::Established);
    assert_eq!(report.passwords.unwrap().with_other, 1);
    assert_eq!(report.counters.password_refused, 1);
}

#[test]
fn a_router_that_keeps_changing_its_password_is_not_dialled_in_a_loop() {
    let now = S;
    let mut node = Node::new(config(1, &["one", "two"], &[9]), []).unwrap();
    for other in ["two", "one"] {
        let id = dial(&mut node, now);
        let ours = greet(&mut node, id, now);
        node.handle_bytes(now, id, &router(other, &ours)[7..]);
        drain(&mut node, now);
    }

    node.handle_timeout(now);

    assert!(node.poll_transmit(now).is_none(), "the next attempt waits");
    assert_eq!(
        node.report(now).connections[0].state,
        ConnectionState::Failed
    );
}

/// Plays a remote on protocol version 1 only, by our own handshake.
fn version_1(words: &[&str], role: Sender) -> Handshake {
    let offer = Offer {
        versions: Header { min: 1, max: 1 },
        features: features(9),
    };
    if words.is_empty() {
        return Handshake::new(offer);
    }
    let credentials = Credentials {
        keyring: keyring(words),
        choice: 0,
        secret: SecretKey::from_bytes([9; 32]),
        role,
    };
    Handshake::with_password(offer, credentials)
}

fn accepting(config: Config, now: Duration) -> (Node, ConnectionId) {
    let mut node = Node::new(config, []).unwrap();
    let id = node.handle_accepted(now, address(1), address(9));
    (node, id)
}

#[test]
fn version_1_works_behind_its_option_with_and_without_password() {
    for words in [&[][..], &["secret"]] {
        let now = S;
        let (mut node, id) = accepting(config(1, words, &[]).min_version(1), now);
        let mut remote = version_1(words, Sender::Dialler);
        let mut introduced = None;
        for _ in 0..4 {
            node.handle_bytes(now, id, &remote.take_output());
            let (written, _) = drain(&mut node, now);
            if introduced.is_none() {
                introduced = remote.handle_bytes(&written).unwrap();
            }
        }

        let mut introduced = introduced.unwrap();
        assert_eq!(introduced.version, 1);
        let report = node.report(now);
        assert_eq!(
            (report.protocol_min_version, report.protocol_max_version),
            (1, 2)
        );
        assert_eq!(report.connections.len(), 1);
        let mut heartbeat = BytesMut::new();
        introduced.outgoing.put(&[0], &mut heartbeat).unwrap();
        node.handle_bytes(now, id, &heartbeat);
        assert!(!drain(&mut node, now).1);
    }
}

#[test]
fn version_1_is_refused_by_default() {
    let now = S;
    let (mut node, id) = accepting(config(1, &[], &[]), now);

    node.handle_bytes(now, id, &version_1(&[], Sender::Dialler).take_output());

    assert!(drain(&mut node, now).1);
    let report = node.report(now);
    assert_eq!(
        report.refusals[0].reason,
        "remote version range [1,1] is incompatible with ours [2,2]"
    );
}

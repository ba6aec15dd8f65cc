//! Law X1 of `ALGORITHM.md`: every exchange of digests and deltas ends. Every message is of a rank,
//! and whatever a node knows, what it answers at once is of lower ranks.

#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use weave_mesh::node::{Config, ConnectionId, Node, Transmit};
use weave_mesh::peer::{Head, Link, PeerName, ShortId, Uid};
use weave_mesh::wire::frame::{self, FrameReader};
use weave_mesh::wire::intro::Features;
use weave_mesh::wire::message::Message;
use weave_mesh::wire::sync::{Body, RecordUpdate, Sync, VERSION};

const US: u8 = 1;
const REMOTE: u8 = 2;
const PEERS: u8 = 6;
/// So late that what the node said at its start lets it answer again.
const NOW: Duration = Duration::from_secs(8);

fn name(n: u8) -> PeerName {
    PeerName::from_bytes([10, 0, 0, 0, 0, n])
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 6783))
}

/// A node, and a neighbour that exchanges digests and deltas with it.
struct Talk {
    node: Node,
    id: ConnectionId,
    now: Duration,
    header: usize,
    frames: FrameReader,
}

impl Talk {
    fn start() -> Self {
        let config = Config::default().name(name(US)).listen(address(US));
        let mut node = Node::new(config, []).unwrap();
        let now = Duration::ZERO;
        let id = node.handle_accepted(now, address(US), address(REMOTE));
        node.handle_bytes(now, id, b"weave\x02\x02\x00");
        let features = Features {
            name: name(REMOTE),
            nickname: "remote".to_owned(),
            uid: Uid(99),
            conn_id: 5,
            short_id: None,
            trusted: false,
            overlays: None,
            sync: VERSION,
            refused: None,
            needy: false,
        };
        let map = frame::encode(&features.encode()).unwrap();
        node.handle_bytes(now, id, &map);
        let mut talk = Self {
            node,
            id,
            now,
            header: 8,
            frames: FrameReader::new(),
        };
        let first = talk.written();
        assert!(Features::decode(&first[0]).is_ok_and(|ours| ours.sync == VERSION));
        talk
    }

    /// What the node writes until it has nothing more to write.
    fn written(&mut self) -> Vec<Bytes> {
        while let Some(transmit) = self.node.poll_transmit(self.now) {
            match transmit {
                Transmit::Data { connection, bytes } => {
                    self.node.handle_written(self.now, connection, bytes.len());
                    let skipped = self.header.min(bytes.len());
                    self.header -= skipped;
                    self.frames.push(&bytes[skipped..]);
                }
                Transmit::Dial { dial, target } => {
                    let refused = "refused".to_owned();
                    let text = target.to_string();
                    self.node.handle_dial_failed(self.now, dial, text, refused);
                }
                Transmit::Close { .. } => panic!("the connection ended"),
            }
        }
        std::iter::from_fn(|| self.frames.pop().unwrap()).collect()
    }

    fn wait_until(&mut self, until: Duration) {
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.node.handle_timeout(at);
            let _ = self.written();
        }
        self.now = until;
    }

    /// The ranks of what the node answers to a message, without time passing.
    fn answers(&mut self, message: &Sync<'_>) -> Vec<u8> {
        let body = message.emit();
        let frame = frame::encode(&Message::Sync { body: &body }.emit()).unwrap();
        self.node.handle_bytes(self.now, self.id, &frame);
        let answers = self.written();
        answers
            .iter()
            .map(|answer| match Message::parse(answer).unwrap() {
                Message::Sync { body } => rank(&Sync::parse(body).unwrap()),
                other => panic!("{other:?} is no answer"),
            })
            .collect()
    }
}

/// Every part of a message that may be answered counts: its rank is that of the highest.
fn rank(message: &Sync<'_>) -> u8 {
    match message {
        Sync::Digest(_) => 6,
        Sync::Heads { is_complete, .. } => 4 + u8::from(*is_complete),
        Sync::Wants(wants) if wants.iter().any(|(_, held)| *held > 0) => 3,
        Sync::Wants(_) => 1,
        Sync::Records(records) => {
            let is_delta = |record: &RecordUpdate| matches!(record.body, Body::Since { .. });
            2 * u8::from(records.iter().any(is_delta))
        }
        other => panic!("{other:?} is not about the graph"),
    }
}

fn any_head() -> impl Strategy<Value = Head> {
    let values = (1..=PEERS, 1_u64..3, 0_u64..6, any::<bool>());
    values.prop_map(|(peer, uid, version, has_short_id)| Head {
        name: name(peer),
        uid: Uid(uid),
        version,
        has_short_id,
    })
}

fn any_link() -> impl Strategy<Value = (PeerName, Link)> {
    (1..=PEERS, any::<bool>()).prop_map(|(remote, established)| {
        let link = Link {
            address: address(remote).into(),
            outbound: true,
            established,
        };
        (name(remote), link)
    })
}

fn any_whole() -> impl Strategy<Value = Body> {
    vec(any_link(), 0..5).prop_map(|links| Body::Whole {
        nickname: "n".to_owned(),
        connections: links.into_iter().collect(),
    })
}

fn any_since() -> impl Strategy<Value = Body> {
    let removed = vec((1..=PEERS).prop_map(name), 0..3);
    (1_u64..6, vec(any_link(), 0..3), removed).prop_map(|(base, changed, removed)| Body::Since {
        base,
        changed,
        removed,
    })
}

fn record(body: impl Strategy<Value = Body>) -> impl Strategy<Value = RecordUpdate> {
    (any_head(), body).prop_map(|(head, body)| RecordUpdate {
        head,
        short_id: head.has_short_id.then(|| ShortId::try_from(7).unwrap()),
        body,
    })
}

fn any_message() -> impl Strategy<Value = Sync<'static>> {
    let wants = btree_map((1..=PEERS).prop_map(name), 0_u64..6, 0..6);
    let asked = btree_map((1..=PEERS).prop_map(name), Just(0), 0..6);
    let mixed = prop_oneof![any_whole(), any_since()];
    prop_oneof![
        any::<u64>().prop_map(Sync::Digest),
        (any::<bool>(), vec(any_head(), 0..8))
            .prop_map(|(is_complete, heads)| Sync::Heads { is_complete, heads }),
        wants.prop_map(|wants| Sync::Wants(wants.into_iter().collect())),
        asked.prop_map(|wants| Sync::Wants(wants.into_iter().collect())),
        vec(record(mixed), 0..6).prop_map(Sync::Records),
        vec(record(any_whole()), 0..6).prop_map(Sync::Records),
    ]
}

proptest! {
    #[test]
    fn every_exchange_ends(
        known in vec(record(any_whole()), 0..10),
        messages in vec(any_message(), 1..12),
    ) {
        let mut talk = Talk::start();
        prop_assert_eq!(talk.answers(&Sync::Records(known)), Vec::<u8>::new());
        talk.wait_until(NOW);
        let _ = talk.written();

        for message in messages {
            let answers = talk.answers(&message);
            prop_assert!(
                answers.iter().all(|answer| *answer < rank(&message)),
                "{:?} was answered by ranks {:?}", message, answers
            );
        }
    }
}

/// The longest exchange, so that the law is not kept by silence.
#[test]
fn a_digest_leads_down_to_whole_records() {
    let mut talk = Talk::start();
    talk.wait_until(NOW);
    let of = |version| Head {
        name: name(REMOTE),
        uid: Uid(99),
        version,
        has_short_id: false,
    };
    let heads = |is_complete, version| Sync::Heads {
        is_complete,
        heads: vec![of(version)],
    };
    let update = |version, body| {
        Sync::Records(vec![RecordUpdate {
            head: of(version),
            short_id: None,
            body,
        }])
    };
    let since = Body::Since {
        base: 5,
        changed: vec![],
        removed: vec![],
    };
    let ours = Link {
        address: address(US).into(),
        outbound: true,
        established: true,
    };
    let whole = Body::Whole {
        nickname: "remote".to_owned(),
        connections: [(name(US), ours)].into(),
    };

    assert_eq!(talk.answers(&Sync::Digest(1)), [5], "all heads");
    assert_eq!(
        talk.answers(&heads(true, 3)),
        [1, 4],
        "a want of the whole record, and our head"
    );
    assert_eq!(talk.answers(&update(3, whole.clone())), []);
    assert_eq!(talk.answers(&heads(false, 4)), [3], "a want of a delta");
    assert_eq!(talk.answers(&update(6, since)), [1], "it does not fit");
    assert_eq!(talk.answers(&update(6, whole)), []);
    assert_eq!(talk.answers(&Sync::Wants(vec![(name(US), 0)])), [0]);
}

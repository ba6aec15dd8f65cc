//! What a Weave Net router must never be sent, item by item of the mesh protocol's list of
//! compatibility hazards: everything a node writes to one is read here as the router reads it.

#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use weave_mesh::gossip::{Channel, ChannelError, Relay};
use weave_mesh::node::{Config, ConnectionId, Node, Transmit, UnicastError};
use weave_mesh::peer::{Link, PeerName, PeerRecord, Uid};
use weave_mesh::wire::frame::{self, FrameReader};
use weave_mesh::wire::intro::Features;
use weave_mesh::wire::message::Message;
use weave_mesh::wire::update;

const S: Duration = Duration::from_secs(1);

fn name(n: u8) -> PeerName {
    PeerName::from_bytes([10, 0, 0, 0, 0, n])
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 6783))
}

fn config() -> Config {
    Config::default()
        .name(name(1))
        .listen(address(1))
        .overlays(["fastdp", "sleeve"])
}

struct Silent;

impl Channel for Silent {
    fn state(&mut self) -> Option<Bytes> {
        Some(Bytes::from_static(b"state"))
    }

    fn handle_gossip(&mut self, _: &[u8]) -> Result<Relay, ChannelError> {
        Ok(Relay::Nothing)
    }

    fn handle_broadcast(&mut self, _: PeerName, _: &[u8]) -> Result<Relay, ChannelError> {
        Ok(Relay::Nothing)
    }

    fn handle_unicast(&mut self, _: PeerName, _: &[u8]) -> Result<(), ChannelError> {
        Ok(())
    }
}

/// A node that a router (name 9) has connected to, and what it wrote.
struct Talk {
    node: Node,
    id: ConnectionId,
    now: Duration,
    header: Vec<u8>,
    features: Features,
    frames: FrameReader,
    /// Everything written behind the features, message by message.
    messages: Vec<Bytes>,
    /// Whom the node dialled.
    dialled: BTreeSet<String>,
}

impl Talk {
    fn start(config: Config) -> Self {
        let channel: Box<dyn Channel> = Box::new(Silent);
        let mut node = Node::new(config, [("IPallocation".to_owned(), channel)]).unwrap();
        let id = node.handle_accepted(Duration::ZERO, address(1), address(9));
        node.handle_bytes(Duration::ZERO, id, b"weave\x01\x02\x00");
        let router = Features {
            name: name(9),
            nickname: "router".to_owned(),
            uid: Uid(99),
            conn_id: 5,
            short_id: None,
            trusted: false,
            overlays: Some(vec!["fastdp".to_owned(), "sleeve".to_owned()]),
            sync: 0,
            refused: None,
            needy: false,
        };
        let map = frame::encode(&router.encode()).unwrap();
        node.handle_bytes(Duration::ZERO, id, &map);
        let mut talk = Self {
            node,
            id,
            now: Duration::ZERO,
            header: Vec::new(),
            features: router,
            frames: FrameReader::new(),
            messages: Vec::new(),
            dialled: BTreeSet::new(),
        };
        talk.drain();
        talk.features = Features::decode(&talk.messages.remove(0)).unwrap();
        talk
    }

    fn send(&mut self, message: &[u8]) {
        let frame = frame::encode(message).unwrap();
        self.node.handle_bytes(self.now, self.id, &frame);
        self.drain();
    }

    /// The router tells of others: 2 and 3 are connected to it.
    fn tell(&mut self, version: u64) {
        let link = |n: u8| {
            let link = Link {
                address: address(n).into(),
                outbound: true,
                established: true,
            };
            (name(n), link)
        };
        let mut router = PeerRecord::new(name(9), "router", Uid(99));
        router.version = version;
        router.connections = [1, 2, 3].map(link).into();
        let mut other = PeerRecord::new(name(2), "", Uid(2));
        other.version = version;
        other.connections = [link(9)].into();
        let payload = update::encode([&router, &other]);
        let gossip = Message::Gossip {
            channel: "topology",
            sender: name(9),
            payload: &payload,
        };
        self.send(&gossip.emit());
    }

    fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.node.handle_timeout(at);
            self.drain();
            // Keeps the router alive.
            self.send(&[0]);
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.node.poll_transmit(self.now) {
            match transmit {
                Transmit::Data { connection, bytes } => {
                    self.node.handle_written(self.now, connection, bytes.len());
                    let missing = 8_usize.saturating_sub(self.header.len()).min(bytes.len());
                    self.header.extend_from_slice(&bytes[..missing]);
                    self.frames.push(&bytes[missing..]);
                }
                Transmit::Dial { dial, target } => {
                    let text = target.to_string();
                    self.dialled.insert(text.clone());
                    self.node
                        .handle_dial_failed(self.now, dial, text, "refused".to_owned());
                }
                Transmit::Close { .. } => panic!("the connection ended"),
            }
        }
        while let Some(message) = self.frames.pop().unwrap() {
            self.messages.push(message);
        }
    }

    /// A long talk with everything a node says on its own.
    fn whole() -> Self {
        let mut talk = Self::start(config());
        for version in 1..=3 {
            talk.tell(version);
            talk.advance(5 * S);
        }
        let _ = talk.node.unicast("IPallocation", name(2), b"\x01");
        talk.node.broadcast("IPallocation");
        talk.node.handle_established(talk.now, talk.id);
        talk.advance(400 * S);
        talk
    }

    /// The payloads of topology gossip.
    fn updates(&self) -> Vec<Vec<u8>> {
        let gossip =
            self.messages
                .iter()
                .filter_map(|message| match Message::parse(message).unwrap() {
                    Message::Gossip {
                        channel: "topology",
                        payload,
                        ..
                    } => Some(payload.to_vec()),
                    _ => None,
                });
        gossip.collect()
    }

    /// Our own record in the last update that has it.
    fn own(&self) -> PeerRecord {
        let mut records = self
            .updates()
            .into_iter()
            .flat_map(|update| update::decode(&update).unwrap());
        records.rfind(|record| record.name == name(1)).unwrap()
    }
}

/// An unsigned and then a signed gob integer, and what is left.
fn gob_uint(bytes: &[u8]) -> (u64, &[u8]) {
    match bytes[0] {
        small @ 0..0x80 => (u64::from(small), &bytes[1..]),
        wide => {
            let end = 1 + usize::from(wide.wrapping_neg());
            let value = bytes[1..end]
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte));
            (value, &bytes[end..])
        }
    }
}

fn gob_int(bytes: &[u8]) -> (i64, &[u8]) {
    let (raw, rest) = gob_uint(bytes);
    let half = i64::try_from(raw >> 1).unwrap();
    (if raw & 1 == 0 { half } else { !half }, rest)
}

#[test]
fn hazard_1_a_start_has_its_own_uid_and_a_connected_peer_a_version_of_at_least_one() {
    let uid = |seed| {
        let node = Node::new(config().seed(seed), []).unwrap();
        node.topology().local().uid
    };
    assert_ne!(uid(1), uid(2));

    let mut talk = Talk::start(config());
    talk.advance(3 * S);
    let own = talk.own();
    assert!(own.version >= 1);
    // What others remember of an earlier start is superseded.
    let mut earlier = own.clone();
    (earlier.uid, earlier.version) = (Uid(1234), own.version + 7);
    let payload = update::encode([&earlier]);
    let gossip = Message::Gossip {
        channel: "topology",
        sender: name(9),
        payload: &payload,
    };
    talk.send(&gossip.emit());
    talk.advance(3 * S);
    assert!(talk.own().version > earlier.version);
    assert_eq!(talk.own().uid, own.uid);
}

#[test]
fn hazard_2_and_3_we_list_ourselves_and_where_our_connections_lead() {
    let talk = Talk::whole();

    let own = talk.own();
    let link = &own.connections[&name(9)];
    assert_eq!(link.address.socket(), Some(address(9)));
    assert!(!link.outbound && link.established);
}

#[test]
fn hazard_4_a_peer_known_from_inside_only_is_dialled_at_our_own_port() {
    let mut talk = Talk::start(config());
    let link = |address: &str, outbound| Link {
        address: address.into(),
        outbound,
        established: true,
    };
    // The router accepted host 4 and dialled host 5, which listens elsewhere.
    let mut router = PeerRecord::new(name(9), "router", Uid(99));
    router.version = 1;
    router.connections = [
        (name(4), link("10.0.0.4:50123", false)),
        (name(5), link("10.0.0.5:7000", true)),
    ]
    .into();
    let payload = update::encode([&router]);
    let gossip = Message::Gossip {
        channel: "topology",
        sender: name(9),
        payload: &payload,
    };
    talk.send(&gossip.emit());

    talk.advance(10 * S);

    let expected = ["10.0.0.4:6783", "10.0.0.5:7000"].map(str::to_owned);
    assert_eq!(talk.dialled, expected.into());
}

#[test]
fn hazard_5_overlays_are_in_the_order_of_routers_and_never_an_empty_value() {
    let talk = Talk::start(config());
    let expected = ["fastdp".to_owned(), "sleeve".to_owned()];
    assert_eq!(talk.features.overlays.unwrap(), expected);

    let config = || Config::default().name(name(1)).listen(address(1));
    for (overlays, plain) in [(&[][..], &[][..]), (&["fastdp"], &["fastdp"])] {
        let config = config()
            .overlays(overlays.to_vec())
            .plain_overlays(plain.to_vec());
        let mut node = Node::new(config, []).unwrap();
        let id = node.handle_accepted(S, address(1), address(9));
        node.handle_bytes(S, id, b"weave\x01\x02");
        let mut written = Vec::new();
        while let Some(transmit) = node.poll_transmit(S) {
            if let Transmit::Data { bytes, .. } = transmit {
                written.extend_from_slice(&bytes);
                node.handle_written(S, id, bytes.len());
            }
        }
        let offered = Features::decode(&written[12..]).unwrap().overlays;
        assert!(offered.is_none_or(|list| !list.is_empty()));
    }
}

#[test]
fn hazard_5_control_messages_that_crash_a_router_are_not_sent() {
    let mut talk = Talk::start(config());
    let before = talk.messages.len();
    for body in [&[][..], &[0], &[1], &[2, 0], &[255, 1], &[9, 1, 2]] {
        talk.node.send_control(talk.now, talk.id, body);
    }
    talk.drain();
    assert_eq!(talk.messages.len(), before);
    let refused = talk.node.report(talk.now).counters.control_refused;
    assert_eq!(refused, 6);

    talk.node.send_control(talk.now, talk.id, &[1, 1]);
    talk.drain();
    assert_eq!(talk.messages[before], [7, 1, 1].as_slice());
}

#[test]
fn hazard_5_bare_overlay_tags_are_for_remotes_without_a_list_only() {
    let talk = Talk::whole();

    let is_bare = |message: &&Bytes| matches!(message.first(), Some(1..=3));
    assert_eq!(talk.messages.iter().find(is_bare), None);
}

#[test]
fn hazard_6_gob_types_have_ids_from_65_on_and_are_defined_once_in_each_stream() {
    let mut checked = 0;
    for payload in Talk::whole().updates() {
        let mut rest = payload.as_slice();
        let mut defined = BTreeSet::new();
        while !rest.is_empty() {
            let (length, behind) = gob_uint(rest);
            let (message, next) = behind.split_at(usize::try_from(length).unwrap());
            let (id, _) = gob_int(message);
            if id < 0 {
                assert!(-id >= 65, "type {}", -id);
                assert!(defined.insert(-id), "type {} is defined twice", -id);
            } else {
                assert!(
                    defined.contains(&id),
                    "type {id} is not defined before it is used"
                );
            }
            rest = next;
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

#[test]
fn hazard_6_no_name_is_twice_in_one_update() {
    for payload in Talk::whole().updates() {
        let records = update::decode(&payload).unwrap();
        let names: BTreeSet<_> = records.iter().map(|record| record.name).collect();
        assert_eq!(names.len(), records.len());
    }
}

#[test]
fn hazard_7_features_have_a_nickname_even_if_empty_and_a_short_id_of_12_bits() {
    let talk = Talk::start(config().nickname(""));

    assert_eq!(talk.features.nickname, "");
    assert!(u16::from(talk.features.short_id.unwrap()) < 4096);
}

#[test]
fn hazard_8_no_unicast_goes_out_on_topology_and_no_empty_one_to_the_allocator() {
    let mut talk = Talk::start(config());
    talk.tell(1);
    for (channel, payload) in [("topology", &b"x"[..]), ("IPallocation", b"")] {
        let outcome = talk.node.unicast(channel, name(2), payload);
        assert_eq!(outcome, Err(UnicastError::Harmful(channel.to_owned())));
        let passing = Message::Unicast {
            channel,
            source: name(9),
            destination: name(9),
            payload,
        };
        talk.send(&passing.emit());
    }
    talk.drain();

    let is_unicast = |message: &&Bytes| message.first() == Some(&5);
    assert_eq!(talk.messages.iter().find(is_unicast), None);
    let withheld = talk.node.report(talk.now).counters.hazard_withheld;
    assert_eq!(withheld, 4);
}

#[test]
fn hazard_9_a_message_leaves_room_for_the_tag_of_a_sealed_one() {
    let mut talk = Talk::start(config());
    talk.tell(1);
    let overhead = Message::Unicast {
        channel: "IPallocation",
        source: name(1),
        destination: name(2),
        payload: &vec![0; 10 << 20],
    }
    .emit()
    .len()
        - (10 << 20);
    let largest = (10 << 20) - 16 - overhead;

    let too_large = talk
        .node
        .unicast("IPallocation", name(2), &vec![1; largest + 1]);
    assert_eq!(too_large, Err(UnicastError::TooLarge(largest + 1)));
    assert_eq!(
        talk.node
            .unicast("IPallocation", name(2), &vec![1; largest]),
        Ok(())
    );
}

#[test]
fn hazard_10_nobody_is_called_zero() {
    assert!(Node::new(Config::default(), []).is_err());

    for payload in Talk::whole().updates() {
        for record in update::decode(&payload).unwrap() {
            assert_ne!(record.name, PeerName::UNKNOWN);
            assert!(!record.connections.contains_key(&PeerName::UNKNOWN));
        }
    }
}

#[test]
fn hazard_11_a_reset_right_after_the_introduction_is_an_end_like_any_other() {
    let mut node = Talk::start(config()).node;
    let first = node.connection_with(name(9)).unwrap();
    for at in [S, 2 * S] {
        let cause = "read tcp 10.0.0.1:6783->10.0.0.9:6783: connection reset by peer";
        node.handle_closed(at, first, cause.to_owned());
        // What was queued for it goes nowhere, and a second end of the same is none.
        while node.poll_transmit(at).is_some() {}
        node.handle_timeout(at);
    }

    let report = node.report(2 * S);
    assert_eq!(report.termination_count, 1);
    assert_eq!(report.peers.len(), 1, "the router is forgotten");
    assert!(node.topology().local().connections.is_empty());
    assert_eq!(node.topology().local().version, 2, "added, removed");
}

#[test]
fn hazard_12_unknown_tags_and_keys_go_to_those_only_that_announced_them() {
    let talk = Talk::whole();

    let tags: BTreeSet<_> = talk.messages.iter().map(|message| message[0]).collect();
    assert!(tags.iter().all(|tag| *tag < 8), "{tags:?}");
    assert_eq!(talk.header, b"weave\x02\x02\x00");
}

#[test]
fn heartbeats_go_out_every_thirty_seconds_whatever_else_does() {
    let mut talk = Talk::start(config());
    talk.advance(301 * S);

    let heartbeats = talk.messages.iter().filter(|message| message[..] == [0]);
    assert_eq!(heartbeats.count(), 10);
}

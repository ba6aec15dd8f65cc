//! A recorded session of two routers, with each router in turn replaced by a node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use weave_mesh::gossip::{Channel, ChannelError, Relay};
use weave_mesh::node::{
    Config, ConnectionId, Event, Node, OverlayEvent, Report, RouteTable, Transmit,
};
use weave_mesh::peer::{PeerName, ShortId, Uid};
use weave_mesh::wire::frame::FrameReader;
use weave_mesh::wire::intro::Features;
use weave_mesh::wire::message::Message;
use weave_mesh::wire::update;

use crate::unhex;

/// Takes the payloads of the address allocator, whose meaning the mesh does not know.
#[derive(Clone, Default)]
struct Opaque(Arc<Mutex<Vec<Payload>>>);

/// The kind of message, as the recording names it, and what it carried.
type Payload = (&'static str, Vec<u8>);

impl Opaque {
    fn note(&self, kind: &'static str, payload: &[u8]) {
        self.0.lock().unwrap().push((kind, payload.to_vec()));
    }
}

impl Channel for Opaque {
    fn state(&mut self) -> Option<Bytes> {
        None
    }

    fn handle_gossip(&mut self, payload: &[u8]) -> Result<Relay, ChannelError> {
        self.note("gossip", payload);
        Ok(Relay::Nothing)
    }

    fn handle_broadcast(&mut self, _: PeerName, payload: &[u8]) -> Result<Relay, ChannelError> {
        self.note("gossip broadcast", payload);
        Ok(Relay::Nothing)
    }

    fn handle_unicast(&mut self, _: PeerName, payload: &[u8]) -> Result<(), ChannelError> {
        self.note("gossip unicast", payload);
        Ok(())
    }
}

/// One run: our node in the place of one side, fed with what the other side sent.
struct Replay {
    node: Node,
    id: ConnectionId,
    payloads: Opaque,
    controls: Vec<Vec<u8>>,
    log: Vec<String>,
    written: Vec<u8>,
    routes: Option<Arc<RouteTable>>,
}

impl Replay {
    fn new(us: &Value, is_outbound: bool) -> Self {
        let features = &us["messages"][0]["features"];
        let text = |key: &str| features[key].as_str().unwrap();
        let short_id: u16 = text("ShortID").parse().unwrap();
        let mut config = Config::default()
            .name(text("Name").parse().unwrap())
            .nickname(text("NickName"))
            .uid(Uid(text("UID").parse().unwrap()))
            .short_id(ShortId::try_from(short_id).unwrap())
            .overlays(text("Overlays").split(' '));
        if is_outbound {
            config = config.peers(["10.99.0.2"]);
        }
        let payloads = Opaque::default();
        let channel: Box<dyn Channel> = Box::new(payloads.clone());
        let mut node = Node::new(config, [("IPallocation".to_owned(), channel)]).unwrap();
        node.handle_timeout(Duration::ZERO);
        let id = Self::connect(&mut node, is_outbound);
        let (controls, log, written) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            node,
            id,
            payloads,
            controls,
            log,
            written,
            routes: None,
        }
    }

    fn connect(node: &mut Node, is_outbound: bool) -> ConnectionId {
        let dialler: SocketAddr = "10.99.0.1:34549".parse().unwrap();
        let listener: SocketAddr = "10.99.0.2:6783".parse().unwrap();
        if !is_outbound {
            return node.handle_accepted(Duration::ZERO, listener, dialler);
        }
        let Some(Transmit::Dial { dial, target }) = node.poll_transmit(Duration::ZERO) else {
            panic!("the target is dialled");
        };
        assert_eq!(target.to_string(), "10.99.0.2:6783");
        node.handle_dialled(Duration::ZERO, dial, dialler, listener)
    }

    /// Lets time pass and hands over what follows from it.
    fn advance(&mut self, to: Duration) {
        self.drain(to);
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= to) {
            self.node.handle_timeout(at);
            self.drain(at);
        }
    }

    fn drain(&mut self, now: Duration) {
        while let Some(transmit) = self.node.poll_transmit(now) {
            if let Transmit::Data { connection, bytes } = transmit {
                self.written.extend_from_slice(&bytes);
                self.node.handle_written(now, connection, bytes.len());
            }
        }
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Notice(notice) => self.log.push(notice.to_string()),
                Event::Overlay(OverlayEvent::Control { id, body }) => {
                    // The remote received our heartbeat: sleeve works in both directions.
                    if body == vec![0, 1] {
                        self.node.handle_established(now, id);
                    }
                    self.controls.push(body.to_vec());
                }
                Event::Overlay(_) => {}
            }
        }
        if let Some(table) = self.node.poll_routes() {
            self.routes = Some(table);
        }
    }
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// Replays what `them` sent, at the times at which it was sent.
fn replay(us: &Value, them: &Value, is_outbound: bool) -> Replay {
    let mut replay = Replay::new(us, is_outbound);
    let stream = unhex(them["stream"].as_str().unwrap());
    let messages = them["messages"].as_array().unwrap();
    let mut sent = 0;
    for (i, message) in messages.iter().enumerate() {
        let at = Duration::from_secs_f64(message["t"].as_f64().unwrap());
        let end = messages
            .get(i + 1)
            .map_or(stream.len(), |next| number(&next["offset"]));
        replay.advance(at);
        replay.node.handle_bytes(at, replay.id, &stream[sent..end]);
        replay.drain(at);
        sent = end;
    }
    replay.advance(Duration::from_millis(151_500));
    replay
}

fn sides() -> [Value; 2] {
    let mut file: Value =
        serde_json::from_str(include_str!("../vectors/capture_v2_plaintext.json")).unwrap();
    [file["outbound_side"].take(), file["inbound_side"].take()]
}

#[test]
fn a_node_in_the_place_of_either_router_understands_everything_the_other_says() {
    let sides = sides();
    for (us, is_outbound) in [(0, true), (1, false)] {
        let them = &sides[1 - us];

        let replay = replay(&sides[us], them, is_outbound);

        let expected: Vec<_> = them["messages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|message| message["channel"] == "IPallocation")
            .map(|message| {
                let kind = message["kind"].as_str().unwrap();
                (kind, unhex(message["payload"].as_str().unwrap()))
            })
            .collect();
        let payloads = replay.payloads.0.lock().unwrap().clone();
        assert_eq!(payloads, expected);
        assert_eq!(
            replay.controls,
            [vec![0, 1], vec![0, 2], vec![0, 3, 0x05, 0x9e]]
        );
        assert!(
            !replay.log.iter().any(|line| line.contains("error")),
            "{:#?}",
            replay.log
        );
        let routes = replay.routes.unwrap();
        assert_eq!(routes.unicast.len(), 1);
        assert_eq!(routes.known.len(), 2);
    }
}

#[test]
fn the_report_after_the_session_is_that_of_the_router() {
    let sides = sides();
    let mut replay = replay(&sides[0], &sides[1], true);
    let attributes = BTreeMap::from([("mtu".to_owned(), "1438".to_owned())]);
    replay
        .node
        .set_overlay(replay.id, "sleeve".to_owned(), attributes);
    let report = replay.node.report(Duration::from_secs(152));

    let file: Value = serde_json::from_str(include_str!("../vectors/status_report.json")).unwrap();
    let router = &file["plaintext"]["Router"];
    assert_eq!(peers(&report), router["Peers"]);
    assert_eq!(connections(&report), router["Connections"]);
    let routes = report
        .unicast_routes
        .iter()
        .map(|(to, via)| serde_json::json!({"Dest": to.to_string(), "Via": via.to_string()}));
    assert_eq!(
        routes.collect::<Vec<_>>(),
        *router["UnicastRoutes"].as_array().unwrap()
    );
    assert_eq!(report.targets, ["10.99.0.2"]);
    assert_eq!(report.termination_count, 0);
}

fn peers(report: &Report) -> Value {
    let peers = report.peers.iter().map(|peer| {
        let links = peer.connections.iter().map(|link| {
            serde_json::json!({
                "Name": link.name.to_string(),
                "NickName": link.nickname,
                "Address": link.address,
                "Outbound": link.outbound,
                "Established": link.established,
            })
        });
        serde_json::json!({
            "Name": peer.name.to_string(),
            "NickName": peer.nickname,
            "UID": peer.uid.0,
            "ShortID": peer.short_id.map(u16::from),
            "Version": peer.version,
            "Connections": links.collect::<Vec<_>>(),
        })
    });
    peers.collect::<Vec<_>>().into()
}

fn connections(report: &Report) -> Value {
    let connections = report.connections.iter().map(|connection| {
        let attributes = connection.attributes.as_ref().unwrap();
        serde_json::json!({
            "Address": connection.address,
            "Outbound": connection.outbound,
            "State": connection.state.to_string(),
            "Info": connection.info(|_| String::new()),
            "Attrs": {"mtu": attributes["mtu"].parse::<u32>().unwrap(), "name": attributes["name"]},
        })
    });
    connections.collect::<Vec<_>>().into()
}

#[test]
fn what_the_node_writes_is_what_a_router_would_write() {
    let sides = sides();
    let replay = replay(&sides[0], &sides[1], true);

    assert_eq!(replay.written[..8], *b"weave\x02\x02\x00");
    let mut frames = FrameReader::new();
    frames.push(&replay.written[8..]);
    let features = Features::decode(&frames.pop().unwrap().unwrap()).unwrap();
    assert_eq!(features.overlays, Some(vec!["sleeve".to_owned()]));
    let (mut heartbeats, mut updates) = (0, Vec::new());
    while let Some(frame) = frames.pop().unwrap() {
        match Message::parse(&frame).unwrap() {
            Message::Heartbeat => heartbeats += 1,
            Message::Gossip {
                channel: "topology",
                sender,
                payload,
            } => {
                assert_eq!(sender, features.name);
                updates.push(update::decode(payload).unwrap());
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(frames.is_between_frames());
    assert_eq!(heartbeats, 5, "one in thirty seconds");
    // As recorded: complete state at once, changes a second later. Where the recorded router
    // repeats its complete state every half minute, the node says nothing: the other has it.
    assert_eq!(updates[0].len(), 2);
    let ours = |records: &[weave_mesh::peer::PeerRecord]| {
        records
            .iter()
            .find(|record| record.name == features.name)
            .map(|record| record.version)
    };
    assert_eq!(ours(&updates[0]), Some(1));
    assert_eq!(ours(&updates[1]), Some(2));
    assert!((2..=4).contains(&updates.len()), "{}", updates.len());
    assert!(updates[2..].iter().all(|records| records.len() == 1));
}

//! Law: a connection whose frames must be encrypted never emits one in clear, in no order of events.
//!
//! The functions are those the task runs; in the place of kernel and sockets there is a wire that
//! keeps what it is told. After each event a marked frame is sent by every way that the tables and
//! the forwarding snapshot offer, and is looked for in what would leave.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use weave_datapath::PeerName as DataName;
use weave_datapath::fastdp::{Engine, EngineConfig, Heartbeat, Route, Routes, ShortId};
use weave_datapath::overlay::Input;
use weave_datapath::plane::pack::{Envelope, Packer, Run};
use weave_datapath::plane::{Carrier, Forwarding, Link};
use weave_datapath::sleeve::packet::header;
use weave_datapath::sleeve::seal::{SessionKey, Stream};
use weave_datapath::sleeve::special::Special;
use weave_mesh::peer::PeerName;

use super::super::confirm::{self, Confirmed};
use super::super::served::Served;
use super::super::{FASTDP, SLEEVE, SleeveWire, sleeve};

const US: DataName = DataName(1);
const PEERS: u64 = 3;
const MARK: &[u8] = b"a frame that nobody else may read";

#[derive(Default)]
struct Kept {
    links: HashMap<u64, Arc<Link>>,
    forwarding: Forwarding,
}

impl SleeveWire for Kept {
    fn add_link(&mut self, link: Arc<Link>) {
        self.links.insert(link.id, link);
    }

    fn remove_link(&mut self, id: u64) {
        self.links.remove(&id);
    }

    fn send_special(&mut self, _: u64, _: SocketAddrV4, _: Stream, _: Special) {}

    fn set_forwarding(&mut self, forwarding: Forwarding) {
        self.forwarding = forwarding;
    }

    fn path_mtu(&mut self, _: SocketAddrV4) -> Option<u16> {
        Some(1500)
    }
}

struct World {
    engine: Engine,
    wire: Kept,
    served: HashMap<u64, Served>,
    confirmed: HashMap<u64, Confirmed>,
    routes: Routes,
    now: Duration,
}

#[derive(Debug, Clone)]
enum Step {
    Confirm {
        id: u64,
        peer: u64,
        encrypted: bool,
        key: bool,
        overlays: u8,
        outbound: bool,
    },
    Close {
        id: u64,
    },
    Control {
        id: u64,
        slot: u8,
        inner: Vec<u8>,
    },
    Heartbeat {
        id: u64,
    },
    Special {
        id: u64,
    },
    Input {
        id: u64,
        fastdp: bool,
        input: u8,
    },
    Routes {
        reachable: u8,
    },
    Wait {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..5_u64;
    let flag = any::<bool>;
    prop_oneof![
        4 => (id(), 2..2 + PEERS, flag(), flag(), 0..4_u8, flag()).prop_map(
            |(id, peer, encrypted, key, overlays, outbound)| Step::Confirm {
                id, peer, encrypted, key: key || !encrypted, overlays, outbound,
            }
        ),
        1 => id().prop_map(|id| Step::Close { id }),
        3 => (id(), 0..3_u8, prop::collection::vec(0..20_u8, 1..4))
            .prop_map(|(id, slot, inner)| Step::Control { id, slot, inner }),
        3 => id().prop_map(|id| Step::Heartbeat { id }),
        2 => id().prop_map(|id| Step::Special { id }),
        2 => (id(), flag(), 0..4_u8)
            .prop_map(|(id, fastdp, input)| Step::Input { id, fastdp, input }),
        2 => (0..1_u8 << PEERS).prop_map(|reachable| Step::Routes { reachable }),
        1 => (0..70_000_u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

fn short_id(peer: u64) -> ShortId {
    ShortId::try_from(u16::try_from(peer).unwrap()).unwrap()
}

fn address(peer: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(peer).unwrap()], 6783))
}

impl World {
    fn new() -> Self {
        Self {
            engine: Engine::new(EngineConfig {
                us: US,
                mtu: 1376,
                port: 6784,
            }),
            wire: Kept::default(),
            served: HashMap::new(),
            confirmed: HashMap::new(),
            routes: Routes::default(),
            now: Duration::from_secs(9),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Confirm {
                id,
                peer,
                encrypted,
                key,
                overlays,
                outbound,
            } => {
                self.close(id);
                let names = [FASTDP, SLEEVE].into_iter().enumerate();
                let confirmed = Confirmed {
                    id,
                    remote: PeerName::try_from(peer).unwrap(),
                    short_id: Some(short_id(peer)),
                    local: address(1),
                    peer: address(peer),
                    outbound,
                    uid: id + 100,
                    overlays: names
                        .filter(|(bit, _)| overlays >> bit & 1 == 1)
                        .map(|(_, name)| name.to_owned())
                        .collect(),
                    encrypted,
                    key: (encrypted && key).then(|| SessionKey::new([7; 32])),
                };
                let wire: &mut dyn SleeveWire = &mut self.wire;
                // As if the ports were open whatever the connection is.
                let tunnel = Ok(if id % 2 == 0 { 6784 } else { 7784 });
                let (served, _) =
                    confirm::open(&mut self.engine, Some(wire), self.now, &confirmed, tunnel);
                self.served.insert(id, served);
                self.confirmed.insert(id, confirmed);
            }
            Step::Close { id } => self.close(id),
            Step::Control { id, slot, inner } => {
                let body = [&[slot], inner.as_slice()].concat();
                if let Some(served) = self.served.get_mut(&id) {
                    confirm::control(&mut self.engine, served, self.now, id, &body);
                }
            }
            Step::Heartbeat { id } => self.heartbeat(id),
            Step::Special { id } => {
                let uid = id + 100;
                if let Some(link) = self.served.get_mut(&id).and_then(|s| s.sleeve.as_mut()) {
                    let SocketAddr::V4(from) = address(9) else {
                        return;
                    };
                    link.engine
                        .handle_special(self.now, Special::Heartbeat { uid }, from);
                }
            }
            Step::Input { id, fastdp, input } => {
                let name = if fastdp { FASTDP } else { SLEEVE };
                let input = match input {
                    0 => Input::Established,
                    1 => Input::Unhealthy(weave_datapath::overlay::pace::Silence::There),
                    2 => Input::Healthy,
                    _ => Input::Failed("x".to_owned()),
                };
                // Whoever says that of the fast overlay of an encrypted connection: it has failed.
                if let Some(served) = self.served.get_mut(&id) {
                    served.handle(self.now, name, input);
                }
            }
            Step::Routes { reachable } => {
                let peers = || (2..2 + PEERS).filter(move |peer| reachable >> (peer - 2) & 1 == 1);
                self.routes = Routes {
                    short_ids: (1..2 + PEERS)
                        .map(|peer| (DataName(peer), short_id(peer)))
                        .collect(),
                    unicast: peers()
                        .map(|peer| (DataName(peer), DataName(peer)))
                        .collect(),
                    broadcast: [(US, peers().map(DataName).collect())].into(),
                };
                self.engine.handle_routes(self.now, self.routes.clone());
            }
            Step::Wait { millis } => {
                self.now += Duration::from_millis(millis);
                self.engine.handle_timeout(self.now);
                for served in self.served.values_mut() {
                    if let Some(link) = &mut served.sleeve {
                        link.engine.handle_timeout(self.now);
                    }
                }
            }
        }
        self.settle();
    }

    fn close(&mut self, id: u64) {
        self.engine.handle_closed(self.now, id);
        self.served.remove(&id);
        self.confirmed.remove(&id);
        self.wire.remove_link(id);
    }

    fn heartbeat(&mut self, id: u64) {
        let Some(confirmed) = self.confirmed.get(&id) else {
            return;
        };
        let SocketAddr::V4(from) = confirmed.peer else {
            return;
        };
        let frame = weave_datapath::fastdp::heartbeat::frame(id + 100, 1376);
        let mut head = [0; 24];
        head.copy_from_slice(&frame[..24]);
        let heartbeat = Heartbeat {
            origin: short_id(u64::from(confirmed.remote)),
            destination: short_id(1),
            outer_src: *from.ip(),
            outer_dst: [10, 0, 0, 1].into(),
            frame_len: u32::try_from(frame.len()).unwrap(),
            head,
        };
        self.engine.handle_heartbeat(self.now, &heartbeat);
    }

    /// What the task does after each event, in its order.
    fn settle(&mut self) {
        while self.engine.poll_update(self.now).is_some() {}
        while self.engine.poll_transmit().is_some() {}
        for served in self.served.values_mut() {
            if let Some(link) = &mut served.sleeve {
                let outcome = sleeve::settle(&mut self.wire, self.now, link);
                for input in outcome.inputs {
                    served.handle(self.now, SLEEVE, input);
                }
            }
        }
        while let Some(event) = self.engine.poll_event() {
            use weave_datapath::fastdp::Event;
            let (id, input) = match event {
                Event::Established { id } => (id, Input::Established),
                Event::Unhealthy { id, why } => (id, Input::Unhealthy(why)),
                Event::Healthy { id } => (id, Input::Healthy),
                Event::Declined { id, reason } => (id, Input::Failed(reason.to_owned())),
                _ => continue,
            };
            if let Some(served) = self.served.get_mut(&id) {
                served.handle(self.now, FASTDP, input);
            }
        }
        for (id, served) in &self.served {
            let by_sleeve = served.carrier() == Some(SLEEVE);
            let peer = DataName(u64::from(served.remote));
            self.engine.handle_sleeve(*id, peer, by_sleeve);
        }
        while self.engine.poll_update(self.now).is_some() {}
        let forwarding = sleeve::forwarding(&self.routes, &self.served, US);
        self.wire.set_forwarding(forwarding);
    }

    /// Sends a marked frame by every way there is.
    fn check(&self) -> Result<(), TestCaseError> {
        let sealed = |peer: DataName| {
            let mut all = self.confirmed.values();
            all.any(|one| one.encrypted && u64::from(one.remote) == peer.0)
        };
        let sealed_at = |ip: std::net::Ipv4Addr| {
            let mut all = self.confirmed.values();
            all.any(|one| one.encrypted && one.peer.ip() == ip)
        };
        let tables = self.engine.tables();
        for entry in tables.peers.values() {
            if let Route::Fastdp(path) = entry.route {
                prop_assert!(
                    !sealed_at(path.remote),
                    "clear way {path:?} for {:?}",
                    entry.name
                );
            }
        }
        for hop in tables.trees.values().flatten() {
            prop_assert!(!sealed_at(hop.path.remote), "clear copy by {:?}", hop.path);
        }
        let ways = self.wire.forwarding.unicast.values();
        let hops = self.wire.forwarding.trees.values().flatten();
        for hop in ways.chain(hops) {
            match hop.carrier {
                Carrier::Sleeve(id) => self.send(id)?,
                _ => {
                    // The tunnel knows no way there, as checked above, unless another connection
                    // with this peer may be in clear.
                    let paths = tables.peers.values().filter(|entry| entry.name == hop.peer);
                    let clear = paths.filter(|entry| matches!(entry.route, Route::Fastdp(_)));
                    prop_assert!(!sealed(hop.peer) || clear.count() == 0);
                }
            }
        }
        Ok(())
    }

    fn send(&self, id: u64) -> Result<(), TestCaseError> {
        let (Some(link), Some(confirmed)) = (self.wire.links.get(&id), self.confirmed.get(&id))
        else {
            return Ok(()); // dropped: there is no such link
        };
        for stream in [Stream::Whole, Stream::Fragmented] {
            let envelope = Envelope {
                us: US,
                stream,
                limit: 1472,
                seal: &**link,
                runs: true,
            };
            let mut left = Vec::new();
            let mut keep = |run: Run<'_>| left.extend_from_slice(run.bytes);
            let mut packer = Packer::new();
            let head = header(US, link.remote, MARK.len()).unwrap();
            let write = |out: &mut Vec<u8>| out.extend_from_slice(MARK);
            packer.push(&envelope, head, MARK.len(), write, &mut keep);
            packer.flush(&envelope, &mut keep);
            let readable = left.windows(MARK.len()).any(|part| part == MARK);
            prop_assert_eq!(readable, !confirmed.encrypted, "connection {}", id);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_connection_that_must_be_encrypted_never_emits_a_clear_frame(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        for step in steps {
            let text = format!("{step:?}");
            world.run(step);
            world.check().map_err(|error| TestCaseError::fail(format!("after {text}: {error}")))?;
        }
    }
}

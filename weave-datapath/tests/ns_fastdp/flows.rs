//! Frame by frame as Weave Net's fast datapath decides (`vectors/fastdp_flows.json`): what goes into the
//! tunnel, to whom, under which VNI, and what goes to the local bridge.
//!
//! Two things differ on purpose: no flow is installed, so a relayed unicast is not decided anew each
//! time; and a frame with an unknown id is counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use serde_json::Value;
use weave_datapath::{
    PeerName, ShortId,
    bpf::Counter,
    fastdp::{Entry, Hop, Path, Route, Tables, Vni},
    tap::Tap,
};

use crate::{
    capture::Capture,
    counters,
    lab::{Lab, underlay},
    root,
    wire::open,
};

const TAP: &str = "local";
const QUIET: Duration = Duration::from_millis(250);
/// The Ethernet type of the recorded frames.
const TYPE: [u8; 2] = [0x88, 0xb5];

/// What a frame leads to: VNIs and outer destinations in the tunnel, and whether the bridge gets it.
type Outcome = (BTreeSet<(u32, Ipv4Addr)>, bool);

struct Stage {
    lab: Lab,
    tap: Tap,
    captures: Vec<Capture>,
    /// Recorded addresses and those that stand for them: first ours, then the peer's.
    paths: BTreeMap<String, (Ipv4Addr, Ipv4Addr)>,
    ids: Vec<ShortId>,
}

impl Stage {
    fn new(vectors: &Value) -> Self {
        let mut lab = Lab::prepared(3, &[(0, 1), (0, 2)], 0);
        lab.start(0);
        let tap = lab.hosts[0].scratch.namespace.run(|| Tap::create(TAP, 1));
        let tap = tap.unwrap().unwrap();
        lab.hosts[0].scratch.with(|netlink| {
            let tap = &tap;
            async move {
                let port = netlink.require_link(TAP).await.unwrap();
                let bridge = netlink.require_link("weave").await.unwrap();
                let joined = netlink.set_master(port.index, Some(bridge.index));
                joined.await.unwrap();
                tap.bring_up(&netlink).await.unwrap();
            }
        });
        let peers = vectors["peers"].as_array().unwrap();
        let recorded = peers.iter().map(|peer| text(&peer["ip"]));
        let ids = peers.iter().map(|peer| &peer["short_id"]);
        Self {
            captures: [1, 2]
                .map(|host| Capture::start(&lab.hosts[host].scratch.namespace))
                .into(),
            paths: recorded.zip([0, 1].map(underlay)).collect(),
            ids: [&vectors["local_short_id"]]
                .into_iter()
                .chain(ids)
                .map(|id| ShortId::try_from(u32::try_from(id.as_u64().unwrap()).unwrap()).unwrap())
                .collect(),
            lab,
            tap,
        }
    }

    /// Tells the programs of the peers; broadcasts of the first one go on to the second if `relays`.
    fn tell(&self, relays: bool) {
        let paths: Vec<Path> = self
            .paths
            .values()
            .map(|(local, remote)| Path {
                local: *local,
                remote: *remote,
                port: 6784,
            })
            .collect();
        let entry = |name, route| Entry {
            name: PeerName(name),
            route,
        };
        let [us, b, c] = [0, 1, 2].map(|peer| self.ids[peer]);
        let [to_b, to_c] = [(b, paths[0]), (c, paths[1])].map(|(id, path)| Hop { id, path });
        let mut trees = BTreeMap::from([(us, vec![to_b, to_c])]);
        if relays {
            trees.insert(b, vec![to_c]);
        }
        let tables = Tables {
            us: Some(us),
            peers: BTreeMap::from([
                (us, entry(1, Route::Us)),
                (b, entry(2, Route::Fastdp(paths[0]))),
                (c, entry(3, Route::Fastdp(paths[1]))),
            ]),
            trees,
            ..Tables::default()
        };
        self.lab
            .daemon(0)
            .ask(move |device, _| device.restore(&tables).unwrap());
    }

    /// Lets the frame of an event come in where it came in, and sees what comes out.
    fn run(&self, event: &Value) -> Outcome {
        let frame = frame(event);
        let queue = &self.tap.queues()[0];
        let mut buffer = vec![0; weave_datapath::tap::MAX_READ];
        while queue.read(&mut buffer).is_ok() {}
        match event["tunnel_id"].as_str() {
            None => queue.write_parts(&[0; 10], &frame).unwrap(),
            Some(id) => self.tunnelled(event, id, &frame),
        }
        let mut sent = BTreeSet::new();
        for packet in self.captures.iter().flat_map(|c| c.packets(QUIET)) {
            let (_, destination, vni, inner) = open(&packet);
            if inner[12..14] == TYPE {
                assert_eq!(inner, frame);
                assert!(sent.insert((vni.into(), destination)), "one copy each");
            }
        }
        let end = Instant::now() + QUIET;
        let mut delivered = false;
        while Instant::now() < end {
            match queue.read(&mut buffer) {
                Ok(len) => delivered |= buffer[10..len] == frame,
                Err(_) => std::thread::sleep(QUIET / 20),
            }
        }
        (sent, delivered)
    }

    /// Sends a frame to host 0 as a peer does.
    fn tunnelled(&self, event: &Value, id: &str, frame: &[u8]) {
        let vni = Vni::from_low_bits(u32::from_str_radix(id, 16).unwrap());
        let (local, remote) = self.paths[&text(&event["tunnel_src"])];
        let host = &self.lab.hosts[1].scratch.namespace;
        let socket = host.run(move || UdpSocket::bind((remote, 0))).unwrap();
        let payload = [&vni.header()[..], frame].concat();
        socket.unwrap().send_to(&payload, (local, 6784)).unwrap();
    }

    /// What the reference did with the same frame.
    fn expected(&self, event: &Value) -> Outcome {
        let comes_from_us = event["tunnel_id"].is_null();
        let results = event["result"].as_array();
        let executed = results.and_then(|all| all.iter().find(|one| one["op"] == "execute"));
        let actions = executed.and_then(|one| one["actions"].as_array());
        let actions: Vec<&Value> = actions.into_iter().flatten().collect();
        let keys = actions.iter().map(|action| &action["set_tunnel"]);
        let sent = keys.filter(|key| !key.is_null()).map(|key| {
            let id = u32::from_str_radix(key["id"].as_str().unwrap(), 16).unwrap();
            (id, self.paths[&text(&key["ipv4_dst"])].1)
        });
        // Ports 0 and 2 are the host's and the bridge's: with us, both are behind the bridge. Between
        // them the bridge needs nobody.
        let local = |action: &&Value| action["output"] == 0 || action["output"] == 2;
        (sent.collect(), !comes_from_us && actions.iter().any(local))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn frame(event: &Value) -> Vec<u8> {
    let mac = |key: &str| -> Vec<u8> {
        let groups = event[key].as_str().unwrap().split(':');
        groups
            .map(|group| u8::from_str_radix(group, 16).unwrap())
            .collect()
    };
    let mut frame = [mac("frame_dst"), mac("frame_src"), TYPE.to_vec()].concat();
    frame.resize(60, 0);
    frame
}

#[test]
fn every_frame_goes_where_the_reference_sends_it() {
    if !root() {
        return;
    }
    let vectors = include_str!("../vectors/fastdp_flows.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let events = vectors["events"].as_array().unwrap();
    let stage = Stage::new(&vectors);
    stage.tell(false);
    let mut seen = 0;
    for event in events.iter().filter(|event| event["frame_src"].is_string()) {
        // In the recording the answer of the router differs between the two broadcasts of the peer.
        stage.tell(event["id"] == "remote-broadcast-with-relay");

        let outcome = stage.run(event);

        assert_eq!(outcome, stage.expected(event), "{}", event["id"]);
        seen += 1;
    }
    assert_eq!(seen, 11);
    let counters = counters(&stage.lab, 0);
    assert_eq!(counters.get(Counter::DropUnknown), 1, "the unknown id");
    assert_eq!(counters.get(Counter::Relayed), 1, "the frame in transit");
    assert_eq!(counters.get(Counter::DropError), 0);
}

//! Nodes as network namespaces with the pods' bridge, and a wire between them.
//!
//! Each node is a namespace with a bridge that hands its packets to the filter hooks, a TAP device
//! for each of its pods and one that leads to the other nodes. The test is the pod and the wire: it
//! writes frames into one device and reads them out of another. The kernel carries a frame through
//! the bridge within the call that writes it, so what has not come out when the call returns was
//! dropped: nothing waits, and nothing depends on time.

pub(crate) mod packet;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use weave_datapath::tap::{Queue, Tap};
use weave_npc::Flow;
use weave_npc::compile::Compiler;
use weave_npc::model::World;
use weave_npc::netlink::{Keeper, Nft};

use crate::netns;
use packet::{Mac, carried, frame, packet};

/// The nodes of a test, on the thread that made them.
pub(crate) struct Fabric {
    nodes: BTreeMap<Arc<str>, Node>,
    number: u16,
    frames: usize,
}

struct Node {
    keeper: Keeper,
    pods: Vec<Queue>,
    uplink: Queue,
    _devices: Vec<Tap>,
}

/// Where addresses are plugged in: the node, and which of its devices.
pub(crate) type Places = HashMap<IpAddr, (Arc<str>, usize)>;

impl Fabric {
    /// Makes nodes with room for `pods` pods each. The calling thread is in the namespace of the
    /// last one afterwards. Nothing if the kernel's bridge does not call the filter hooks.
    pub(crate) fn new(names: &[&str], pods: usize, table: &Compiler) -> Option<Self> {
        let mut nodes = BTreeMap::new();
        for name in names {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            nodes.insert(Arc::from(*name), Node::new(pods, table)?);
        }
        Some(Self {
            nodes,
            number: 0,
            frames: 0,
        })
    }

    /// The rules of a node.
    pub(crate) fn keeper(&mut self, node: &str) -> Option<&mut Keeper> {
        self.nodes.get_mut(node).map(|node| &mut node.keeper)
    }

    /// How many frames were written.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// Sends the first packet of `flow` on its way; true if it arrives. Nothing if no part of the
    /// way leads through a bridge that filters.
    pub(crate) fn send(&mut self, places: &Places, flow: &Flow) -> Option<bool> {
        self.number = self.number.wrapping_add(1);
        let packet = packet(flow, self.number);
        let from = places.get(&flow.source);
        let to = places.get(&flow.destination);
        match (from, to) {
            (None, None) => None,
            (Some(from), Some(to)) if from == to => None,
            (Some((here, from)), Some((there, to))) if here == there => {
                Some(self.carry(here, Port::Pod(*from), Port::Pod(*to), &packet))
            }
            _ => {
                let leaves = from.is_none_or(|(node, pod)| {
                    self.carry(node, Port::Pod(*pod), Port::Uplink, &packet)
                });
                let arrives = leaves
                    && to.is_none_or(|(node, pod)| {
                        self.carry(node, Port::Uplink, Port::Pod(*pod), &packet)
                    });
                Some(arrives)
            }
        }
    }

    /// Writes a frame into one port of a node; true if it comes out of another.
    fn carry(&mut self, node: &str, from: Port, to: Port, packet: &[u8]) -> bool {
        let node = &self.nodes[node];
        self.frames += 1;
        node.queue(from)
            .write(&frame(to.mac(), from.mac(), packet))
            .unwrap();
        node.drain(to, |frame| carried(frame) == packet)
    }
}

/// A port of a node's bridge.
#[derive(Clone, Copy)]
enum Port {
    Pod(usize),
    Uplink,
}

impl Port {
    /// The address behind the port.
    fn mac(self) -> Mac {
        let last = match self {
            Self::Pod(pod) => u8::try_from(pod).unwrap(),
            Self::Uplink => 0xff,
        };
        [2, 0, 0, 0, 0, last]
    }
}

impl Node {
    /// A node in the namespace of this thread, with an empty table in force.
    fn new(pods: usize, table: &Compiler) -> Option<Self> {
        // Nobody on these devices speaks IPv6 but the test.
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        for hook in ["iptables", "ip6tables"] {
            let setting = format!("/proc/sys/net/bridge/bridge-nf-call-{hook}");
            if let Err(error) = std::fs::write(&setting, "1") {
                println!("skipped: needs br_netfilter ({setting}: {error})");
                return None;
            }
        }
        let names: Vec<String> = (0..pods).map(|pod| format!("pod{pod}")).collect();
        let mut devices: Vec<Tap> = names
            .iter()
            .map(|name| Tap::create(name, 1).unwrap())
            .collect();
        devices.push(Tap::create("uplink", 1).unwrap());
        let mut batch = String::from(
            "link add weave type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set weave up\n",
        );
        for device in &devices {
            batch += &format!("link set {0} master weave up\n", device.name());
        }
        netns::run("ip", &["-batch", "-"], &batch).unwrap();
        let mut queues: Vec<Queue> = devices.iter().map(|tap| tap.queues()[0].clone()).collect();
        let uplink = queues.pop().unwrap();
        let mut node = Self {
            keeper: Keeper::new(Nft::open().unwrap(), table.table().clone()),
            pods: queues,
            uplink,
            _devices: devices,
        };
        node.keeper
            .set(&table.ruleset().tables[table.table()])
            .unwrap();
        node.teach();
        Some(node)
    }

    /// Lets the bridge learn what is behind its ports: else it would send frames to all of them.
    fn teach(&self) {
        let ports: Vec<Port> = (0..self.pods.len())
            .map(Port::Pod)
            .chain([Port::Uplink])
            .collect();
        for port in &ports {
            let mut hello = frame([0xff; 6], port.mac(), &[]);
            // A number for local experiments (IEEE 802, 0x88b5).
            let at = hello.len() - 2;
            hello[at..].copy_from_slice(&[0x88, 0xb5]);
            hello.resize(80, 0);
            self.queue(*port).write(&hello).unwrap();
        }
        for port in &ports {
            self.drain(*port, |_| false);
        }
    }

    fn queue(&self, port: Port) -> &Queue {
        match port {
            Port::Pod(pod) => &self.pods[pod],
            Port::Uplink => &self.uplink,
        }
    }

    /// Reads all that waits at a port; true if one is what was looked for.
    fn drain(&self, port: Port, is_it: impl Fn(&[u8]) -> bool) -> bool {
        let mut buffer = [0; 2048];
        let mut found = false;
        while let Ok(len) = self.queue(port).read(&mut buffer) {
            found |= is_it(&buffer[..len]);
        }
        found
    }
}

/// Plugs the addresses of the pods of `world` into the nodes.
pub(crate) fn places(world: &World) -> Places {
    let mut next: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut places = Places::new();
    for pod in world.pods().filter(|pod| pod.is_endpoint()) {
        let slot = next.entry(pod.node.clone()).or_default();
        for address in world.owned_addresses(pod) {
            places.insert(address, (pod.node.clone(), *slot));
        }
        *slot += 1;
    }
    places
}

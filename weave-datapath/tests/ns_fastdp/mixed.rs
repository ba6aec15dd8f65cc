//! Sleeve and the tunnel side by side: frames change from one to the other on their way.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
};

use tokio::sync::mpsc::Receiver;
use weave_datapath::{
    bpf::Counter,
    plane::{self, Carrier, Forwarding, Hop, Link, LinkPath, Plane, Switching},
    sleeve::{
        seal::{SessionKey, Side},
        stream::Path,
    },
    tap::Tap,
};

use crate::{
    counters,
    lab::{Lab, underlay},
    mesh, root,
    traffic::{broadcast, round_trip, stream},
};

/// Links between hosts, by index.
type Links = &'static [(usize, usize)];

const TAP: &str = "vethwe-sleeve";
const PORT: u16 = 6783;

/// The data plane of one host in user space.
struct Sleeve {
    plane: Plane,
    _tap: Tap,
    _events: Receiver<plane::Event>,
}

/// A lab in which the links of `by_sleeve` carry sleeve and all others the tunnel.
struct Mixed {
    lab: Lab,
    planes: Vec<Sleeve>,
}

impl Mixed {
    fn new(
        hosts: usize,
        graph: &[(usize, usize)],
        by_sleeve: &[(usize, usize)],
        sealed: bool,
    ) -> Self {
        let mut lab = Lab::prepared(hosts, graph, 1);
        let planes: Vec<_> = (0..hosts).map(|host| start(&lab, host)).collect();
        for host in 0..hosts {
            let config = lab.config(host).tap(TAP);
            lab.start_with(host, config);
        }
        for (number, (a, b)) in lab.graph.clone().into_iter().enumerate() {
            if !by_sleeve.contains(&(a, b)) {
                lab.connect((a, b));
                continue;
            }
            let id = lab.establish((a, b));
            let (first, second) = underlay(number);
            for (us, them, remote, side) in
                [(a, b, second, Side::Dialler), (b, a, first, Side::Acceptor)]
            {
                planes[us]
                    .plane
                    .add_link(link(id, them, remote, sealed.then_some(side)));
                let peer = mesh::name(them);
                lab.daemon(us)
                    .ask(move |_, engine| engine.handle_sleeve(id, peer, true));
            }
        }
        lab.settle();
        for (host, sleeve) in planes.iter().enumerate() {
            sleeve
                .plane
                .set_forwarding(forwarding(&lab, host, by_sleeve));
        }
        Self { lab, planes }
    }

    fn handed(&self, host: usize) -> u64 {
        counters(&self.lab, host).get(Counter::Handed)
    }

    /// Frames that were lost in user space.
    fn dropped(&self) -> Vec<String> {
        let planes = self.planes.iter().enumerate();
        planes
            .flat_map(|(host, sleeve)| {
                let counted = sleeve.plane.counters().into_iter();
                counted
                    .filter(|(counter, count)| {
                        *count > 0
                            && counter.name().starts_with("drop")
                            && *counter != plane::Counter::DropUntagged
                    })
                    .map(move |(counter, count)| format!("{host}: {count} {}", counter.name()))
            })
            .collect()
    }
}

fn start(lab: &Lab, host: usize) -> Sleeve {
    let scratch = &lab.hosts[host].scratch;
    let open = || {
        let tap = Tap::create(TAP, 2).unwrap();
        let config = plane::Config {
            us: mesh::name(host),
            host: Ipv4Addr::UNSPECIFIED,
            port: PORT,
            switch: Switching::Kernel,
        };
        let (plane, events) = Plane::start(config, &tap).unwrap();
        Sleeve {
            plane,
            _tap: tap,
            _events: events,
        }
    };
    let sleeve = scratch.namespace.run(open).unwrap();
    scratch.with(|netlink| async move {
        let link = netlink.require_link(TAP).await.unwrap();
        netlink.set_up(link.index).await.unwrap();
    });
    sleeve
}

fn link(id: u64, them: usize, remote: Ipv4Addr, side: Option<Side>) -> Arc<Link> {
    let key = side.map(|side| (SessionKey::new([9; 32]), side));
    let link = Arc::new(Link::new(id, mesh::name(them), key));
    link.update(LinkPath {
        address: Some(SocketAddrV4::new(remote, PORT)),
        path: Path {
            mtu: 1414,
            fragments_arrive: true,
        },
        max_payload: 1472,
    });
    link
}

/// What the mesh of the test knows, as the plane looks it up.
fn forwarding(lab: &Lab, host: usize, by_sleeve: &[(usize, usize)]) -> Forwarding {
    let routes = mesh::routes(host, lab.hosts.len(), &lab.graph);
    let hop = |peer: &weave_datapath::PeerName| {
        let them = usize::try_from(peer.0).unwrap() - 1;
        let ends = (host.min(them), host.max(them));
        let carrier = if by_sleeve.contains(&ends) {
            Carrier::Sleeve(lab.id_of(ends))
        } else {
            Carrier::Fastdp
        };
        Hop {
            peer: *peer,
            carrier,
        }
    };
    Forwarding {
        names: routes.short_ids.iter().map(|(n, id)| (*id, *n)).collect(),
        ids: routes.short_ids.clone().into_iter().collect(),
        unicast: routes
            .unicast
            .iter()
            .map(|(to, by)| (*to, hop(by)))
            .collect(),
        trees: routes
            .broadcast
            .iter()
            .map(|(from, hops)| (*from, hops.iter().map(hop).collect()))
            .collect(),
    }
}

#[test]
fn frames_change_overlays_on_their_way_in_both_directions() {
    if !root() {
        return;
    }
    for sealed in [false, true] {
        let line = [(0, 1), (1, 2), (2, 3)];
        let mixed = Mixed::new(4, &line, &[(1, 2)], sealed);
        let pods: Vec<_> = mixed.lab.hosts.iter().map(|host| &host.pods[0]).collect();
        for from in &pods {
            for to in pods.iter().filter(|to| to.address != from.address) {
                let passed = (0..3).any(|_| round_trip(from, to).is_some());
                assert!(passed, "{} to {}", from.address, to.address);
            }
        }
        assert!(mixed.handed(1) > 0 && mixed.handed(2) > 0);
        assert_eq!(mixed.handed(0), 0, "the ends know the tunnel only");
        // The kernel's own first frames may meet a host whose tables are not written yet.
        let before = mixed.dropped();
        let received = stream(pods[0], pods[3], 8 << 20);
        assert_eq!(received, 8 << 20);
        assert_eq!(mixed.dropped(), before, "sealed: {sealed}");
    }
}

#[test]
fn a_broadcast_crosses_both_overlays_exactly_once() {
    if !root() {
        return;
    }
    let graphs: [(usize, Links, Links); 3] = [
        (3, &[(0, 1), (0, 2), (1, 2)], &[(0, 1)]),
        (4, &[(0, 1), (1, 2), (2, 3)], &[(1, 2)]),
        (3, &[(0, 1), (0, 2), (1, 2)], &[(0, 1), (0, 2), (1, 2)]),
    ];
    for (hosts, graph, by_sleeve) in graphs {
        let mixed = Mixed::new(hosts, graph, by_sleeve, false);
        let pods: Vec<_> = mixed.lab.hosts.iter().flat_map(|host| &host.pods).collect();
        for (number, from) in pods.iter().enumerate() {
            let mut others = pods.clone();
            others.remove(number);
            let copies = broadcast(from, &others);
            assert_eq!(copies, vec![1; others.len()], "from {number} in {graph:?}");
        }
    }
}

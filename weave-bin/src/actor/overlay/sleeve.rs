//! Sleeve's part of the task: links, their timers, and the ways of frames.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use weave_datapath::fastdp::Routes;
use weave_datapath::overlay::Input;
use weave_datapath::plane::{self, Carrier, Forwarding, Hop, LinkPath};
use weave_datapath::sleeve::link::{Config, Event, Link, Transmit};
use weave_datapath::sleeve::seal::Side;
use weave_datapath::sleeve::stream::Path;
use weave_datapath::{PeerName, ShortId};

use super::SLEEVE;
use super::confirm::Confirmed;
use super::served::{Served, SleeveLink};
use super::wire::SleeveWire;

/// What came of a link since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Control messages, without their slot.
    pub(super) control: Vec<Vec<u8>>,
    /// What the switch has to know.
    pub(super) inputs: Vec<Input>,
    /// Where the peer is by now, if that changed.
    pub(super) moved: Option<SocketAddrV4>,
    /// The largest frame the path carries, in bytes, if that changed.
    pub(super) mtu: Option<(SocketAddrV4, u16)>,
}

/// The link of a confirmed connection, known to the data plane. `None`: its data has to be sealed
/// and there is no key, or its addresses are not IPv4.
pub(super) fn open(wire: &mut dyn SleeveWire, connection: &Confirmed) -> Option<SleeveLink> {
    let key = match (&connection.key, connection.encrypted) {
        (Some(key), true) => Some(key.clone()),
        (None, false) => None,
        _ => return None,
    };
    let remote = PeerName(u64::from(connection.remote));
    let side = if connection.outbound {
        Side::Dialler
    } else {
        Side::Acceptor
    };
    let id = connection.id;
    let engine = Link::new(Config {
        uid: connection.uid,
        remote: if connection.outbound {
            Some(ipv4(connection.peer)?)
        } else {
            None
        },
        sealed: key.is_some(),
    });
    let plane = Arc::new(plane::Link::new(id, remote, key.map(|key| (key, side))));
    plane.update(path(&engine));
    wire.add_link(Arc::clone(&plane));
    Some(SleeveLink { engine, plane })
}

/// The address as sleeve knows it.
pub(super) fn ipv4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => Some(SocketAddrV4::new(ip, address.port())),
        std::net::IpAddr::V6(_) => None,
    }
}

fn path(engine: &Link) -> LinkPath {
    LinkPath {
        address: engine.remote(),
        path: Path {
            mtu: engine.mtu(),
            fragments_arrive: engine.fragments_arrive(),
        },
        max_payload: engine.max_payload(),
    }
}

/// Does what a link asks for.
pub(super) fn settle(wire: &mut dyn SleeveWire, now: Duration, link: &mut SleeveLink) -> Outcome {
    let mut outcome = Outcome::default();
    let id = link.plane.id;
    loop {
        while let Some(event) = link.engine.poll_event() {
            match event {
                Event::Established => outcome.inputs.push(Input::Established),
                Event::Healthy => outcome.inputs.push(Input::Healthy),
                Event::Unhealthy(why) => outcome.inputs.push(Input::Unhealthy(why)),
                Event::Moved { to, .. } => outcome.moved = Some(to),
                Event::Path => outcome.mtu = link.engine.remote().map(|to| (to, link.engine.mtu())),
                _ => {}
            }
            link.plane.update(path(&link.engine));
        }
        let Some(transmit) = link.engine.poll_transmit() else {
            return outcome;
        };
        match transmit {
            Transmit::Special {
                to,
                stream,
                special,
            } => wire.send_special(id, to, stream, special),
            Transmit::Control(message) => outcome.control.push(message),
            Transmit::AskPathMtu { to } => {
                if let Some(mtu) = wire.path_mtu(to) {
                    link.engine.handle_path_mtu(now, mtu);
                }
            }
            _ => {}
        }
    }
}

/// A packet of the link was too large: asks what the path carries by now.
pub(super) fn measure(wire: &mut dyn SleeveWire, now: Duration, link: &mut SleeveLink) {
    if let Some(to) = link.engine.remote()
        && let Some(mtu) = wire.path_mtu(to)
    {
        link.engine.handle_path_mtu(now, mtu);
    }
    // The next one that is too large is news again.
    link.plane.update(path(&link.engine));
}

/// The ways of frames, as the routes and the overlays of the connections make them. Of two
/// connections with a peer the younger one counts.
pub(super) fn forwarding(
    routes: &Routes,
    connections: &HashMap<u64, Served>,
    us: PeerName,
) -> Forwarding {
    let mut carriers: HashMap<PeerName, (u64, Carrier)> = HashMap::new();
    for (id, served) in connections {
        let carrier = match served.carrier() {
            Some(SLEEVE) => Carrier::Sleeve(*id),
            Some(_) => Carrier::Fastdp,
            None => continue,
        };
        let peer = PeerName(u64::from(served.remote));
        let entry = carriers.entry(peer).or_insert((*id, carrier));
        if entry.0 <= *id {
            *entry = (*id, carrier);
        }
    }
    let hop = |peer: &PeerName| {
        let (_, carrier) = carriers.get(peer)?;
        Some(Hop {
            peer: *peer,
            carrier: *carrier,
        })
    };
    let ids: HashMap<PeerName, ShortId> = routes
        .short_ids
        .iter()
        .map(|(name, id)| (*name, *id))
        .collect();
    Forwarding {
        names: ids.iter().map(|(name, id)| (*id, *name)).collect(),
        unicast: routes
            .unicast
            .iter()
            .filter(|(to, _)| **to != us)
            .filter_map(|(to, by)| Some((*to, hop(by)?)))
            .collect(),
        trees: routes
            .broadcast
            .iter()
            .map(|(from, hops)| (*from, hops.iter().filter_map(hop).collect()))
            .collect(),
        ids,
    }
}

/// The address of a socket address, if it is one of IPv4.
pub(super) fn address(of: SocketAddr) -> Option<Ipv4Addr> {
    ipv4(of).map(|address| *address.ip())
}

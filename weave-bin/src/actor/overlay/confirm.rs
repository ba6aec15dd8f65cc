//! The overlays of a connection that the mesh keeps: which start, and which cannot.
//!
//! Invariant: of a connection whose frames must be encrypted, the fast overlay knows only that it
//! must not be used, and sleeve seals whatever it sends.

use std::net::SocketAddr;
use std::time::Duration;

use weave_datapath::PeerName;
use weave_datapath::ShortId;
use weave_datapath::fastdp::{Connection, Engine};
use weave_datapath::overlay::{self, Event, Input};
use weave_datapath::sleeve::seal::SessionKey;
use weave_mesh::node::OverlayConnection;
use weave_mesh::peer;

use super::served::Served;
use super::wire::SleeveWire;
use super::{FASTDP, SLEEVE, sleeve};

/// A connection, in the data path's words.
#[derive(Debug, Clone)]
pub(super) struct Confirmed {
    /// Its name between mesh and data path.
    pub(super) id: u64,
    /// The peer at the other end.
    pub(super) remote: peer::PeerName,
    /// Its short id at the handshake.
    pub(super) short_id: Option<ShortId>,
    /// Our end of the TCP connection.
    pub(super) local: SocketAddr,
    /// The other end.
    pub(super) peer: SocketAddr,
    /// Whether we dialled.
    pub(super) outbound: bool,
    /// The number that both sides know.
    pub(super) uid: u64,
    /// Overlays that both offer, in our order.
    pub(super) overlays: Vec<String>,
    /// Whether frames must be encrypted.
    pub(super) encrypted: bool,
    /// The key for that.
    pub(super) key: Option<SessionKey>,
}

impl From<&OverlayConnection> for Confirmed {
    fn from(connection: &OverlayConnection) -> Self {
        let key = connection.session_key.as_ref();
        Self {
            id: connection.id.into(),
            remote: connection.remote,
            short_id: connection
                .remote_short_id
                .and_then(super::task::data_short_id),
            local: connection.local,
            peer: connection.peer,
            outbound: connection.outbound,
            uid: connection.connection_uid,
            overlays: connection.overlays.clone(),
            encrypted: connection.encrypted,
            key: key.map(|key| SessionKey::new(*key.as_bytes())),
        }
    }
}

impl Confirmed {
    /// The UDP port of the tunnel, if that may carry frames of the connection; `ours`: our own.
    /// Both directions use the port of the side that was dialled, that of its mesh plus one.
    ///
    /// # Errors
    /// Why it may not, in words for status.
    pub(super) fn tunnel(&self, ours: u16) -> Result<u16, String> {
        if self.encrypted {
            return Err(WITHHELD.to_owned());
        }
        if self.outbound {
            let port = self.peer.port().checked_add(1);
            return port.ok_or_else(|| "the peer's mesh has the last UDP port".to_owned());
        }
        // The port that a peer dials from says nothing.
        Ok(ours)
    }
}

/// Starts every overlay that both ends have. `tunnel`: the UDP port of the tunnel, which is open, or
/// why it cannot carry frames. The connection, and what its switch has decided.
pub(super) fn open(
    engine: &mut Engine,
    wire: Option<&mut dyn SleeveWire>,
    now: Duration,
    confirmed: &Confirmed,
    tunnel: Result<u16, String>,
) -> (Served, Vec<Event>) {
    let mut served = Served::new(now, confirmed.remote, confirmed.peer, &confirmed.overlays);
    let mut events = Vec::new();
    if confirmed.encrypted
        && let Some(remote) = sleeve::address(confirmed.peer)
    {
        engine.handle_sealed(confirmed.id, data_name(confirmed.remote), remote);
    }
    if served.switch.slot_of(FASTDP).is_some() {
        match tunnel.and_then(|port| start_fastdp(engine, now, confirmed, port)) {
            Ok(port) => served.port = Some(port),
            Err(why) => events.extend(served.handle(now, FASTDP, Input::Failed(why))),
        }
    }
    if served.switch.slot_of(SLEEVE).is_some() {
        let link = wire.and_then(|wire| sleeve::open(wire, confirmed));
        match link {
            Some(mut link) => {
                link.engine.confirm(now);
                served.sleeve = Some(link);
            }
            None => {
                let why = "this host cannot run it".to_owned();
                events.extend(served.handle(now, SLEEVE, Input::Failed(why)));
            }
        }
    }
    let by_sleeve = served.carrier() == Some(SLEEVE);
    engine.handle_sleeve(confirmed.id, data_name(confirmed.remote), by_sleeve);
    (served, events)
}

/// Has the fast overlay serve a connection through the tunnel at `port`, which is returned.
///
/// # Errors
/// Why it cannot, in words for status.
fn start_fastdp(
    engine: &mut Engine,
    now: Duration,
    confirmed: &Confirmed,
    port: u16,
) -> Result<u16, String> {
    if confirmed.encrypted {
        return Err(WITHHELD.to_owned());
    }
    let addresses = sleeve::address(confirmed.local).zip(sleeve::address(confirmed.peer));
    let Some((local, remote)) = addresses else {
        return Err("it needs IPv4 between the hosts".to_owned());
    };
    engine.handle_connection(
        now,
        Connection {
            id: confirmed.id,
            peer: data_name(confirmed.remote),
            short_id: confirmed.short_id,
            local,
            remote,
            port,
            uid: confirmed.uid,
            encrypted: confirmed.encrypted,
        },
    );
    Ok(port)
}

/// Gives a control message to the overlay it is for. What makes no sense is ignored.
pub(super) fn control(
    engine: &mut Engine,
    served: &mut Served,
    now: Duration,
    id: u64,
    body: &[u8],
) {
    let Some((slot, inner)) = overlay::split_control(body) else {
        return;
    };
    match served.switch.name(slot.into()) {
        Some(FASTDP) => engine.handle_control(now, id, inner),
        Some(SLEEVE) => {
            if let Some(link) = &mut served.sleeve {
                link.engine.handle_control(now, inner);
            }
        }
        _ => {}
    }
}

fn data_name(name: peer::PeerName) -> PeerName {
    PeerName(u64::from(name))
}

/// Why frames are kept off an encrypted connection.
const WITHHELD: &str =
    "it sends in clear and the network is not in the trusted subnets of both peers";

#[cfg(test)]
mod tests {
    use weave_datapath::fastdp::{EngineConfig, Routes, Transmit};

    use super::*;

    fn confirmed(outbound: bool, port: u16) -> Confirmed {
        Confirmed {
            id: 7,
            remote: peer::PeerName::try_from(2).unwrap(),
            short_id: None,
            local: SocketAddr::from(([10, 0, 0, 1], 6783)),
            peer: SocketAddr::from(([10, 0, 0, 2], port)),
            outbound,
            uid: 9,
            overlays: vec![FASTDP.to_owned()],
            encrypted: false,
            key: None,
        }
    }

    #[test]
    fn both_directions_use_the_tunnel_port_of_the_side_that_was_dialled() {
        let port = |outbound, port| confirmed(outbound, port).tunnel(6784);

        assert_eq!(port(true, 6783), Ok(6784));
        assert_eq!(port(true, 7783), Ok(7784));
        assert!(port(true, 65535).is_err());
        assert_eq!(port(false, 50123), Ok(6784));
        let sealed = Confirmed {
            encrypted: true,
            ..confirmed(true, 7783)
        };
        assert_eq!(sealed.tunnel(6784), Err(WITHHELD.to_owned()));
    }

    #[test]
    fn heartbeats_go_to_the_port_of_the_tunnel() {
        let mut engine = Engine::new(EngineConfig {
            us: data_name(peer::PeerName::try_from(1).unwrap()),
            mtu: 1376,
            port: 6784,
        });
        let id = |id: u16| ShortId::try_from(id).unwrap();
        let mut confirmed = confirmed(true, 7783);
        confirmed.short_id = Some(id(2));
        let us = data_name(peer::PeerName::try_from(1).unwrap());
        let routes = Routes {
            short_ids: [(us, id(1))].into_iter().collect(),
            ..Routes::default()
        };
        engine.handle_routes(Duration::ZERO, routes);
        let tunnel = Ok(7784);

        let (served, events) = open(&mut engine, None, Duration::ZERO, &confirmed, tunnel);

        assert_eq!((served.port, events.len()), (Some(7784), 0));
        assert!(matches!(
            engine.poll_transmit(),
            Some(Transmit::Heartbeat { port: 7784, .. })
        ));
    }
}

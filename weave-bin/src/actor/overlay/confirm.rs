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

/// Starts every overlay that both ends have. The connection, and what its switch has decided.
pub(super) fn open(
    engine: &mut Engine,
    wire: Option<&mut dyn SleeveWire>,
    now: Duration,
    confirmed: &Confirmed,
) -> (Served, Vec<Event>) {
    let mut served = Served::new(now, confirmed.remote, confirmed.peer, &confirmed.overlays);
    let mut events = Vec::new();
    if confirmed.encrypted
        && let Some(remote) = sleeve::address(confirmed.peer)
    {
        engine.handle_sealed(confirmed.id, data_name(confirmed.remote), remote);
    }
    if served.switch.slot_of(FASTDP).is_some()
        && let Some(why) = start_fastdp(engine, now, confirmed)
    {
        events.extend(served.handle(now, FASTDP, Input::Failed(why.to_owned())));
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

/// `Some`: why the fast overlay cannot carry the frames of a connection.
fn start_fastdp(engine: &mut Engine, now: Duration, confirmed: &Confirmed) -> Option<&'static str> {
    if confirmed.encrypted {
        return Some(WITHHELD);
    }
    let addresses = sleeve::address(confirmed.local).zip(sleeve::address(confirmed.peer));
    let Some((local, remote)) = addresses else {
        return Some("it needs IPv4 between the hosts");
    };
    // Both directions use the tunnel port of the side that was dialled, and only ours is open here.
    if confirmed.outbound && confirmed.peer.port().checked_add(1) != Some(engine.port()) {
        return Some("the peer's tunnel has another UDP port than ours");
    }
    engine.handle_connection(
        now,
        Connection {
            id: confirmed.id,
            peer: data_name(confirmed.remote),
            short_id: confirmed.short_id,
            local,
            remote,
            uid: confirmed.uid,
            encrypted: confirmed.encrypted,
        },
    );
    None
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
    use weave_datapath::fastdp::EngineConfig;

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
    fn a_peer_dialled_at_another_port_is_not_served_by_the_tunnel_and_one_that_dials_is() {
        let why = |outbound, port| {
            let mut engine = Engine::new(EngineConfig {
                us: data_name(peer::PeerName::try_from(1).unwrap()),
                mtu: 1376,
                port: 6784,
            });
            start_fastdp(&mut engine, Duration::ZERO, &confirmed(outbound, port))
        };

        assert_eq!(why(true, 6783), None);
        let reason = "the peer's tunnel has another UDP port than ours";
        assert_eq!(why(true, 7783), Some(reason));
        assert_eq!(why(true, 65535), Some(reason));
        // The port that such a peer dials from says nothing.
        assert_eq!(why(false, 50123), None);
    }
}

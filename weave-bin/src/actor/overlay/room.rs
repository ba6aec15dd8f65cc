//! How large packets of pods may be, followed while connections come, go and change.
//!
//! Invariant: an MTU that was given stays; what would be better is said, once for each new finding.

use tokio::sync::watch;
use tracing::{info, warn};
use weave_datapath::mtu::{Narrowest, Ways};

/// What is known of the MTU at the start, and who is told of another.
#[derive(Debug)]
pub struct Room {
    /// MTU of the network, in bytes.
    pub mtu: u16,
    /// Who is told of another MTU; `None`: it was given and stays.
    pub found: Option<watch::Sender<u16>>,
}

/// The MTU in force and the ways it has to fit.
pub(super) struct Followed {
    ways: Ways,
    mtu: u16,
    /// The best MTU as last said.
    said: u16,
    found: Option<watch::Sender<u16>>,
}

impl Followed {
    /// Nothing is known but what `room` says.
    pub(super) fn new(room: Room) -> Self {
        Self {
            ways: Ways::new(room.mtu),
            mtu: room.mtu,
            said: room.mtu,
            found: room.found,
        }
    }

    /// The MTU in force.
    pub(super) fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The way of connection `id` carries packets of `path` bytes; `None`: nobody knows.
    pub(super) fn set(&mut self, id: u64, path: Option<u16>) {
        if let Some(path) = path {
            self.ways.set(id, path);
        }
    }

    /// The connection is gone.
    pub(super) fn remove(&mut self, id: u64) {
        self.ways.remove(id);
    }

    /// Settles on an MTU; `Some` if that is another than before. `label` names a connection.
    pub(super) fn settle(&mut self, label: impl Fn(u64) -> String) -> Option<u16> {
        let best = self.ways.mtu();
        let before = std::mem::replace(&mut self.said, best);
        if best == before {
            return None;
        }
        let reason = self.ways.narrowest().map_or_else(
            || "no way to a peer is known".to_owned(),
            |Narrowest { id, path }| {
                format!("the way to {} carries packets of {path} bytes", label(id))
            },
        );
        let Some(found) = &self.found else {
            if best < self.mtu {
                let mtu = self.mtu;
                warn!("{reason}, which allows an MTU of {best}; it stays {mtu}, as it was given");
            }
            return None;
        };
        info!("the MTU of the network is {best}, no longer {before}: {reason}");
        self.mtu = best;
        // Without a receiver the daemon is about to stop.
        let _ = found.send(best);
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(mtu: u16, found: Option<watch::Sender<u16>>) -> Followed {
        Followed::new(Room { mtu, found })
    }

    #[test]
    fn a_narrow_way_is_followed_while_it_is_there() {
        let (sender, receiver) = watch::channel(1376);
        let mut followed = followed(1376, Some(sender));

        followed.set(1, Some(1500));
        assert_eq!(followed.settle(|_| String::new()), None);
        followed.set(1, Some(1300));
        assert_eq!(followed.settle(|_| String::new()), Some(1214));
        assert_eq!(*receiver.borrow(), 1214);
        followed.set(1, None);
        assert_eq!(followed.settle(|_| String::new()), None);
        followed.set(1, Some(1500));
        assert_eq!(followed.settle(|_| String::new()), Some(1376));
    }

    #[test]
    fn an_mtu_that_was_given_stays() {
        let mut followed = followed(1300, None);
        followed.set(1, Some(1200));

        assert_eq!(followed.settle(|_| String::new()), None);
        assert_eq!(followed.mtu(), 1300);
    }
}

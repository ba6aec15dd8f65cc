//! One connection of the mesh and the overlays that may carry its frames.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use weave_datapath::overlay::{Event, Input, Switch};
use weave_datapath::sleeve::link::Link;
use weave_mesh::peer::PeerName;

use super::{Carried, FASTDP, SLEEVE, Switched};

/// A connection that the task serves.
pub(super) struct Served {
    /// The peer at the other end.
    pub(super) remote: PeerName,
    /// The remote end of the mesh connection.
    pub(super) address: SocketAddr,
    /// UDP port of the tunnel to it, if that serves it.
    pub(super) port: Option<u16>,
    /// Which overlay carries its frames.
    pub(super) switch: Switch,
    /// The state of sleeve, if it is among the overlays.
    pub(super) sleeve: Option<SleeveLink>,
    /// What status pages show, as last told to the mesh.
    pub(super) shown: BTreeMap<String, String>,
}

/// Sleeve's part of a connection: the state machine, and what the data plane has of it.
pub(super) struct SleeveLink {
    pub(super) engine: Link,
    pub(super) plane: std::sync::Arc<weave_datapath::plane::Link>,
}

impl Served {
    /// A connection whose overlays are `names`.
    pub(super) fn new(
        now: Duration,
        remote: PeerName,
        address: SocketAddr,
        names: &[String],
    ) -> Self {
        Self {
            remote,
            address,
            port: None,
            switch: Switch::new(now, names),
            sleeve: None,
            shown: BTreeMap::new(),
        }
    }

    /// Takes in what the overlay `name` says.
    pub(super) fn handle(&mut self, now: Duration, name: &str, input: Input) -> Vec<Event> {
        match self.switch.slot_of(name) {
            Some(slot) => self.switch.handle(now, slot.into(), input),
            None => Vec::new(),
        }
    }

    /// Name of the overlay that carries frames.
    pub(super) fn carrier(&self) -> Option<&str> {
        self.switch.name(self.switch.best()?)
    }

    /// For the report.
    pub(super) fn view(&self, now: Duration) -> Carried {
        let changes = self.switch.changes().iter();
        Carried {
            peer: self.remote,
            overlay: self.carrier().map(str::to_owned),
            reason: self.switch.reason(),
            switched: self.switch.switched(),
            changes: changes
                .map(|change| Switched {
                    age: now.saturating_sub(change.at),
                    from: change.from.clone(),
                    to: change.to.clone(),
                    cause: change.cause,
                    why: change.why.clone(),
                })
                .collect(),
        }
    }

    /// What status pages show. `mtu`: that of the fast path, in bytes.
    pub(super) fn attributes(&self, mtu: u16) -> BTreeMap<String, String> {
        let mut attributes = BTreeMap::new();
        let carrier = self.carrier().unwrap_or("none");
        attributes.insert("name".to_owned(), carrier.to_owned());
        let mtu = match (carrier, &self.sleeve) {
            (FASTDP, _) => Some(mtu),
            (SLEEVE, Some(link)) => Some(link.engine.mtu()),
            _ => None,
        };
        if let Some(mtu) = mtu {
            attributes.insert("mtu".to_owned(), mtu.to_string());
        }
        if let Some(reason) = self.switch.reason() {
            attributes.insert("reason".to_owned(), reason);
        }
        attributes
    }
}

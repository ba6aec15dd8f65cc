//! What the data path says about itself, for the report.

use std::collections::BTreeMap;
use std::time::Duration;

use weave_datapath::fastdp::ShortId;
use weave_datapath::overlay::Cause;
use weave_mesh::peer::PeerName;

/// A snapshot of the data path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// How frames enter the overlay.
    pub interface: String,
    /// The devices frames pass.
    pub ports: Vec<Port>,
    /// Frames by what became of them.
    pub counters: BTreeMap<String, u64>,
    /// Addresses learned from the tunnel.
    pub macs: Vec<Mac>,
    /// What carries the frames of each connection.
    pub carriers: Vec<Carried>,
    /// How often frames went over to an overlay since the start, by overlay and cause.
    pub switches: Vec<SwitchCount>,
}

/// How often frames of any connection went over to one overlay for one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchCount {
    /// The overlay, or `none`.
    pub to: String,
    /// Why.
    pub cause: Cause,
    /// How often.
    pub count: u64,
}

/// What carries the frames of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The peer at the other end.
    pub peer: PeerName,
    /// The overlay; `None`: nothing works.
    pub overlay: Option<String>,
    /// Why a better overlay does not carry them.
    pub reason: Option<String>,
    /// How often the overlay has changed since frames could be carried.
    pub switched: u64,
    /// The last changes, oldest first.
    pub changes: Vec<Switched>,
}

/// A change of the overlay of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    /// How long ago.
    pub age: Duration,
    /// From which; `None` at the beginning.
    pub from: Option<String>,
    /// To which; `None`: nothing works.
    pub to: Option<String>,
    /// What kind of thing led to it.
    pub cause: Cause,
    /// What exactly.
    pub why: String,
}

/// A device frames pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// `netdev` or `vxlan`.
    pub kind: &'static str,
}

/// An address learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mac {
    /// The address.
    pub address: [u8; 6],
    /// The peer that has it; `None` is this host.
    pub owner: Option<ShortId>,
    /// How long ago it was seen.
    pub age: Duration,
}

//! What the data path says about itself, for the report.

use std::collections::BTreeMap;
use std::time::Duration;

use weave_datapath::fastdp::ShortId;

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

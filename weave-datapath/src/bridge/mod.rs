//! The bridge pods hang on, and the pair that joins it to the overlay.
//!
//! ```text
//!   pods ── vethwepl… ──┐     ┌── vxlan-6784: the fast path (tc-BPF, VXLAN) joins here by itself
//!                    [ weave ]┤
//!   host ── weave's IP ─┘     └── vethwe-bridge ══ vethwe-datapath: frames for user space
//! ```
//!
//! [`ensure`] looks at what is there, [`plan()`] says what is missing, and each step is applied.
//! Invariant: after `ensure` the same call plans nothing, and no step takes a working object down:
//! a daemon that restarts adopts what it finds without a lost frame. Objects of the same names that
//! are something else (an Open vSwitch device, say) are refused, not replaced.

mod apply;
mod error;
mod plan;

#[cfg(test)]
mod tests;

pub use self::{
    apply::{ensure, ensure_in, remove, remove_in},
    error::Error,
    plan::{Observed, Step, plan, settings, undo},
};

/// What the bridge should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Name of the bridge.
    pub name: String,
    /// Hardware address of the bridge: the peer name of this host.
    pub mac: [u8; 6],
    /// Largest packet in bytes of bridge, pair and (by default) pods.
    pub mtu: u32,
    /// The end of the pair that is a port of the bridge.
    pub port: String,
    /// The end of the pair the overlay reads and writes.
    pub datapath: String,
    /// Whether the bridge is to have IPv6 addresses: IPv6 is switched on for it then.
    pub has_ipv6: bool,
}

impl Config {
    /// The names every Weave tool expects: `weave`, `vethwe-bridge`, `vethwe-datapath`.
    #[must_use]
    pub fn new(mac: [u8; 6], mtu: u32) -> Self {
        Self {
            name: "weave".to_owned(),
            mac,
            mtu,
            port: "vethwe-bridge".to_owned(),
            datapath: "vethwe-datapath".to_owned(),
            has_ipv6: false,
        }
    }

    /// Sets [`Config::has_ipv6`].
    #[must_use]
    pub fn ipv6(mut self, on: bool) -> Self {
        self.has_ipv6 = on;
        self
    }

    /// Another name for the bridge.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

/// The bridge and its pair, in place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bridge {
    /// Interface index of the bridge.
    pub index: u32,
    /// Interface index of the pair's bridge port.
    pub port_index: u32,
    /// Interface index of the pair's overlay end.
    pub datapath_index: u32,
    /// Hardware address of the overlay end.
    pub datapath_mac: [u8; 6],
    /// What had to be done, in order; empty when everything was in place.
    pub changes: Vec<Step>,
}

//! What the firewall says about itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use super::backend::Backend;

/// The state at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// The back end of iptables that has our accepts, and why that one.
    pub backend: Option<(Backend, &'static str)>,
    /// Addresses on the bridge, and whether their subnets are masqueraded.
    pub exposed: Vec<(IpNet, bool)>,
    /// UDP port whose packets conntrack leaves alone.
    pub untracked: Option<u16>,
    /// How often rules were put back that others had changed.
    pub rule_repairs: u64,
    /// How often the bridge or its ports were.
    pub link_repairs: u64,
    /// The last of these, and when it was since 1970.
    pub last: Option<(Duration, String)>,
    /// What is wrong with the rules and could not be repaired.
    pub faults: Vec<String>,
    /// Chains of others that may drop what pods send and get, whatever our rules say.
    pub droppers: Vec<String>,
    /// What is wrong with the bridge.
    pub link_fault: Option<String>,
}

impl View {
    /// Notes what was repaired at this moment.
    pub(super) fn note(&mut self, text: String) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last = Some((now.unwrap_or_default(), text));
    }

    /// Everything that is wrong, in words.
    pub fn faults(&self) -> Vec<String> {
        let droppers = self
            .droppers
            .iter()
            .map(|chain| format!("{chain} drops forwarded packets: it must accept the bridge"));
        let own = self.faults.iter().chain(&self.link_fault).cloned();
        own.chain(droppers).collect()
    }

    /// Notes what is wrong with the bridge, or that nothing is.
    pub(super) fn link_fault(&mut self, fault: Option<String>) {
        self.link_fault = fault;
    }
}

//! What the host's packet filter should do for the pod network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Everything the rules follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the bridge.
    pub bridge: String,
    /// Where control HTTP listens, if that is a loopback address: only this host may reach it.
    pub control: Option<SocketAddr>,
    /// The addresses on the bridge, and whether traffic in and out of their subnets is masqueraded.
    pub exposed: BTreeMap<IpNet, bool>,
    /// Whether traffic to pods of this host keeps its source address.
    pub keep_local: bool,
    /// Where pods of this host are.
    pub local: Vec<IpNet>,
    /// Whether a policy controller decides what reaches pods.
    pub expects_policy: bool,
    /// UDP port whose packets conntrack leaves alone: the fast overlay's, unless the host's own rules
    /// ask conntrack about them.
    pub untracked: Option<u16>,
}

impl Wanted {
    /// Rules for the bridge alone.
    pub fn new(bridge: &str) -> Self {
        Self {
            bridge: bridge.to_owned(),
            control: None,
            exposed: BTreeMap::new(),
            keep_local: false,
            local: Vec::new(),
            expects_policy: false,
            untracked: None,
        }
    }

    /// The exposed subnets in order, each with whether it is masqueraded: it is as long as one of
    /// its addresses asks for it.
    pub fn subnets(&self) -> BTreeMap<IpNet, bool> {
        let mut subnets = BTreeMap::new();
        for (address, masquerade) in &self.exposed {
            *subnets.entry(address.trunc()).or_default() |= masquerade;
        }
        subnets
    }

    /// Exposed addresses whose subnets asked for no masquerading.
    pub fn bare(&self) -> BTreeSet<IpAddr> {
        let bare = self.exposed.iter().filter(|(_, masquerade)| !**masquerade);
        bare.map(|(address, _)| address.addr()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_masqueraded_as_long_as_one_address_asks_for_it() {
        let mut wanted = Wanted::new("weave");
        let net = |text: &str| -> IpNet { text.parse().unwrap() };
        wanted.exposed.insert(net("10.32.0.1/12"), true);
        wanted.exposed.insert(net("10.32.0.2/12"), false);
        wanted.exposed.insert(net("10.2.1.1/24"), false);

        let subnets: Vec<_> = wanted.subnets().into_iter().collect();

        assert_eq!(
            subnets,
            [(net("10.2.1.0/24"), false), (net("10.32.0.0/12"), true)]
        );
        assert_eq!(wanted.bare().len(), 2);
    }
}

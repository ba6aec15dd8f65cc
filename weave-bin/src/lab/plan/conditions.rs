//! What the hosts of a lab run and what their network does to packets.
//!
//! Invariant: everything here follows from the choice alone, so that a fault put on a cable later
//! never undoes one that was chosen.

use std::fmt;
use std::net::Ipv4Addr;

use clap::ValueEnum;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Choice, Plan, PlanError, Topology, net, overlap};

/// Which overlays carry frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OverlayChoice {
    /// Every host has both, and the better one is used.
    #[default]
    Fastdp,
    /// No host has the fast one.
    Sleeve,
    /// On a switch every second host has sleeve alone; else every second cable lets no packet of the
    /// fast overlay through, so that hosts relay between the two.
    Mixed,
}

impl fmt::Display for OverlayChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fastdp => "fastdp",
            Self::Sleeve => "sleeve",
            Self::Mixed => "mixed",
        })
    }
}

/// What differs from hosts of one kind on a sound network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Conditions {
    /// Which overlays carry frames.
    pub(crate) overlay: OverlayChoice,
    /// MTU of the cables in bytes, where it was chosen.
    pub(crate) underlay_mtu: Option<u16>,
    /// Whether hosts are not told of that MTU: packets that are larger vanish.
    pub(crate) black_hole: bool,
    /// Packets of a million that each cable loses.
    pub(crate) loss_ppm: u32,
    /// The host behind a router that translates its address.
    pub(crate) nat: Option<usize>,
    /// What daemons take for trusted, in their own words; [`CABLED`] for the networks of their cables.
    pub(crate) trusted: Option<String>,
}

impl Conditions {
    /// Checks that the lab of `choice` can have these.
    pub(super) fn check(&self, choice: &Choice) -> Result<(), PlanError> {
        if let Some(mtu) = self.underlay_mtu.filter(|mtu| !(576..=65000).contains(mtu)) {
            return Err(PlanError::UnderlayMtu(mtu));
        }
        if self.black_hole && self.underlay_mtu.is_none() {
            return Err(PlanError::BlackHole);
        }
        match self.nat {
            Some(_) if choice.topology != Topology::Full => Err(PlanError::NatNeedsSwitch),
            Some(host) if !(1..=choice.hosts).contains(&host) => Err(PlanError::Count {
                what: "nat",
                least: 1,
                most: choice.hosts,
                given: host,
            }),
            _ => Ok(()),
        }
    }

    /// MTU that hosts know of their cables.
    pub(super) fn known_mtu(&self) -> Option<u32> {
        self.underlay_mtu
            .filter(|_| !self.black_hole)
            .map(u32::from)
    }
}

/// A router between a host and the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nat {
    /// The host behind it.
    pub(crate) host: usize,
    /// The router's namespace.
    pub(crate) namespace: String,
    /// The router's address towards the host.
    pub(crate) inside: Ipv4Net,
    /// The host's address.
    pub(crate) private: Ipv4Net,
}

/// A UDP port between two hosts that nothing comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// One host.
    pub(crate) a: usize,
    /// The other.
    pub(crate) b: usize,
    /// The port.
    pub(crate) port: u16,
}

impl Block {
    /// Whether it is between these two hosts, in whatever order.
    pub(crate) fn is_between(&self, a: usize, b: usize) -> bool {
        (self.a, self.b) == (a, b) || (self.a, self.b) == (b, a)
    }
}

/// What one end of a cable does to the packets that come out of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fault {
    /// Packets of a million that are lost.
    pub(crate) loss_ppm: u32,
    /// Larger packets vanish.
    pub(crate) longest: Option<u16>,
    /// UDP ports that are blocked, and for whom; `None`: for all.
    pub(crate) blocked: Vec<(Option<Ipv4Addr>, u16)>,
}

impl Plan {
    /// Whether host `number` has the fast overlay.
    pub(crate) fn has_fastdp(&self, number: usize) -> bool {
        match (self.conditions.overlay, self.topology) {
            (OverlayChoice::Fastdp, _) => true,
            (OverlayChoice::Sleeve, _) => false,
            (OverlayChoice::Mixed, Topology::Full) => number % 2 == 1,
            (OverlayChoice::Mixed, _) => true,
        }
    }

    /// The router, if there is one.
    pub(crate) fn nat(&self) -> Option<Nat> {
        let host = self.conditions.nat?;
        let candidates = ["100.64.0.0/30", "172.30.255.0/30"].map(net);
        let [first, second] = candidates;
        let network = if overlap(first, self.range) {
            second
        } else {
            first
        };
        let base = u32::from(network.network());
        let address = |offset| {
            let address = Ipv4Addr::from(base + offset);
            Ipv4Net::new(address, network.prefix_len())
                .expect("invariant: the prefix is one of the constants above")
        };
        Some(Nat {
            host,
            namespace: format!("{}-{host}-nat", self.name),
            inside: address(1),
            private: address(2),
        })
    }

    /// Whether the daemons of other hosts are told to dial host `number`.
    pub(crate) fn is_dialled(&self, number: usize) -> bool {
        self.conditions.nat != Some(number)
    }

    /// What cable `index` does to packets, on top of it `blocks`: for its end `a`, then `b`. Packets
    /// to a host from the switch are left alone, as the host they come from had them treated.
    pub(crate) fn faults(&self, index: usize, blocks: &[Block]) -> [Fault; 2] {
        let cable = &self.cables[index];
        let mut fault = Fault {
            loss_ppm: self.conditions.loss_ppm,
            longest: self
                .conditions
                .underlay_mtu
                .filter(|_| self.conditions.black_hole),
            blocked: Vec::new(),
        };
        let direct = cable.b.host.is_some();
        if self.conditions.overlay == OverlayChoice::Mixed && direct && index % 2 == 1 {
            fault.blocked.push((None, TUNNEL_PORT));
        }
        for block in blocks {
            let ends = [block.a, block.b];
            let other = |host| ends.into_iter().find(|end| *end != host);
            match (cable.a.host, cable.b.host) {
                (Some(a), Some(b)) if ends.contains(&a) && ends.contains(&b) => {
                    fault.blocked.push((None, block.port));
                }
                (Some(host), None) if ends.contains(&host) => {
                    let address = other(host).and_then(|other| self.address(other));
                    fault.blocked.push((address, block.port));
                }
                _ => {}
            }
        }
        if direct {
            [fault.clone(), fault]
        } else {
            [Fault::default(), fault]
        }
    }

    /// The address others see host `number` at, on a switch.
    fn address(&self, number: usize) -> Option<Ipv4Addr> {
        let cable = self
            .cables
            .iter()
            .find(|cable| cable.a.host == Some(number))?;
        Some(cable.a.address?.addr())
    }
}

/// UDP port of the fast overlay in a lab.
pub(crate) const TUNNEL_PORT: u16 = 6784;
/// The word for the networks a host is cabled to.
pub(crate) const CABLED: &str = "cabled";

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(topology: Topology, conditions: Conditions) -> Result<Plan, PlanError> {
        Plan::new(&Choice {
            topology,
            conditions,
            ..Choice::full("lab", 4, 1)
        })
    }

    fn overlay(overlay: OverlayChoice) -> Conditions {
        Conditions {
            overlay,
            ..Conditions::default()
        }
    }

    #[test]
    fn mixed_overlays_alternate() {
        let full = plan(Topology::Full, overlay(OverlayChoice::Mixed)).unwrap();
        let line = plan(Topology::Line, overlay(OverlayChoice::Mixed)).unwrap();

        let fast = |plan: &Plan| [1, 2, 3, 4].map(|host| plan.has_fastdp(host));
        assert_eq!(fast(&full), [true, false, true, false]);
        assert_eq!(fast(&line), [true; 4]);
        let blocked = |index| line.faults(index, &[])[0].blocked.len();
        assert_eq!([0, 1, 2].map(blocked), [0, 1, 0]);
    }

    #[test]
    fn a_black_hole_is_known_to_the_cable_alone() {
        let conditions = Conditions {
            underlay_mtu: Some(1300),
            black_hole: true,
            ..Conditions::default()
        };
        let hole = plan(Topology::Full, conditions.clone()).unwrap();
        let known = Conditions {
            black_hole: false,
            ..conditions
        };
        let known = plan(Topology::Full, known).unwrap();

        assert_eq!(hole.underlay_mtu, 1500);
        assert_eq!(hole.faults(0, &[])[1].longest, Some(1300));
        assert_eq!(known.underlay_mtu, 1300);
        assert_eq!(known.faults(0, &[]), [Fault::default(), Fault::default()]);
    }

    #[test]
    fn a_block_is_between_two_hosts_alone() {
        let block = Block {
            a: 1,
            b: 3,
            port: 6784,
        };
        let full = plan(Topology::Full, Conditions::default()).unwrap();
        let line = plan(Topology::Line, Conditions::default()).unwrap();

        let at = |index| full.faults(index, &[block])[1].blocked.clone();
        assert_eq!(at(0), [(Some(Ipv4Addr::new(198, 18, 0, 3)), 6784)]);
        assert_eq!(at(1), []);
        assert_eq!(at(2), [(Some(Ipv4Addr::new(198, 18, 0, 1)), 6784)]);
        let next = Block { b: 2, ..block };
        assert_eq!(line.faults(0, &[next])[0].blocked, [(None, 6784)]);
        assert_eq!(line.faults(1, &[next])[0].blocked, []);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let nat = Conditions {
            nat: Some(5),
            ..Conditions::default()
        };
        let hole = Conditions {
            black_hole: true,
            ..Conditions::default()
        };

        let refused = |topology, conditions: &Conditions| {
            plan(topology, conditions.clone()).unwrap_err().to_string()
        };
        assert_eq!(
            refused(Topology::Full, &nat),
            "--nat must be from 1 to 4, not 5"
        );
        assert_eq!(refused(Topology::Line, &nat), "--nat needs --topology full");
        assert_eq!(
            refused(Topology::Full, &hole),
            "--black-hole needs --underlay-mtu: larger packets vanish"
        );
    }
}

//! What a lab consists of, decided before anything is made.
//!
//! A [`Plan`] names every host, cable and address. Invariants: names are unique, the underlay
//! overlaps neither the range of the pods nor the default range, and every host reaches all
//! others over hosts between (the cables connect the whole lab).

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

mod conditions;

pub(crate) use conditions::{Block, CABLED, Conditions, Fault, Nat, OverlayChoice, TUNNEL_PORT};

/// How the hosts are cabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Topology {
    /// All hosts on one switch.
    Full,
    /// Each host only to the one before and the one after it.
    Line,
    /// All hosts only to host 1.
    Star,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Line => "line",
            Self::Star => "star",
        })
    }
}

/// What a person may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Prefix of every name.
    pub(crate) name: String,
    /// Hosts, 1 to [`MAX_HOSTS`].
    pub(crate) hosts: usize,
    /// Pods on each host, at most [`MAX_PODS`].
    pub(crate) pods: usize,
    /// How the hosts are cabled.
    pub(crate) topology: Topology,
    /// The addresses of pods and bridges.
    pub(crate) range: Ipv4Net,
    /// Whether pods have IPv6 addresses too.
    pub(crate) is_dual_stack: bool,
    /// MTU of the pods in bytes; `None` leaves it to the daemon.
    pub(crate) mtu: Option<u16>,
    /// What hosts run and what the network does to packets.
    pub(crate) conditions: Conditions,
}

impl Choice {
    /// Hosts on one switch, in the default range and under ordinary conditions.
    pub(crate) fn full(name: impl Into<String>, hosts: usize, pods: usize) -> Self {
        Self {
            name: name.into(),
            hosts,
            pods,
            topology: Topology::Full,
            range: net(DEFAULT_RANGE),
            is_dual_stack: false,
            mtu: None,
            conditions: Conditions::default(),
        }
    }
}

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Prefix of every name.
    pub(crate) name: String,
    /// How the hosts are cabled.
    pub(crate) topology: Topology,
    /// The addresses of pods and bridges.
    pub(crate) range: Ipv4Net,
    /// The IPv6 addresses of pods and bridges, where they have any.
    #[serde(default)]
    pub(crate) range6: Option<Ipv6Net>,
    /// MTU of the pods in bytes, where it was chosen.
    pub(crate) mtu: Option<u16>,
    /// MTU of the cables in bytes.
    pub(crate) underlay_mtu: u32,
    /// The hosts; host number `n` is at index `n - 1`.
    pub(crate) hosts: Vec<Host>,
    /// The cables.
    pub(crate) cables: Vec<Cable>,
    /// Pods each host starts with.
    pub(crate) pods_per_host: usize,
    /// What hosts run and what the network does to packets.
    #[serde(default)]
    pub(crate) conditions: Conditions,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// Its network namespace under `/run/netns`.
    pub(crate) namespace: String,
    /// Underlay addresses of the hosts it is cabled to, in order of their numbers.
    pub(crate) neighbours: Vec<Neighbour>,
}

/// A host one hop away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Neighbour {
    /// Its number.
    pub(crate) number: usize,
    /// Its address on the cable between.
    pub(crate) address: Ipv4Addr,
}

/// A pair of interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cable {
    /// The end on a host.
    pub(crate) a: Plug,
    /// The other end.
    pub(crate) b: Plug,
}

/// One end of a cable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plug {
    /// The host, or `None` for the switch.
    pub(crate) host: Option<usize>,
    /// Name of the interface.
    pub(crate) device: String,
    /// Address of the interface; a port of the switch has none.
    pub(crate) address: Option<Ipv4Net>,
}

impl Plan {
    /// Plans the lab of `choice`.
    ///
    /// # Errors
    /// What of the choice cannot be built.
    pub(crate) fn new(choice: &Choice) -> Result<Self, PlanError> {
        check_choice(choice)?;
        let base = underlay(choice.range);
        let hosts = choice.hosts;
        let cables = match choice.topology {
            Topology::Full => (1..=hosts).map(|host| switch_cable(base, host)).collect(),
            Topology::Line => (1..hosts)
                .map(|n| direct_cable(base, n, n, n + 1))
                .collect(),
            Topology::Star => (2..=hosts)
                .map(|n| direct_cable(base, n - 1, 1, n))
                .collect(),
        };
        let mut plan = Self {
            name: choice.name.clone(),
            topology: choice.topology,
            range: choice.range,
            range6: choice.is_dual_stack.then_some(RANGE6),
            mtu: choice.mtu,
            underlay_mtu: choice.conditions.known_mtu().unwrap_or_else(|| {
                let needed = choice.mtu.map_or(0, |mtu| u32::from(mtu) + VXLAN_OVERHEAD);
                UNDERLAY_MTU.max(needed)
            }),
            hosts: Vec::with_capacity(hosts),
            cables,
            pods_per_host: choice.pods,
            conditions: choice.conditions.clone(),
        };
        for number in 1..=hosts {
            let neighbours = plan.neighbours(number);
            let namespace = format!("{}-{number}", plan.name);
            plan.hosts.push(Host {
                number,
                namespace,
                neighbours,
            });
        }
        Ok(plan)
    }

    /// What daemons are told to take addresses from.
    pub(crate) fn ranges(&self) -> String {
        match self.range6 {
            Some(range6) => format!("{},{range6}", self.range),
            None => self.range.to_string(),
        }
    }

    /// The host with this number.
    pub(crate) fn host(&self, number: usize) -> Option<&Host> {
        self.hosts.get(number.checked_sub(1)?)
    }

    /// The namespace of the switch; only [`Topology::Full`] has one.
    pub(crate) fn switch(&self) -> Option<String> {
        (self.topology == Topology::Full).then(|| format!("{}-switch", self.name))
    }

    /// The namespace of pod `pod` on host `host`, both from 1.
    pub(crate) fn pod_namespace(&self, host: usize, pod: usize) -> String {
        format!("{}-{host}-pod-{pod}", self.name)
    }

    /// The networks host `number` is cabled to, separated by commas.
    pub(crate) fn networks(&self, number: usize) -> String {
        let plugs = self.cables.iter().flat_map(|cable| [&cable.a, &cable.b]);
        let own = plugs.filter(|plug| plug.host == Some(number));
        let networks: BTreeSet<String> = own
            .filter_map(|plug| plug.address)
            .map(|address| address.trunc().to_string())
            .collect();
        networks.into_iter().collect::<Vec<_>>().join(",")
    }

    /// Cables between a host of `group` and one outside; for cables of the switch, those of the
    /// hosts in `group`.
    pub(crate) fn cables_across(&self, group: &BTreeSet<usize>) -> Vec<&Cable> {
        let inside = |plug: &Plug| plug.host.is_some_and(|host| group.contains(&host));
        self.cables
            .iter()
            .filter(|cable| inside(&cable.a) != inside(&cable.b))
            .collect()
    }

    fn neighbours(&self, number: usize) -> Vec<Neighbour> {
        let mut found: Vec<Neighbour> = match self.topology {
            Topology::Full => {
                let others = self
                    .cables
                    .iter()
                    .filter(|cable| cable.a.host != Some(number));
                others.filter_map(|cable| cable.a.neighbour()).collect()
            }
            Topology::Line | Topology::Star => self
                .cables
                .iter()
                .filter_map(|cable| match (cable.a.host, cable.b.host) {
                    (Some(host), _) if host == number => cable.b.neighbour(),
                    (_, Some(host)) if host == number => cable.a.neighbour(),
                    _ => None,
                })
                .collect(),
        };
        found.sort_by_key(|neighbour| neighbour.number);
        found
    }
}

impl Plug {
    fn neighbour(&self) -> Option<Neighbour> {
        Some(Neighbour {
            number: self.host?,
            address: self.address?.addr(),
        })
    }
}

/// The IPv6 addresses of a lab of two families: of the unique local ones (RFC 4193).
const RANGE6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x32, 0, 0, 0, 0, 0), 64);

/// Why a lab cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PlanError {
    /// Too few or too many of something.
    #[error("--{what} must be from {least} to {most}, not {given}")]
    Count {
        /// The option.
        what: &'static str,
        /// Fewest.
        least: usize,
        /// Most.
        most: usize,
        /// As given.
        given: usize,
    },
    /// A name that cannot be part of names of namespaces.
    #[error("--name {0:?} must be 1 to 40 letters, digits and '-', beginning with a letter")]
    Name(String),
    /// The range cannot hold the lab.
    #[error("--ipalloc-range {range} has room for {room} addresses, the lab needs {needed}")]
    Room {
        /// The range.
        range: Ipv4Net,
        /// Addresses for pods and bridges in it.
        room: u64,
        /// Pods and bridges.
        needed: u64,
    },
    /// The range is one from which hosts cannot have addresses.
    #[error("--ipalloc-range {0} is not a range for hosts: it overlaps {1}")]
    Reserved(Ipv4Net, Ipv4Net),
    /// An MTU no interface has.
    #[error("--mtu must be from 576 to 65000, not {0}")]
    Mtu(u16),
    /// An MTU no cable has.
    #[error("--underlay-mtu must be from 576 to 65000, not {0}")]
    UnderlayMtu(u16),
    /// A hole of no size.
    #[error("--black-hole needs --underlay-mtu: larger packets vanish")]
    BlackHole,
    /// A router where there is nothing to route to.
    #[error("--nat needs --topology full")]
    NatNeedsSwitch,
}

fn check_choice(choice: &Choice) -> Result<(), PlanError> {
    let name = &choice.name;
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic());
    if !letters || !begins || name.len() > 40 {
        return Err(PlanError::Name(name.clone()));
    }
    let counts = [
        ("hosts", 1, MAX_HOSTS, choice.hosts),
        ("pods", 0, MAX_PODS, choice.pods),
    ];
    for (what, least, most, given) in counts {
        if !(least..=most).contains(&given) {
            return Err(PlanError::Count {
                what,
                least,
                most,
                given,
            });
        }
    }
    if let Some(mtu) = choice.mtu.filter(|mtu| !(576..=65000).contains(mtu)) {
        return Err(PlanError::Mtu(mtu));
    }
    choice.conditions.check(choice)?;
    let reserved = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3"].map(net);
    if let Some(found) = reserved.into_iter().find(|net| overlap(*net, choice.range)) {
        return Err(PlanError::Reserved(choice.range, found));
    }
    // The first and the last address of the range are those of the network and the broadcast.
    let room = (1_u64 << (32 - choice.range.prefix_len())).saturating_sub(2);
    let each = u64::try_from(choice.pods + 1).unwrap_or(u64::MAX);
    let needed = u64::try_from(choice.hosts)
        .unwrap_or(u64::MAX)
        .saturating_mul(each);
    if needed > room {
        return Err(PlanError::Room {
            range: choice.range,
            room,
            needed,
        });
    }
    Ok(())
}

/// The first candidate that overlaps neither the range nor the default range.
fn underlay(range: Ipv4Net) -> Ipv4Net {
    let default = net(DEFAULT_RANGE);
    UNDERLAYS
        .map(net)
        .into_iter()
        .find(|candidate| !overlap(*candidate, range) && !overlap(*candidate, default))
        .expect("invariant: a range that holds all candidates holds multicast addresses")
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Host `n` of the switch has the `n`-th address of the underlay.
fn switch_cable(base: Ipv4Net, host: usize) -> Cable {
    Cable {
        a: Plug {
            host: Some(host),
            device: "eth0".to_owned(),
            address: nth(base, host, 16),
        },
        b: Plug {
            host: None,
            device: format!("port{host}"),
            address: None,
        },
    }
}

/// Cable `index` (from 1) has the `index`-th network of four addresses.
fn direct_cable(base: Ipv4Net, index: usize, low: usize, high: usize) -> Cable {
    let end = |host: usize, other: usize, offset: usize| Plug {
        host: Some(host),
        device: format!("to-{other}"),
        address: nth(base, 4 * index + offset, 30),
    };
    Cable {
        a: end(low, high, 1),
        b: end(high, low, 2),
    }
}

fn nth(base: Ipv4Net, offset: usize, prefix: u8) -> Option<Ipv4Net> {
    let offset = u32::try_from(offset).ok()?;
    let address = Ipv4Addr::from(u32::from(base.network()).checked_add(offset)?);
    Ipv4Net::new(address, prefix).ok()
}

fn net(text: &str) -> Ipv4Net {
    text.parse()
        .expect("invariant: constants in this file are networks")
}

/// Most hosts of a lab.
pub(crate) const MAX_HOSTS: usize = 200;
/// Most pods a host starts with.
pub(crate) const MAX_PODS: usize = 200;
/// The range pods get their addresses from unless told otherwise.
pub(crate) const DEFAULT_RANGE: &str = "10.32.0.0/12";
/// Where cables get their addresses: RFC 2544 test networks first, as they occur nowhere else.
const UNDERLAYS: [&str; 4] = [
    "198.18.0.0/16",
    "198.19.0.0/16",
    "172.31.0.0/16",
    "192.168.0.0/16",
];
/// As most networks have it.
const UNDERLAY_MTU: u32 = 1500;
/// Outer IPv4, UDP and VXLAN headers and the inner Ethernet header.
const VXLAN_OVERHEAD: u32 = 20 + 8 + 8 + 14;

#[cfg(test)]
mod tests;

//! What is missing: a pure function from what is observed to steps.
//!
//! Laws (`tests.rs`): running the plan on a model reaches the target; planning again yields
//! nothing; undoing what a plan did to an empty host leaves it empty; objects that were there
//! before are never deleted by undo.

use std::{collections::BTreeMap, fmt};

use super::{Config, Error};
use crate::{
    netlink::{self, Link, mac_text},
    sysctl::{self, Key, Setting},
};

/// The state a plan starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The link with the bridge's name.
    pub bridge: Option<Link>,
    /// The link with the name of the pair's bridge port.
    pub port: Option<Link>,
    /// The link with the name of the pair's overlay end.
    pub datapath: Option<Link>,
    /// Current values of [`settings`]; those the kernel does not have are absent.
    pub settings: BTreeMap<Key, String>,
}

/// One change. Links are named, because most do not exist yet when the plan is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Create a bridge, down, spanning tree off.
    CreateBridge {
        /// Its name.
        name: String,
        /// Its hardware address.
        mac: [u8; 6],
        /// The MTU it starts with.
        mtu: u32,
    },
    /// Create a veth pair, down.
    CreatePair {
        /// One end.
        name: String,
        /// The other end.
        peer: String,
        /// MTU of both.
        mtu: u32,
    },
    /// Delete a link (of a pair, both ends).
    Delete(String),
    /// Set the hardware address. Setting it, even to the same value, keeps ports from changing it.
    Mac(String, [u8; 6]),
    /// Set the MTU.
    Mtu(String, u32),
    /// Switch spanning tree off.
    StpOff(String),
    /// Make a link a port of another, or of nothing.
    Master(String, Option<String>),
    /// Forbid a bridge port to send frames back out where they came from.
    HairpinOff(String),
    /// Drop a queueing discipline somebody put on a virtual device.
    QdiscOff(String),
    /// Set the free text of a link.
    Alias(String, &'static str),
    /// Write a per-interface setting.
    Set(Setting),
    /// Bring a link up.
    Up(String),
}

/// The steps from `observed` to `config`, in order.
///
/// # Errors
/// [`Error::Mtu`], [`Error::Mac`], [`Error::Name`] for a configuration that cannot be meant;
/// [`Error::Foreign`] when an interface of one of our names is something else.
pub fn plan(config: &Config, observed: &Observed) -> Result<Vec<Step>, Error> {
    check(config)?;
    refuse_foreign(&config.name, observed.bridge.as_ref(), "bridge")?;
    refuse_foreign(&config.port, observed.port.as_ref(), "veth")?;
    refuse_foreign(&config.datapath, observed.datapath.as_ref(), "veth")?;
    let mut steps = Vec::new();
    plan_bridge(config, observed, &mut steps);
    plan_pair(config, observed, &mut steps);
    Ok(steps)
}

/// The settings the bridge and its pair should have.
#[must_use]
pub fn settings(config: &Config) -> Vec<Setting> {
    let mut settings = bridge_settings(config);
    settings.extend(pair_settings(config));
    settings
}

/// The steps that take back what `done` created, newest first. Repairs of objects that were there
/// before stay: they are what the next attempt would do again.
#[must_use]
pub fn undo(done: &[Step]) -> Vec<Step> {
    let created = done.iter().rev().filter_map(|step| match step {
        Step::CreateBridge { name, .. } | Step::CreatePair { name, .. } => {
            Some(Step::Delete(name.clone()))
        }
        _ => None,
    });
    created.collect()
}

fn plan_bridge(config: &Config, observed: &Observed, steps: &mut Vec<Step>) {
    let name = || config.name.clone();
    let bridge = observed.bridge.as_ref();
    if bridge.is_none() {
        let mtu = other_than(config.mtu);
        steps.push(Step::CreateBridge {
            name: name(),
            mac: config.mac,
            mtu,
        });
    }
    // The kernel keeps a bridge's address and MTU from following its ports only once they have been
    // set to something, and does not tell whether they have (`br_change_mtu`, `br_set_mac_address`).
    // Our alias is the note that this was done.
    let fixed = bridge.is_some_and(|link| link.alias.as_deref() == Some(ALIAS));
    if bridge.is_some_and(|link| !fixed || link.mac != Some(config.mac)) {
        steps.push(Step::Mac(name(), config.mac));
    }
    if bridge.is_some_and(|link| !fixed && link.mtu == config.mtu) {
        steps.push(Step::Mtu(name(), other_than(config.mtu)));
    }
    if !fixed || bridge.is_some_and(|link| link.mtu != config.mtu) {
        steps.push(Step::Mtu(name(), config.mtu));
    }
    if bridge.is_some_and(|link| link.stp == Some(true)) {
        steps.push(Step::StpOff(name()));
    }
    if !fixed {
        steps.push(Step::Alias(name(), ALIAS));
    }
    let kept = bridge.filter(|link| keeps_settings(link, config));
    let current = kept.map(|_| &observed.settings);
    steps.extend(
        sysctl::missing(bridge_settings(config), current)
            .into_iter()
            .map(Step::Set),
    );
    if bridge.is_none_or(|link| !link.up) {
        steps.push(Step::Up(name()));
    }
}

fn plan_pair(config: &Config, observed: &Observed, steps: &mut Vec<Step>) {
    let whole = match (&observed.port, &observed.datapath) {
        (Some(port), Some(datapath)) if are_peers(port, datapath) => Some((port, datapath)),
        _ => None,
    };
    if whole.is_none() {
        for name in halves(config, observed) {
            steps.push(Step::Delete(name));
        }
        steps.push(Step::CreatePair {
            name: config.port.clone(),
            peer: config.datapath.clone(),
            mtu: config.mtu,
        });
    }
    for link in whole.iter().flat_map(|(port, datapath)| [port, datapath]) {
        if link.mtu != config.mtu {
            steps.push(Step::Mtu(link.name.clone(), config.mtu));
        }
    }
    let kept = whole.filter(|(port, datapath)| {
        keeps_settings(port, config) && keeps_settings(datapath, config)
    });
    let current = kept.map(|_| &observed.settings);
    steps.extend(
        sysctl::missing(pair_settings(config), current)
            .into_iter()
            .map(Step::Set),
    );
    let port = whole.map(|(port, _)| port);
    let bridge = observed.bridge.as_ref().map(|link| link.index);
    if port.is_none_or(|link| link.master.is_none() || link.master != bridge) {
        steps.push(Step::Master(config.port.clone(), Some(config.name.clone())));
    }
    if port.is_some_and(|link| link.hairpin == Some(true)) {
        steps.push(Step::HairpinOff(config.port.clone()));
    }
    let datapath = whole.map(|(_, datapath)| datapath);
    if datapath.is_some_and(|link| link.master.is_some()) {
        steps.push(Step::Master(config.datapath.clone(), None));
    }
    for (name, link) in [(&config.port, port), (&config.datapath, datapath)] {
        if link.is_some_and(is_queueing) {
            steps.push(Step::QdiscOff(name.clone()));
        }
        if link.is_none_or(|link| !link.up) {
            steps.push(Step::Up(name.clone()));
        }
    }
}

/// Links of our names that are not a pair with each other. Deleting one end deletes its peer.
fn halves(config: &Config, observed: &Observed) -> Vec<String> {
    let mut names = Vec::new();
    names.extend(observed.port.as_ref().map(|_| config.port.clone()));
    names.extend(observed.datapath.as_ref().map(|_| config.datapath.clone()));
    names
}

/// Below 1280 the kernel forgets the IPv6 settings of a link; once the MTU is repaired they are back
/// with their defaults (`addrconf_notify`, `net/ipv6/addrconf.c`).
fn keeps_settings(link: &Link, config: &Config) -> bool {
    link.mtu >= IPV6_MIN_MTU || config.mtu < IPV6_MIN_MTU
}

fn are_peers(one: &Link, other: &Link) -> bool {
    let points_at =
        |from: &Link, to: &Link| !from.peer_elsewhere() && from.peer_index == Some(to.index);
    points_at(one, other) && points_at(other, one)
}

/// Clones for several tunnels pass these devices one by one; a queue would reorder or delay them.
fn is_queueing(link: &Link) -> bool {
    link.qdisc
        .as_deref()
        .is_some_and(|kind| !["noqueue", "noop"].contains(&kind))
}

fn bridge_settings(config: &Config) -> Vec<Setting> {
    let mut settings = vec![sysctl::ignore_router_advertisements(&config.name)];
    settings.extend(sysctl::short_lived_neighbours(&config.name));
    if config.has_ipv6 {
        settings.extend(sysctl::with_ipv6(&config.name));
    }
    settings
}

fn pair_settings(config: &Config) -> Vec<Setting> {
    [&config.port, &config.datapath]
        .map(|name| sysctl::without_ipv6(name))
        .into()
}

/// An MTU next to `mtu`, never smaller: IPv6 would be switched off below 1280.
fn other_than(mtu: u32) -> u32 {
    if mtu < MAX_MTU { mtu + 1 } else { mtu - 1 }
}

fn check(config: &Config) -> Result<(), Error> {
    if !(MIN_MTU..=MAX_MTU).contains(&config.mtu) {
        return Err(Error::Mtu {
            name: config.name.clone(),
            mtu: config.mtu,
        });
    }
    if config.mac == [0; 6] || config.mac[0] & 1 == 1 {
        return Err(Error::Mac {
            name: config.name.clone(),
            mac: mac_text(config.mac),
        });
    }
    let names = [&config.name, &config.port, &config.datapath];
    for (position, name) in names.iter().enumerate() {
        if !netlink::is_interface_name(name) || names[..position].contains(name) {
            return Err(Error::Name {
                name: (*name).clone(),
            });
        }
    }
    Ok(())
}

fn refuse_foreign(name: &str, link: Option<&Link>, wanted: &'static str) -> Result<(), Error> {
    match link {
        Some(link) if !link.is_kind(wanted) => Err(Error::Foreign {
            name: name.to_owned(),
            found: link
                .kind
                .clone()
                .unwrap_or_else(|| "physical device".to_owned()),
            wanted,
        }),
        _ => Ok(()),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateBridge { name, mac, .. } => {
                write!(f, "create bridge {name} with address {}", mac_text(*mac))
            }
            Self::CreatePair { name, peer, mtu } => {
                write!(f, "create veth pair {name} and {peer} with MTU {mtu}")
            }
            Self::Delete(name) => write!(f, "delete {name}"),
            Self::Mac(name, mac) => write!(f, "set address of {name} to {}", mac_text(*mac)),
            Self::Mtu(name, mtu) => write!(f, "set MTU of {name} to {mtu}"),
            Self::StpOff(name) => write!(f, "switch off spanning tree of {name}"),
            Self::Master(name, Some(master)) => write!(f, "make {name} a port of {master}"),
            Self::Master(name, None) => write!(f, "release {name} from its bridge"),
            Self::HairpinOff(name) => write!(f, "switch off hairpin of {name}"),
            Self::QdiscOff(name) => write!(f, "drop the queueing discipline of {name}"),
            Self::Alias(name, alias) => write!(f, "label {name} {alias:?}"),
            Self::Set(setting) => write!(f, "write {setting}"),
            Self::Up(name) => write!(f, "bring up {name}"),
        }
    }
}

/// The label of a bridge whose address and MTU were set, not inherited.
pub(super) const ALIAS: &str = "weave pod network";

const MIN_MTU: u32 = 68;
const IPV6_MIN_MTU: u32 = 1280;
const MAX_MTU: u32 = 65535;

//! What is missing between a pod and the bridge: a pure function from what is observed to steps.
//!
//! Laws (`tests.rs`): running the plan on a model reaches the target; planning again yields
//! nothing; after any prefix of a plan, [`undo`] returns to the start.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;

use super::{Request, Route};
use crate::{
    netlink::{self, Link},
    sysctl::{self, Key, Setting},
};

/// The state a plan starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The bridge to attach to.
    pub bridge: Link,
    /// A free name for the host end, should one be created.
    pub host_name: String,
    /// The pair, when it is there already.
    pub existing: Option<Existing>,
}

/// A pair that is there already, whole or half configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// The end on the host.
    pub host: Link,
    /// The end in the pod.
    pub pod: Link,
    /// Addresses of the pod's end.
    pub addresses: Vec<IpNet>,
    /// Routes of the pod.
    pub routes: Vec<netlink::Route>,
    /// Settings of the host's end, as far as the kernel has them.
    pub host_settings: BTreeMap<Key, String>,
    /// Settings of the pod's end, as far as the kernel has them.
    pub pod_settings: BTreeMap<Key, String>,
}

/// Which end of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The bridge port.
    Host,
    /// The pod's interface.
    Pod,
}

/// One change. Each either takes effect as a whole or not at all, but for `Settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Create the pair with one end in the pod, both down.
    CreatePair {
        /// Name of the host end.
        host: String,
        /// Name of the pod end.
        pod: String,
        /// MTU of both.
        mtu: u32,
    },
    /// Delete the pair.
    DeletePair,
    /// Label the host end; empty removes the label.
    Alias(String),
    /// Write settings of one end.
    Settings(Side, Vec<Setting>),
    /// Make the host end a port of the bridge with this index, or of nothing.
    Master(Option<u32>),
    /// Set the hairpin flag of the host end.
    Hairpin(bool),
    /// Add an address to the pod's end.
    AddAddress(IpNet),
    /// Delete an address of the pod's end.
    DeleteAddress(IpNet),
    /// Bring one end up.
    Up(Side),
    /// Take one end down.
    Down(Side),
    /// Add a route to the pod.
    AddRoute(Route),
    /// Delete a route of the pod.
    DeleteRoute(Route),
    /// Have the kernel tell the neighbours where the pod's addresses are.
    Announce,
}

/// The steps from `observed` to what `request` asks for, in order.
#[must_use]
pub fn plan(request: &Request, observed: &Observed) -> Vec<Step> {
    let existing = observed.existing.as_ref();
    let mut steps = Vec::new();
    if existing.is_none() {
        let mtu = request.mtu.unwrap_or(observed.bridge.mtu);
        let host = observed.host_name.clone();
        steps.push(Step::CreatePair {
            host,
            pod: request.ifname.clone(),
            mtu,
        });
    }
    plan_host(request, observed, &mut steps);
    plan_pod(request, existing, &mut steps);
    steps
}

fn plan_host(request: &Request, observed: &Observed, steps: &mut Vec<Step>) {
    let existing = observed.existing.as_ref();
    let host = existing.map(|pair| &pair.host);
    if host.is_none_or(|link| link.alias.as_deref() != Some(&request.container_id)) {
        steps.push(Step::Alias(request.container_id.clone()));
    }
    let name = host.map_or(&observed.host_name, |link| &link.name);
    let current = existing.map(|pair| &pair.host_settings);
    let settings = sysctl::missing(host_settings(name), current);
    if !settings.is_empty() {
        steps.push(Step::Settings(Side::Host, settings));
    }
    let bridge = Some(observed.bridge.index);
    let moves = host.is_none_or(|link| link.master != bridge);
    if moves {
        steps.push(Step::Master(bridge));
    }
    // A port starts with the flag off; one that moved lost it.
    let hairpin = host
        .filter(|_| !moves)
        .and_then(|link| link.hairpin)
        .unwrap_or(false);
    if hairpin != request.hairpin {
        steps.push(Step::Hairpin(request.hairpin));
    }
}

fn plan_pod(request: &Request, existing: Option<&Existing>, steps: &mut Vec<Step>) {
    let current = existing.map(|pair| &pair.pod_settings);
    let settings = sysctl::missing(pod_settings(&request.ifname, request.has_v6()), current);
    if !settings.is_empty() {
        steps.push(Step::Settings(Side::Pod, settings));
    }
    let mut fresh: Vec<IpNet> = Vec::new();
    for address in &request.addresses {
        let present = existing.is_some_and(|pair| pair.addresses.contains(address));
        if !present && !fresh.contains(address) {
            fresh.push(*address);
        }
    }
    steps.extend(fresh.iter().copied().map(Step::AddAddress));
    if existing.is_none_or(|pair| !pair.pod.up) {
        steps.push(Step::Up(Side::Pod));
    }
    // IPv6 has no connected routes, so takes no next hop, before the carrier is there: both ends
    // must be up before the routes.
    if existing.is_none_or(|pair| !pair.host.up) {
        steps.push(Step::Up(Side::Host));
    }
    let has = |route: &Route| existing.is_some_and(|pair| has_route(pair, route));
    let routes = request.route_list().into_iter().filter(|route| !has(route));
    steps.extend(routes.map(Step::AddRoute));
    if !fresh.is_empty() {
        steps.push(Step::Announce);
    }
}

/// The steps that take back `done`, newest first. `observed` is what the plan was made from.
///
/// Announcements cannot be taken back and need not be.
#[must_use]
pub fn undo(done: &[Step], observed: &Observed) -> Vec<Step> {
    let Some(before) = &observed.existing else {
        let created = done
            .iter()
            .any(|step| matches!(step, Step::CreatePair { .. }));
        return if created {
            vec![Step::DeletePair]
        } else {
            Vec::new()
        };
    };
    done.iter()
        .rev()
        .flat_map(|step| inverse(step, before))
        .collect()
}

/// Changes of an existing pair only; a created one is deleted as a whole.
fn inverse(step: &Step, before: &Existing) -> Vec<Step> {
    let link = |side: &Side| match side {
        Side::Host => &before.host,
        Side::Pod => &before.pod,
    };
    match step {
        Step::Alias(_) => vec![Step::Alias(before.host.alias.clone().unwrap_or_default())],
        Step::Settings(side, written) => {
            vec![Step::Settings(*side, old_values(*side, written, before))]
        }
        // The flag belongs to the port: joining a bridge clears it.
        Step::Master(_) => {
            let hairpin = before.host.hairpin.filter(|on| *on).map(Step::Hairpin);
            [Step::Master(before.host.master)]
                .into_iter()
                .chain(hairpin)
                .collect()
        }
        Step::Hairpin(_) => before.host.hairpin.map(Step::Hairpin).into_iter().collect(),
        Step::AddAddress(address) => vec![Step::DeleteAddress(*address)],
        Step::Up(side) if !link(side).up => vec![Step::Down(*side)],
        Step::AddRoute(route) => vec![Step::DeleteRoute(*route)],
        _ => Vec::new(),
    }
}

fn old_values(side: Side, written: &[Setting], before: &Existing) -> Vec<Setting> {
    let values = match side {
        Side::Host => &before.host_settings,
        Side::Pod => &before.pod_settings,
    };
    let old = |setting: &Setting| {
        let value = values.get(&setting.key)?.clone();
        Some(Setting {
            key: setting.key.clone(),
            value,
        })
    };
    written.iter().filter_map(old).collect()
}

fn has_route(pair: &Existing, wanted: &Route) -> bool {
    pair.routes.iter().any(|route| {
        route.dst == wanted.dst && route.via == wanted.via && route.dev == Some(pair.pod.index)
    })
}

/// Settings of the end on the host, which only carries frames.
pub(super) fn host_settings(name: &str) -> Vec<Setting> {
    vec![
        sysctl::ignore_router_advertisements(name),
        sysctl::without_ipv6(name),
    ]
}

/// Settings of the end in the pod; `has_v6` if it gets IPv6 addresses.
pub(super) fn pod_settings(name: &str, has_v6: bool) -> Vec<Setting> {
    let mut settings = vec![sysctl::ignore_router_advertisements(name)];
    if has_v6 {
        settings.extend(sysctl::with_ipv6(name));
    }
    settings.extend(sysctl::short_lived_neighbours(name));
    settings.extend(sysctl::announce_addresses(name));
    settings
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreatePair { host, pod, mtu } => {
                write!(f, "create veth pair {host} and {pod} with MTU {mtu}")
            }
            Self::DeletePair => write!(f, "delete the veth pair"),
            Self::Alias(text) => write!(f, "label the host end {text:?}"),
            Self::Settings(side, settings) => {
                write!(f, "write {} settings of the {side} end", settings.len())
            }
            Self::Master(Some(index)) => write!(f, "join the host end to interface {index}"),
            Self::Master(None) => write!(f, "release the host end from its bridge"),
            Self::Hairpin(on) => write!(f, "switch hairpin {}", if *on { "on" } else { "off" }),
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::DeleteAddress(address) => write!(f, "delete address {address}"),
            Self::Up(side) => write!(f, "bring up the {side} end"),
            Self::Down(side) => write!(f, "take down the {side} end"),
            Self::AddRoute(route) => write!(f, "add route {route}"),
            Self::DeleteRoute(route) => write!(f, "delete route {route}"),
            Self::Announce => write!(f, "announce the addresses"),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Pod => "pod",
        })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.via {
            Some(via) => write!(f, "{} via {via}", self.dst),
            None => write!(f, "{} on link", self.dst),
        }
    }
}

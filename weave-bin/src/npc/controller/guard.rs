//! The source guard in the kernel: which port of the bridge belongs to which pod.
//!
//! The CNI plugin tells a port when it has made it. The table in the kernel is the memory: a
//! controller that starts takes over what an earlier one wrote. Invariant: a port that is not there
//! any more is forgotten at the next change; one that nobody told is not guarded.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::net::if_::if_nametoindex;
use tracing::{info, warn};
use weave_npc::compile::{GuardedPort, guard, guarded_in};
use weave_npc::netlink::{Changes, Keeper, NetlinkError, Nft, Way};
use weave_npc::ruleset::IfName;

use crate::logging::CHANGE;

/// The guard of this node.
#[derive(Debug)]
pub(super) struct Guard {
    keeper: Keeper,
    ports: BTreeMap<String, GuardedPort>,
    /// What keeps the guard from being as wanted.
    pub(super) fault: Option<String>,
}

impl Guard {
    /// Takes over the guard that is in the kernel.
    ///
    /// # Errors
    /// There is no `nf_tables`, or no right to use it.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let (id, _) = guard([]);
        let mut nft = Nft::open()?;
        let seen = nft.read(&id)?;
        let found = seen.map(|seen| guarded_in(&seen.table)).unwrap_or_default();
        let ports = found.into_iter().map(|port| (port.port.to_string(), port));
        Ok(Self {
            ports: ports.collect(),
            keeper: Keeper::new(nft, id),
            fault: None,
        })
    }

    /// Holds what comes by `port` to a MAC address and IP addresses.
    ///
    /// # Errors
    /// Why the guard is not in force.
    pub(super) fn add(
        &mut self,
        port: &str,
        ether: [u8; 6],
        addresses: Vec<IpAddr>,
    ) -> Result<(), String> {
        let name = IfName::new(port).map_err(|error| format!("port {port:?}: {error}"))?;
        if if_nametoindex(port).is_err() {
            return Err(format!("port {port:?}: there is no such device"));
        }
        self.ports
            .insert(port.to_owned(), GuardedPort::new(name, ether, addresses));
        self.write();
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Writes the guard of the ports that are there.
    pub(super) fn write(&mut self) {
        self.ports
            .retain(|port, _| if_nametoindex(port.as_str()).is_ok());
        let outcome = if self.ports.is_empty() {
            self.keeper.remove()
        } else {
            let (_, table) = guard(self.ports.values().cloned());
            self.keeper.set(&table)
        };
        self.note(outcome.map(drop));
    }

    /// Reads the guard back and sets it right.
    pub(super) fn repair(&mut self) {
        let outcome = self.keeper.repair();
        if matches!(&outcome, Ok(report) if report.way != Way::Nothing) {
            warn!(target: CHANGE, "somebody changed table {}: undone", self.keeper.id());
        }
        self.note(outcome.map(drop));
    }

    /// Whether `changes` are by others, and about the guard.
    pub(super) fn concern(&mut self, changes: &Changes) -> bool {
        let own = self.keeper.nft().port();
        changes.concern(self.keeper.id(), own)
    }

    /// The guarded ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = &str> {
        self.ports.keys().map(String::as_str)
    }

    fn note(&mut self, outcome: Result<(), NetlinkError>) {
        match outcome {
            Ok(()) => {
                if self.fault.take().is_some() {
                    info!("the source guard is in force again");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.fault.as_ref() != Some(&text) {
                    warn!("the source guard is not as it should be: {text}");
                }
                self.fault = Some(text);
            }
        }
    }
}

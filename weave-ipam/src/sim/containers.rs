//! Containers: they come, hold an address, end; and what a start makes of them.
//!
//! Invariant: a container whose answer was given is among the holders the laws know, until it ends.

use super::host::{Container, Input};
use super::world::World;

impl World {
    /// A container that waits for an address, or has one already.
    pub(super) fn new_container(&mut self, host: usize, address: Option<ipnet::IpNet>) -> String {
        self.containers += 1;
        let ident = format!("c{}", self.containers);
        let container = Container { address };
        self.hosts[host].containers.insert(ident.clone(), container);
        ident
    }

    pub(super) fn end_container(&mut self, host: usize, ident: &str) {
        if let Some(container) = self.hosts[host].containers.remove(ident) {
            if let Some(address) = container.address {
                self.laws.forget_holder(host, ident, address);
                self.hosts[host].unclaimed.remove(&address);
            }
            self.feed(host, Input::End(ident.to_owned()));
        }
    }

    /// Without telling the process.
    pub(super) fn lose_containers(&mut self, host: usize) {
        for (ident, container) in std::mem::take(&mut self.hosts[host].containers) {
            if let Some(address) = container.address {
                self.laws.forget_holder(host, &ident, address);
            }
        }
        self.hosts[host].unclaimed.clear();
    }

    /// Claims the address of a container again.
    pub(super) fn reclaim(&mut self, host: usize, ident: String) {
        let container = self.hosts[host].containers.get(&ident);
        if let Some(address) = container.and_then(|container| container.address) {
            self.feed(
                host,
                Input::Claim {
                    ident,
                    address,
                    is_found: true,
                },
            );
        }
    }

    /// After a start: releases what no container holds, then claims what containers that live have.
    pub(super) fn reconcile(&mut self, host: usize) {
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        let recorded = process.engine.holdings();
        let containers = &self.hosts[host].containers;
        let mut inputs = Vec::new();
        for (ident, _) in &recorded {
            if !containers.contains_key(ident) {
                inputs.push(Input::End(ident.clone()));
            }
        }
        for (ident, container) in containers {
            let Some(address) = container.address else {
                continue;
            };
            let is_recorded = recorded
                .iter()
                .any(|(holder, held)| holder == ident && held.contains(&address));
            if !is_recorded {
                inputs.push(Input::Claim {
                    ident: ident.clone(),
                    address,
                    is_found: true,
                });
            }
        }
        for input in inputs {
            self.feed(host, input);
        }
    }
}

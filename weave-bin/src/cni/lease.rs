//! The addresses of one call to ADD: where they come from and how they go back.
//!
//! A lease knows what this very call allocated, because the daemon says so with its answer. Undoing
//! gives back that and nothing else: an address that an earlier call got for the same container
//! stays. When the daemon does not say it (Weave Net's does not), or does not answer, the address is
//! left to DEL, which runtimes call after a failed ADD.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Scene;
use super::config::Ipam;
use super::delegate;
use super::error::{Code, Error};
use super::result::{Address, Attachment};

/// Addresses for a pod.
#[derive(Debug)]
pub(super) struct Lease {
    /// Addresses and, from another plugin, routes.
    pub(super) granted: Attachment,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// From the daemon; what this call allocated.
    Daemon(Vec<IpNet>),
    /// From the plugin of this name.
    Delegate(String),
}

impl Lease {
    /// Asks the daemon, or the plugin the configuration names.
    ///
    /// # Errors
    /// What stands in the way, beginning with `unable to allocate IP address`. Nothing stays
    /// allocated.
    pub(super) async fn take<E>(scene: &Scene<'_, E>, ipam: &Ipam) -> Result<Self, Error> {
        let context = "unable to allocate IP address";
        if let Some(kind) = ipam.delegate() {
            let granted = delegate::add(scene.call, kind, scene.input)
                .await
                .map_err(|error| error.within(context))?;
            if granted.addresses.is_empty() {
                let text = format!("{context}: IPAM plugin {kind:?} returned no address");
                return Err(Error::new(Code::Configuration, text));
            }
            return Ok(Self {
                granted,
                origin: Origin::Delegate(kind.to_owned()),
            });
        }
        let id = &scene.call.container_id;
        // A DEL of an earlier attempt that still waits would take the address away again.
        scene.withdraw(id)?;
        let asker = Some((scene.plugin, scene.network.name()));
        let found = scene.daemon.allocate(id, ipam.subnet, asker).await;
        let found = found.map_err(|error| error.within(context))?;
        let addresses = found.iter().map(|(address, _)| Address {
            address: *address,
            gateway: None,
        });
        let granted = Attachment {
            addresses: addresses.collect(),
            ..Attachment::default()
        };
        let created = found.iter().filter(|(_, is_fresh)| *is_fresh);
        Ok(Self {
            granted,
            origin: Origin::Daemon(created.map(|(address, _)| *address).collect()),
        })
    }

    /// Gives back what this call took. The error is for the log: the runtime calls DEL anyway.
    pub(super) async fn undo<E>(self, scene: &Scene<'_, E>) -> Result<(), Error> {
        match self.origin {
            Origin::Daemon(created) => {
                let daemon = scene.daemon.again(UNDO_LIMIT);
                let mut outcome = Ok(());
                for address in created {
                    // Each is tried, whatever became of the one before.
                    let freed = daemon.free(&scene.call.container_id, address).await;
                    outcome = outcome.and(freed);
                }
                outcome
            }
            Origin::Delegate(kind) => delegate::del(scene.call, &kind, scene.input).await,
        }
    }

    /// The gateways that came with the addresses.
    pub(super) fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.granted.addresses.iter();
        addresses.filter_map(|address| address.gateway)
    }
}

/// Undoing happens after a failure and must not double the time a runtime waits.
const UNDO_LIMIT: Duration = Duration::from_secs(3);

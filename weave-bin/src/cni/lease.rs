//! The addresses of one call to ADD: where they come from and how they go back.
//!
//! A lease knows what this very call allocated. Undoing gives back that and nothing else: an
//! address that an earlier call got for the same container stays.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Scene;
use super::config::Ipam;
use super::daemon::Daemon;
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
    /// From the daemon; `Some` if this call allocated it.
    Daemon(Option<IpNet>),
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
        let found = from_daemon(&scene.daemon, id, ipam.subnet).await;
        let (address, created) = found.map_err(|error| error.within(context))?;
        let granted = Attachment {
            addresses: vec![Address {
                address,
                gateway: None,
            }],
            ..Attachment::default()
        };
        Ok(Self {
            granted,
            origin: Origin::Daemon(created.then_some(address)),
        })
    }

    /// Gives back what this call took. The error is for the log: the runtime calls DEL anyway.
    pub(super) async fn undo<E>(self, scene: &Scene<'_, E>) -> Result<(), Error> {
        match self.origin {
            Origin::Daemon(None) => Ok(()),
            Origin::Daemon(Some(address)) => {
                scene
                    .daemon
                    .again(UNDO_LIMIT)
                    .free(&scene.call.container_id, address)
                    .await
            }
            Origin::Delegate(kind) => delegate::del(scene.call, &kind, scene.input).await,
        }
    }

    /// The first gateway that came with the addresses.
    pub(super) fn gateway(&self) -> Option<IpAddr> {
        self.granted
            .addresses
            .iter()
            .find_map(|address| address.gateway)
    }
}

/// The address of `id` and whether it was allocated by this question.
async fn from_daemon(
    daemon: &Daemon,
    id: &str,
    subnet: Option<IpNet>,
) -> Result<(IpNet, bool), Error> {
    // Without an answer here nothing is known to be of this call, and nothing is given back.
    let before = daemon.owned(id, subnet).await.ok();
    match daemon.allocate(id, subnet).await {
        Ok(address) => Ok((
            address,
            before.is_some_and(|before| !before.contains(&address)),
        )),
        Err(error) => {
            if let (Code::TryAgain, Some(before)) = (error.code(), before) {
                // A request that got no answer may have been granted all the same.
                let daemon = daemon.again(UNDO_LIMIT);
                let after = daemon.owned(id, subnet).await.unwrap_or_default();
                for address in after
                    .into_iter()
                    .filter(|address| !before.contains(address))
                {
                    // The first error is the one to report; DEL frees what is left.
                    let _freed = daemon.free(id, address).await;
                }
            }
            Err(error)
        }
    }
}

/// Undoing happens after a failure and must not double the time a runtime waits.
const UNDO_LIMIT: Duration = Duration::from_secs(3);

//! Watches the fast data path and puts back what somebody took away.
//!
//! Invariant: nothing is touched while nothing is wrong. A repaired device is handed over whole; until
//! then the old one stays in use, so that no moment is without one.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use weave_datapath::bpf::{Config, Damage, Device, Error, inspect};
use weave_datapath::netlink::Netlink;

use crate::logging::CHANGE;

/// The watcher. It ends with its owner.
pub(super) struct Guard {
    repaired: mpsc::Receiver<Device>,
    task: JoinHandle<()>,
}

impl Guard {
    /// Watches the device of `config` from now on.
    pub(super) fn start(config: Config) -> Self {
        let (sender, repaired) = mpsc::channel(1);
        Self {
            repaired,
            task: tokio::spawn(watch(config, sender)),
        }
    }

    /// The device as it is after a repair; its tables are to be restored.
    ///
    /// # Cancel safety
    /// No device is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Device {
        match self.repaired.recv().await {
            Some(device) => device,
            // The watcher could not start, and has said so.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(config: Config, repaired: mpsc::Sender<Device>) {
    let netlink = match Netlink::open() {
        Ok(netlink) => netlink,
        Err(error) => {
            warn!(%error, "the fast data path is not watched");
            return;
        }
    };
    let mut before = String::new();
    while !repaired.is_closed() {
        tokio::time::sleep(PAUSE).await;
        let found = match inspect(&config, &netlink).await {
            Ok(damage) if damage.is_empty() => {
                before.clear();
                continue;
            }
            Ok(damage) => in_words(&damage),
            Err(error) => error.to_string(),
        };
        // What lasts is said once.
        let is_news = found != before;
        if is_news {
            warn!(target: CHANGE, "fast data path damaged: {found}");
        }
        match repair(&config, &netlink, &repaired).await {
            Ok(()) => info!("fast data path repaired: {found}"),
            Err(error) if is_news => warn!("fast data path cannot be repaired yet: {error}"),
            Err(_) => {}
        }
        before = found;
    }
}

async fn repair(
    config: &Config,
    netlink: &Netlink,
    repaired: &mpsc::Sender<Device>,
) -> Result<(), Error> {
    let (config, netlink) = (config.clone(), netlink.clone());
    let runtime = Handle::current();
    // Having the kernel check the programs takes a while, in which heartbeats must not wait.
    let open = move || runtime.block_on(Device::open(&config, &netlink));
    let device = match tokio::task::spawn_blocking(open).await {
        Ok(device) => device?,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The daemon stops.
        Err(_) => return Ok(()),
    };
    // Refused only when the owner is gone, with whom this task ends.
    drop(repaired.send(device).await);
    Ok(())
}

fn in_words(damage: &[Damage]) -> String {
    let texts: Vec<String> = damage.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// Time between two looks: what is gone comes back within two seconds.
const PAUSE: Duration = Duration::from_secs(1);

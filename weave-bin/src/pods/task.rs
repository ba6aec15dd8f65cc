//! Keeps the ledger beside the allocator.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use weave_datapath::netlink::Netlink;

use super::ledger::{Ledger, Links, Mark};
use super::spool;
use crate::actor::ipam::{Failure, Rings};

/// The pods of this host.
#[derive(Debug, Clone)]
pub struct Pods {
    shared: Arc<Mutex<Shared>>,
    ipam: Rings,
    spool: PathBuf,
    file: PathBuf,
}

#[derive(Debug, Default)]
struct Shared {
    ledger: Ledger,
    counts: Counts,
}

/// What was given back without a DEL that reached the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Counts {
    /// Containers whose addresses were freed because their links had gone.
    pub leaked: u64,
    /// Containers whose DEL came while the daemon was away.
    pub replayed: u64,
    /// Containers that a runtime did not list any more.
    pub collected: u64,
}

impl Pods {
    /// Those that the last daemon whose state file starts with `prefix` knew. A file that cannot be
    /// read is as if there were none: then nothing is freed of pods that have no link now.
    pub fn open(prefix: &Path, ipam: Rings) -> Self {
        let file = ledger_path(prefix);
        let ledger = match read(&file) {
            Ok(ledger) => ledger,
            Err(error) => {
                warn!("cannot read {}: {error}", file.display());
                Ledger::default()
            }
        };
        let counts = Counts::default();
        Self {
            shared: Arc::new(Mutex::new(Shared { ledger, counts })),
            ipam,
            spool: spool::beside(prefix),
            file,
        }
    }

    /// The container `id` got an address from a plugin.
    pub fn mark(&self, id: &str, mark: Mark) {
        self.lock().ledger.mark(id, mark);
    }

    /// Which plugin the container `id` got its address by, if one.
    pub fn marked(&self, id: &str) -> Option<Mark> {
        self.lock().ledger.marked(id).cloned()
    }

    /// The addresses of `id` were released.
    pub fn forget(&self, id: &str) {
        self.lock().ledger.forget(id);
    }

    /// What was given back so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Frees what containers of `network` have that are not among `valid`; whose that was.
    pub async fn collect(&self, network: &str, valid: &BTreeSet<String>) -> Vec<String> {
        let mut freed = self.lock().ledger.unlisted(network, valid);
        let mut kept = BTreeSet::new();
        for id in &freed {
            match self.release(id).await {
                Ok(()) => info!("Freed the addresses of {id}, which its runtime does not list"),
                Err(failure) => {
                    warn!("cannot free the addresses of {id}: {failure}");
                    kept.insert(id.clone());
                }
            }
        }
        freed.retain(|id| !kept.contains(id));
        self.lock().counts.collected += u64::try_from(freed.len()).unwrap_or(u64::MAX);
        freed
    }

    /// Releases what DELs of the time without a daemon were for.
    pub async fn replay(&self) {
        let waiting = match spool::waiting(&self.spool) {
            Ok(waiting) => waiting,
            Err(error) => {
                warn!("cannot read {}: {error}", self.spool.display());
                return;
            }
        };
        for id in waiting {
            // Taken off first: an ADD that has just withdrawn it keeps what it gets.
            match spool::withdraw(&self.spool, &id) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    warn!("cannot remove {}: {error}", self.spool.join(&id).display());
                    continue;
                }
            }
            match self.release(&id).await {
                Ok(()) => {
                    debug!("Released what {id} had; its DEL came while there was no daemon");
                    self.lock().counts.replayed += 1;
                }
                Err(failure) => {
                    warn!("cannot free the addresses of {id}: {failure}");
                    if let Err(error) = spool::put(&self.spool, &id) {
                        warn!("cannot write {}: {error}", self.spool.join(&id).display());
                    }
                }
            }
        }
    }

    /// Looks after the pods until `stop`; without `netlink` there are no links to compare with.
    pub async fn run(self, netlink: Option<Netlink>, stop: CancellationToken) {
        let start = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(ROUND) => {}
            }
            self.replay().await;
            if let Some(netlink) = &netlink {
                self.reconcile(start.elapsed(), netlink).await;
            }
            self.save();
        }
        self.save();
    }

    async fn reconcile(&self, now: Duration, netlink: &Netlink) {
        // In this order: who is attached meanwhile has a link in the second answer.
        let Ok(owned) = self.ipam.owned().await else {
            return;
        };
        let links: Links = match netlink.links().await {
            Ok(links) => links.into_iter().collect(),
            Err(error) => {
                debug!("cannot list the links of this host: {error}");
                return;
            }
        };
        let owned: BTreeSet<String> = owned.into_iter().map(|(id, _)| id).collect();
        let leaked = self.lock().ledger.look(now, &owned, &links);
        for id in leaked {
            // It may have been added again while the one before was freed.
            if !self.lock().ledger.is_leaked(now, &id) {
                continue;
            }
            match self.release(&id).await {
                Ok(()) => {
                    warn!("Freed the addresses of {id}: its link is gone and no DEL came");
                    self.lock().counts.leaked += 1;
                }
                Err(failure) => warn!("cannot free the addresses of {id}: {failure}"),
            }
        }
    }

    /// Frees what `id` has; nothing left is no failure.
    async fn release(&self, id: &str) -> Result<(), Failure> {
        match self.ipam.delete(id.to_owned()).await {
            Ok(()) | Err(Failure::Refused(_)) => {
                self.forget(id);
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Writes the ledger if it has changed. A write that fails is repeated in the next round.
    fn save(&self) {
        let text = {
            let mut shared = self.lock();
            if !shared.ledger.take_changed() {
                return;
            }
            shared.ledger.to_json()
        };
        let fresh = self.file.with_extension("json.tmp");
        let written =
            std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &self.file));
        if let Err(error) = written {
            warn!("cannot write {}: {error}", self.file.display());
            self.lock().ledger.set_changed();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Whoever panicked left whole entries: every change is one call.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the ledger of the daemon is whose state file starts with `prefix`.
pub fn ledger_path(prefix: &Path) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push("pods.json");
    path.into()
}

fn read(file: &Path) -> io::Result<Ledger> {
    match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ledger::default()),
        text => Ok(Ledger::from_json(&text?)?),
    }
}

/// Between looks.
const ROUND: Duration = Duration::from_secs(10);

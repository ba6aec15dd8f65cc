//! One round of reclaiming: takes the steps that [`Reclaimer`] names until it rests.

use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::api::{Api, ApiError, Stored};
use super::daemon::{Daemon, DaemonError};
use super::membership;
use super::nodes::Nodes;
use super::reclaim::{Left, Reclaimer, Step};
use super::record::{Entry, Record};
use super::state::Board;

/// Why a round ended early. What was begun goes on in the next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoundError {
    /// The API server.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Our own daemon.
    #[error("our daemon: {0}")]
    Daemon(#[from] DaemonError),
    /// The record changes faster than it can be written.
    #[error("the peer list changes too fast")]
    Busy,
}

/// What a round works with.
#[derive(Debug)]
pub struct Round<'a> {
    /// The API server.
    pub api: &'a Api,
    /// Our daemon.
    pub daemon: &'a Daemon,
    /// Where it is told.
    pub board: &'a Board,
    /// When the program started.
    pub start: Instant,
}

impl Round<'_> {
    /// Adds us to the list if need be and removes lost peers; those that are left.
    ///
    /// # Errors
    /// See [`RoundError`].
    pub async fn run(
        &self,
        reclaimer: &mut Reclaimer,
        mut nodes: Nodes,
    ) -> Result<Vec<Left>, RoundError> {
        if let Some(own) = nodes.find(&reclaimer.me().node) {
            reclaimer.set_uid(&own.uid);
        }
        reclaimer.begin();
        let mut stored = membership::join(self.api, reclaimer.me()).await?;
        for _ in 0..MOST_STEPS {
            let count = stored.record.entries().len();
            self.board.update(|cluster| cluster.peers = Some(count));
            if reclaimer.lost(&stored.record, &nodes).next().is_none()
                && !holds_locks(&stored.record, &reclaimer.me().peer)
            {
                return Ok(Vec::new());
            }
            let view = self.daemon.view().await?;
            match reclaimer.next(self.start.elapsed(), &stored.record, &nodes, &view) {
                Step::Lock { peer, record } => {
                    debug!("[kube] preparing to remove lost peer {peer}");
                    let is_ours;
                    (stored, is_ours) = self.write(stored, record).await?;
                    if is_ours {
                        reclaimer.handle_locked(&peer);
                    }
                }
                Step::TakeOver { peer, node } => {
                    // The watch may lag: only what is gone now is gone.
                    match self.api.node(&node).await? {
                        Some(found) => nodes.insert(found),
                        None => nodes.remove(&node),
                    }
                    let is_it = |entry: &Entry| entry.peer == peer;
                    if reclaimer.lost(&stored.record, &nodes).any(is_it) {
                        self.take_over(reclaimer, &peer).await?;
                    }
                }
                Step::Unlock { peer, record } => {
                    info!("[kube] peer {peer} is not to be removed any more");
                    (stored, _) = self.write(stored, record).await?;
                }
                Step::Remove { peer, record } => {
                    let is_done;
                    (stored, is_done) = self.write(stored, record).await?;
                    if is_done {
                        info!("[kube] removed lost peer {peer} from the peer list");
                        self.board.update(|cluster| cluster.reclaimed += 1);
                    }
                }
                Step::Wait(until) => {
                    tokio::time::sleep(until.saturating_sub(self.start.elapsed())).await;
                    stored = self.read().await?;
                }
                Step::Rest(left) => return Ok(left),
            }
        }
        Err(RoundError::Busy)
    }

    async fn take_over(&self, reclaimer: &mut Reclaimer, peer: &str) -> Result<(), RoundError> {
        match self.daemon.take_over(peer).await {
            Ok(count) => {
                info!("[kube] {count} IPs taken over from {peer}");
                reclaimer.handle_taken(self.start.elapsed(), peer, count);
            }
            Err(DaemonError::Refused(reason)) => {
                warn!("[kube] not taking over from {peer}: {reason}");
                reclaimer.handle_refused(peer, &reason);
            }
            Err(silent) => return Err(silent.into()),
        }
        Ok(())
    }

    /// Writes `record` in place of `before`; what is stored then, and whether that is ours.
    async fn write(&self, before: Stored, record: Record) -> Result<(Stored, bool), RoundError> {
        match self.api.replace(&before, record).await {
            Ok(stored) => Ok((stored, true)),
            Err(ApiError::Conflict) => {
                membership::pause().await;
                Ok((self.read().await?, false))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self) -> Result<Stored, RoundError> {
        let found = self.api.record().await?;
        // Deleted meanwhile: the next round creates it.
        found.ok_or(RoundError::Busy)
    }
}

fn holds_locks(record: &Record, peer: &str) -> bool {
    let mut entries = record.entries().iter();
    entries.any(|entry| record.lock(&entry.peer) == Some(peer))
}

/// The pause before a round, by which the peers of a cluster do not all write at once.
pub const SPREAD: Duration = Duration::from_secs(5);
/// Four steps a peer, for more peers than a record can hold.
const MOST_STEPS: usize = 20_000;

//! The thread that owns the state file.
//!
//! Saving blocks on the disk, so it happens on a thread of its own. Requests that wait are written
//! together: one sync serves them all. A request is answered when its state is durable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;
use weave_ipam::Snapshot;

use crate::store::{self, State, StateFile};

/// A handle to the state file.
#[derive(Debug, Clone)]
pub struct Keeper {
    requests: mpsc::SyncSender<Request>,
    syncs: Arc<AtomicU64>,
}

/// A change of the state.
#[derive(Debug)]
enum Change {
    Ipam(Box<Snapshot>),
    Peers(Vec<String>),
}

#[derive(Debug)]
struct Request {
    change: Change,
    reply: oneshot::Sender<Result<(), SaveError>>,
}

/// The state could not be written; the file holds the state before. The text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SaveError(String);

#[cfg(test)]
impl SaveError {
    /// A failure for a test.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Keeper {
    /// Starts the thread, which owns `file` from here on and continues from `state`. It ends when
    /// the last handle is dropped, and unlocks the file.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(file: StateFile, state: State) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::sync_channel(QUEUE);
        let syncs = Arc::new(AtomicU64::new(0));
        let service = Service {
            file,
            state,
            inbox,
            syncs: Arc::clone(&syncs),
        };
        thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || service.run())?;
        Ok(Self { requests, syncs })
    }

    /// How often the file was synced so far.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Saves the state of the allocator of one family.
    ///
    /// # Errors
    /// The state could not be written.
    ///
    /// # Cancel safety
    /// When the future is dropped the state may or may not be written.
    pub async fn save_ipam(&self, snapshot: Snapshot) -> Result<(), SaveError> {
        self.save(Change::Ipam(Box::new(snapshot))).await
    }

    /// Saves the list of given peers.
    ///
    /// # Errors
    /// The state could not be written.
    pub async fn save_peers(&self, peers: Vec<String>) -> Result<(), SaveError> {
        self.save(Change::Peers(peers)).await
    }

    async fn save(&self, change: Change) -> Result<(), SaveError> {
        let stopped = || SaveError("the thread that writes the state has ended".to_owned());
        let (reply, answer) = oneshot::channel();
        // The allocator saves one state at a time and requests for peers are rare, so the queue
        // is never full in practice; full is an error rather than a wait.
        self.requests
            .try_send(Request { change, reply })
            .map_err(|error| match error {
                mpsc::TrySendError::Full(_) => SaveError("too many writes are waiting".to_owned()),
                mpsc::TrySendError::Disconnected(_) => stopped(),
            })?;
        answer.await.map_err(|_| stopped())?
    }
}

struct Service {
    file: StateFile,
    state: State,
    inbox: mpsc::Receiver<Request>,
    syncs: Arc<AtomicU64>,
}

impl Service {
    fn run(mut self) {
        while let Some(first) = self.next() {
            let batch: Vec<Request> = std::iter::once(first)
                .chain(self.inbox.try_iter())
                .collect();
            let mut replies = Vec::with_capacity(batch.len());
            for Request { change, reply } in batch {
                match change {
                    Change::Ipam(snapshot) => self.state.set_snapshot(*snapshot),
                    Change::Peers(peers) => self.state.peers = peers,
                }
                replies.push(reply);
            }
            let result = self.file.save(&self.state);
            let result = result.map_err(|error: store::Error| SaveError(error.to_string()));
            self.count();
            for reply in replies {
                // A caller that has gone away needs no answer.
                let _ = reply.send(result.clone());
            }
        }
    }

    /// The next request; `None` when the last handle is gone. The file is settled meanwhile.
    fn next(&mut self) -> Option<Request> {
        if self.file.is_settled() {
            return self.inbox.recv().ok();
        }
        let next = self.inbox.recv_timeout(QUIET);
        if next.is_err() {
            if let Err(error) = self.file.settle() {
                warn!("{error}");
            }
            self.count();
        }
        match next {
            Ok(request) => Some(request),
            Err(mpsc::RecvTimeoutError::Timeout) => self.inbox.recv().ok(),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
        }
    }

    fn count(&self) {
        self.syncs.store(self.file.syncs(), Ordering::Relaxed);
    }
}

const QUEUE: usize = 64;
/// Pods are started in bursts; a request must not wait for the sync that only tidies up.
const QUIET: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::tests::Scratch;

    fn start(scratch: &Scratch, name: &str) -> (Keeper, Store) {
        let store = Store::new(&scratch.path(name));
        let file = store.open().unwrap();
        let state = State::new("00:00:00:00:00:01");
        (Keeper::start(file, state).unwrap(), store)
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn a_save_is_on_disk_when_it_is_answered() {
        let scratch = Scratch::new();
        let (keeper, store) = start(&scratch, "weave");

        block_on(keeper.save_peers(vec!["a".to_owned()])).unwrap();

        assert_eq!(store.load().unwrap().unwrap().peers, ["a"]);
    }

    #[test]
    fn a_failed_save_is_told_and_the_next_one_tried() {
        let scratch = Scratch::new();
        let (keeper, store) = start(&scratch, "blocked/weave");
        std::fs::write(scratch.path("blocked"), "a file where a directory must be").unwrap();

        let error = block_on(keeper.save_peers(vec!["a".to_owned()])).unwrap_err();
        std::fs::remove_file(scratch.path("blocked")).unwrap();
        let retried = block_on(keeper.save_peers(vec!["b".to_owned()]));

        assert!(error.to_string().contains("cannot create"), "{error}");
        assert_eq!(retried, Ok(()));
        assert_eq!(store.load().unwrap().unwrap().peers, ["b"]);
    }

    #[test]
    fn requests_that_wait_share_a_sync() {
        let scratch = Scratch::new();
        let (keeper, store) = start(&scratch, "weave");
        block_on(keeper.save_peers(Vec::new())).unwrap();
        let before = keeper.syncs();

        let results = block_on(async {
            let mut saves = tokio::task::JoinSet::new();
            for number in 0..32 {
                let keeper = keeper.clone();
                saves.spawn(async move { keeper.save_peers(vec![number.to_string()]).await });
            }
            saves.join_all().await
        });

        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let syncs = keeper.syncs() - before;
        assert!(syncs <= 16, "{syncs} syncs for 32 requests");
        assert_eq!(store.load().unwrap().unwrap().peers, ["31"]);
    }
}

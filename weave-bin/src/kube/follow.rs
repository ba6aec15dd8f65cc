//! Following all objects of one kind for ever: list, watch from there, list again when the server
//! forgot.
//!
//! Invariant: what is told was all true at one time ([`News::All`]), or follows from that by
//! changes in their order. While the API server is away, what was told last stays.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::api::list::{Change, Versioned, WATCH_LIMIT};
use super::api::{Api, ApiError};
use super::backoff::{Backoff, chance};
use super::state::Board;

/// What is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Where the API server has it, such as `/api/v1/pods`.
    pub path: &'static str,
    /// What people call it, such as `list of pods`; names the trouble on the [`Board`].
    pub what: &'static str,
    /// Whether a cluster may lack the kind, as it does before its definition is installed.
    pub may_be_absent: bool,
}

/// What is told of a kind.
#[derive(Debug, Clone, PartialEq)]
pub enum News<T> {
    /// These are all; whatever else was told before is gone.
    All(Vec<T>),
    /// The object is there, or is different.
    Set(T),
    /// The object is gone; this was its last state.
    Gone(T),
}

/// Tells `sender` what there is of `kind`, until nobody listens. A kind that the cluster lacks has
/// no objects; it is looked for again every half minute. Memory is bounded by the channel: while
/// it is full, no further changes are read.
pub async fn follow<T>(api: &Api, board: &Board, kind: Kind, sender: mpsc::Sender<News<T>>)
where
    T: DeserializeOwned + Clone + Versioned,
{
    tokio::select! {
        () = tell(api, board, kind, &sender) => {}
        // A quiet watch has nothing to send by which it would learn that nobody listens.
        () = sender.closed() => {}
    }
}

async fn tell<T>(api: &Api, board: &Board, kind: Kind, sender: &mpsc::Sender<News<T>>)
where
    T: DeserializeOwned + Clone + Versioned,
{
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let ended = match api.list(kind.path).await {
            Ok((all, version)) => {
                if sender.send(News::All(all)).await.is_err() {
                    return;
                }
                watch_from(api, board, kind, sender, version, &mut backoff).await
            }
            Err(ApiError::Missing) if kind.may_be_absent => {
                board.solved(kind.what);
                if sender.send(News::All(Vec::new())).await.is_err() {
                    return;
                }
                sleep(ABSENT_PAUSE).await;
                continue;
            }
            Err(error) => Ended::Failed(error),
        };
        match ended {
            Ended::Unheard => return,
            // A version that is gone is no trouble: it is what lists are for.
            Ended::Failed(ApiError::Gone) => debug!("[kube] {}: listing again", kind.what),
            Ended::Failed(error) => {
                board.problem(kind.what, &error.to_string());
            }
        }
        sleep(backoff.pause(chance())).await;
    }
}

/// Why a watch is not continued.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// Only a new list repairs this.
    Failed(ApiError),
}

async fn watch_from<T>(
    api: &Api,
    board: &Board,
    kind: Kind,
    sender: &mpsc::Sender<News<T>>,
    mut version: String,
    backoff: &mut Backoff,
) -> Ended
where
    T: DeserializeOwned + Clone + Versioned,
{
    loop {
        let events = match api.watch::<T>(kind.path, &version).await {
            Ok(events) => events,
            Err(error) => return Ended::Failed(error),
        };
        // A right to list without one to watch is not enough.
        board.solved(kind.what);
        let mut events = std::pin::pin!(events);
        loop {
            let change = match timeout(SILENCE, events.next()).await {
                // The server ends a watch now and then: go on from the last version.
                Ok(None) => break,
                Ok(Some(Err(error))) => return Ended::Failed(error),
                Ok(Some(Ok((change, at)))) => {
                    version = at;
                    change
                }
                Err(_) => {
                    let reason = "the watch fell silent".to_owned();
                    return Ended::Failed(ApiError::Unreachable(reason));
                }
            };
            // Only a watch that tells something is one that works.
            backoff.reset();
            let news = match change {
                Change::Set(object) => News::Set(object),
                Change::Gone(object) => News::Gone(object),
                Change::Bookmark => continue,
            };
            if sender.send(news).await.is_err() {
                return Ended::Unheard;
            }
        }
        debug!("[kube] {}: watching from {version}", kind.what);
        // An end without any event must not become a busy loop.
        sleep(RESUME_PAUSE).await;
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
const ABSENT_PAUSE: Duration = Duration::from_secs(30);
/// Longer than the server keeps a watch open.
const SILENCE: Duration = WATCH_LIMIT.saturating_add(Duration::from_secs(30));
const RESUME_PAUSE: Duration = Duration::from_millis(200);

//! What runs beside the daemon for the life of the pod.
//!
//! ```text
//!   follow Nodes ─┬─▶ targets of the daemon
//!                 ├─▶ rounds of reclaiming
//!                 └─▶ condition, after the bridge has its address
//! ```
//!
//! Every loop goes on for ever: what fails is told once on the [`Board`] and tried again. The loops
//! do not wait for each other, since the bridge may get its address only from what is reclaimed.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::info;

use super::api::Api;
use super::backoff::{Backoff, chance, share};
use super::daemon::{Daemon, is_local};
use super::nodes::Nodes;
use super::reclaim::Reclaimer;
use super::record::Me;
use super::round::{Round, SPREAD};
use super::state::Board;
use super::watch::{Known, follow};
use crate::logging::timestamp;

/// What the cluster side is told at its start.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The API server; none for a peer that is given everything by hand.
    pub api: Option<Api>,
    /// Who we are.
    pub me: Me,
    /// Our daemon.
    pub daemon: Daemon,
    /// Where it is told how things go.
    pub board: Board,
    /// Targets that were given and stay beside the Nodes'.
    pub extra: Vec<String>,
    /// Whether the targets follow the Nodes.
    pub follows: bool,
    /// Whether the list was asked if what this host remembers still holds.
    pub is_confirmed: bool,
    /// The bridge's address; allocated when none is given.
    pub expose: Option<IpNet>,
}

/// Why the cluster side ends, and the daemon with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The daemon was started from memory, and the list says that this peer was removed.
    Removed,
}

/// Runs until it is dropped, or cannot go on.
pub async fn run(setup: Setup) -> Ended {
    until_it_answers(&setup).await;
    let Some(api) = &setup.api else {
        expose(&setup).await;
        return std::future::pending().await;
    };
    let (sender, known) = watch::channel(None);
    let for_ever = async {
        tokio::join!(
            follow(api, &setup.board, &sender),
            targets(&setup, known.clone()),
            async {
                expose(&setup).await;
                condition(&setup, api, known.clone()).await;
            },
        );
    };
    tokio::select! {
        () = for_ever => std::future::pending().await,
        ended = async {
            if !setup.is_confirmed && is_removed(&setup, api).await {
                return Ended::Removed;
            }
            reclaim(&setup, api, known.clone()).await;
            std::future::pending().await
        } => ended,
    }
}

/// Whether the list lacks us; asked until there is an answer.
async fn is_removed(setup: &Setup, api: &Api) -> bool {
    let mut backoff = backoff();
    loop {
        let found = api.record().await;
        setup.board.note("peer list", &found);
        match found {
            Ok(Some(stored)) => return stored.record.entry(&setup.me.peer).is_none(),
            // A list that was deleted says nothing of anybody.
            Ok(None) => return false,
            Err(_) => sleep(backoff.pause(chance())).await,
        }
    }
}

/// Targets and reclaiming alone, as Weave Net's helper does; until it is dropped.
pub async fn follow_only(setup: Setup) {
    let Some(api) = &setup.api else { return };
    let (sender, known) = watch::channel(None);
    tokio::join!(
        follow(api, &setup.board, &sender),
        targets(&setup, known.clone()),
        reclaim(&setup, api, known),
    );
}

async fn until_it_answers(setup: &Setup) {
    while !setup.daemon.answers().await {
        sleep(ANSWER_PAUSE).await;
    }
}

/// Keeps the daemon's targets equal to the Nodes' addresses.
async fn targets(setup: &Setup, mut known: watch::Receiver<Known>) {
    if !setup.follows {
        return;
    }
    let mut backoff = backoff();
    let mut told: Option<Vec<IpAddr>> = None;
    loop {
        let Some(nodes) = known.borrow_and_update().clone() else {
            if known.changed().await.is_err() {
                return;
            }
            continue;
        };
        let wanted = nodes.targets(&setup.me.node, is_local);
        if told.as_ref() == Some(&wanted) {
            if known.changed().await.is_err() {
                return;
            }
            continue;
        }
        let mut words: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        words.extend(setup.extra.iter().cloned());
        let outcome = setup.daemon.connect(&words).await;
        setup.board.note("targets", &outcome);
        if outcome.is_ok() {
            backoff.reset();
            told = Some(wanted);
        } else {
            sleep(backoff.pause(chance())).await;
        }
    }
}

/// Removes peers whose Nodes are gone.
async fn reclaim(setup: &Setup, api: &Api, mut known: watch::Receiver<Known>) {
    let mut reclaimer = Reclaimer::new(setup.me.clone());
    let mut backoff = backoff();
    let round = Round {
        api,
        daemon: &setup.daemon,
        board: &setup.board,
        start: Instant::now(),
    };
    loop {
        let Some(nodes) = known.borrow_and_update().clone() else {
            if known.changed().await.is_err() {
                return;
            }
            continue;
        };
        let outcome = round.run(&mut reclaimer, (*nodes).clone()).await;
        setup.board.note("peer list", &outcome);
        let pause = match &outcome {
            Ok(left) => {
                let lines: Vec<String> = left.iter().map(ToString::to_string).collect();
                setup
                    .board
                    .update(|cluster| cluster.lost.clone_from(&lines));
                if left.is_empty() {
                    backoff.reset();
                    IDLE
                } else {
                    backoff.pause(chance())
                }
            }
            Err(_) => backoff.pause(chance()),
        };
        // Whatever comes first: something was lost, or it is time to look again.
        let _ = timeout(pause, until_different(&mut known, &nodes)).await;
        sleep(share(SPREAD, chance())).await;
    }
}

/// Waits until the Nodes differ from `before` in who is there.
async fn until_different(known: &mut watch::Receiver<Known>, before: &Nodes) {
    let identities = |nodes: &Nodes| -> Vec<(String, String)> {
        let pairs = nodes
            .iter()
            .map(|node| (node.name.clone(), node.uid.clone()));
        pairs.collect()
    };
    let before = identities(before);
    let is_different = |known: &Known| {
        known
            .as_deref()
            .is_some_and(|nodes| identities(nodes) != before)
    };
    if known.wait_for(is_different).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Gives the bridge its address.
async fn expose(setup: &Setup) {
    let mut backoff = backoff();
    loop {
        let outcome = setup.daemon.expose(setup.expose).await;
        setup.board.note("bridge address", &outcome);
        match outcome {
            Ok(addresses) => {
                let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let text = words.join(" ");
                info!("[kube] bridge address {text}");
                return setup.board.update(|cluster| cluster.exposed = Some(text));
            }
            Err(_) => sleep(backoff.pause(chance())).await,
        }
    }
}

/// Says that the Node's network is available, and again whenever it is said otherwise.
async fn condition(setup: &Setup, api: &Api, mut known: watch::Receiver<Known>) {
    let mut backoff = backoff();
    loop {
        let node = |known: &Known| {
            let nodes = known.as_deref()?;
            Some(nodes.find(&setup.me.node)?.available.is_some())
        };
        let is_available = node(&known.borrow_and_update());
        setup
            .board
            .update(|cluster| cluster.available |= is_available == Some(true));
        match is_available {
            Some(false) => {
                let outcome = api.set_available(&setup.me.node, &now()).await;
                setup.board.note("node condition", &outcome);
                setup
                    .board
                    .update(|cluster| cluster.available = outcome.is_ok());
                // Also after success: whoever sets it back is not to be fought every moment.
                sleep(backoff.pause(chance())).await;
            }
            Some(true) | None => {
                if known.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// This moment in RFC 3339, in whole seconds.
pub fn now() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let text: String = timestamp(now).chars().take(19).collect();
    text.replace('/', "-").replace(' ', "T") + "Z"
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(30))
}

const ANSWER_PAUSE: Duration = Duration::from_millis(200);
/// Between looks at the list while nothing is lost.
const IDLE: Duration = Duration::from_secs(300);

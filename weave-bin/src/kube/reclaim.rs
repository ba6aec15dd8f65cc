//! Taking over the addresses of peers whose Nodes are gone: what to do next.
//!
//! Pure: [`Reclaimer::next`] looks at the shared record, the Nodes and the mesh, and names one
//! step; the caller takes it, tells how it went, and asks again. For each peer the steps are
//!
//! ```text
//!   Lock ─▶ TakeOver ─▶ (pause) ─▶ TakeOver that finds nothing more ─▶ Remove
//! ```
//!
//! Laws, each with a property in `tests/prop_reclaim.rs`:
//!
//! - **One heir.** A lock is a write that fails when the record has changed, so of the peers on
//!   the list at most one takes over what a lost peer had, also beside Weave Net's pods.
//! - **No living heir-giver.** A peer that the mesh sees is never taken over, whatever the API says
//!   of its Node; holding its lock keeps pods of Weave Net, which do not look, from doing so.
//! - **Nothing is lost.** A peer leaves the list only after a takeover has found nothing more, a
//!   while after the first: by then the ring of the others has arrived here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::nodes::Nodes;
use super::record::{Entry, Me, Record};

/// What the mesh and the ring look like from here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Names of the peers that the mesh sees, ourselves included.
    pub connected: BTreeSet<String>,
    /// Whether we know the ring.
    pub has_ring: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Step {
    /// Write this record if nobody has written since.
    Lock {
        /// Whose lock it takes.
        peer: String,
        /// The record to write.
        record: Record,
    },
    /// Write this record if nobody has written since: the peer is no longer to be removed.
    Unlock {
        /// Whose lock it releases.
        peer: String,
        /// The record to write.
        record: Record,
    },
    /// Ask the API for the Node as it is now; if that peer is lost still, tell our daemon to take
    /// over what it has, else ask for another step.
    TakeOver {
        /// Whose addresses they are.
        peer: String,
        /// The name of its Node.
        node: String,
    },
    /// Write this record if nobody has written since: the peer is gone.
    Remove {
        /// Who is removed.
        peer: String,
        /// The record to write.
        record: Record,
    },
    /// Look again at this time.
    Wait(Duration),
    /// Nothing can be done until something changes. What is left, and why.
    Rest(Vec<Left>),
}

/// A lost peer that is not being removed by us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The peer.
    pub peer: String,
    /// Why.
    pub why: Why,
}

/// Why a lost peer is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The mesh sees it: it is alive, whatever the API says.
    Connected,
    /// This peer removes it.
    LockedBy(String),
    /// We do not know the ring, so nothing could be taken over.
    NoRing,
    /// We see no other peer, so we cannot tell whether anybody sees this one.
    Alone,
    /// Our daemon refused, in its words.
    Refused(String),
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let peer = &self.peer;
        match &self.why {
            Why::Connected => write!(f, "{peer} is connected"),
            Why::LockedBy(holder) => write!(f, "{peer} is being removed by {holder}"),
            Why::NoRing => write!(f, "{peer} waits for the ring"),
            Why::Alone => write!(f, "{peer} waits for a connection to another peer"),
            Why::Refused(reason) => write!(f, "{peer}: {reason}"),
        }
    }
}

/// Decides which lost peers this one removes.
#[derive(Debug, Clone)]
pub struct Reclaimer {
    me: Me,
    progress: BTreeMap<String, Progress>,
}

#[derive(Debug, Clone)]
enum Progress {
    /// Taken over first at this time; whether the last takeover found nothing.
    Taken {
        since: Duration,
        is_empty: bool,
    },
    Refused(String),
}

impl Reclaimer {
    /// For the peer `me`.
    pub fn new(me: Me) -> Self {
        Self {
            me,
            progress: BTreeMap::new(),
        }
    }

    /// Who we are.
    pub fn me(&self) -> &Me {
        &self.me
    }

    /// Our Node has this UID.
    pub fn set_uid(&mut self, uid: &str) {
        self.me.uid = Some(uid.to_owned());
    }

    /// Begins a round: what was refused may be tried again.
    pub fn begin(&mut self) {
        self.progress
            .retain(|_, progress| matches!(progress, Progress::Taken { .. }));
    }

    /// The next step at time `now`. `record` is what the API holds, read or written just before.
    pub fn next(&mut self, now: Duration, record: &Record, nodes: &Nodes, view: &View) -> Step {
        self.forget_strange(record);
        // Whoever is not on the list has no right to a lock.
        if record.entry(&self.me.peer).is_none() {
            return Step::Rest(Vec::new());
        }
        let lost: Vec<&Entry> = self.lost(record, nodes).collect();
        if let Some(peer) = self.needless_lock(record, &lost) {
            let mut record = record.clone();
            record.release_lock(&peer);
            return Step::Unlock { peer, record };
        }
        let mut left = Vec::new();
        let mut wait: Option<Duration> = None;
        for entry in &lost {
            let is_alone = || self.is_alone(record, nodes, view, &lost);
            match self.consider(now, entry, record, view, is_alone) {
                Considered::Step(step) => return *step,
                Considered::Later(at) => wait = Some(wait.map_or(at, |first| first.min(at))),
                Considered::Left(why) => left.push(Left {
                    peer: entry.peer.clone(),
                    why,
                }),
            }
        }
        wait.map_or(Step::Rest(left), Step::Wait)
    }

    /// The peers to be removed, whoever does it.
    pub fn lost<'a>(
        &'a self,
        record: &'a Record,
        nodes: &'a Nodes,
    ) -> impl Iterator<Item = &'a Entry> {
        let is_lost = |entry: &&Entry| {
            if entry.peer == self.me.peer {
                return false;
            }
            // This machine was installed anew: nobody else can have our Node's name.
            if entry.node == self.me.node {
                return true;
            }
            match (nodes.find(&entry.node), record.uid(&entry.peer)) {
                (None, _) => true,
                // The Node was deleted and another one created under its name.
                (Some(node), Some(uid)) => node.uid != uid,
                (Some(_), None) => false,
            }
        };
        record.entries().iter().filter(is_lost)
    }

    /// The lock of `peer` was taken just now.
    pub fn handle_locked(&mut self, peer: &str) {
        self.progress.remove(peer);
    }

    /// Our daemon took `count` addresses over from `peer`.
    pub fn handle_taken(&mut self, now: Duration, peer: &str, count: u128) {
        let since = match self.progress.get(peer) {
            Some(Progress::Taken { since, .. }) => *since,
            _ => now,
        };
        let is_empty = count == 0;
        let taken = Progress::Taken { since, is_empty };
        self.progress.insert(peer.to_owned(), taken);
    }

    /// Our daemon refused to take over from `peer`.
    pub fn handle_refused(&mut self, peer: &str, reason: &str) {
        let refused = Progress::Refused(reason.to_owned());
        self.progress.insert(peer.to_owned(), refused);
    }

    /// Progress counts only while we hold the lock: the peer may have come back meanwhile.
    fn forget_strange(&mut self, record: &Record) {
        let me = self.me.peer.as_str();
        self.progress
            .retain(|peer, _| record.entry(peer).is_some() && record.lock(peer) == Some(me));
    }

    /// A listed peer whose lock we hold although it is not lost.
    fn needless_lock(&self, record: &Record, lost: &[&Entry]) -> Option<String> {
        let is_needless = |entry: &&Entry| {
            record.lock(&entry.peer) == Some(self.me.peer.as_str())
                && !lost.iter().any(|lost| lost.peer == entry.peer)
        };
        let entry = record.entries().iter().find(is_needless)?;
        Some(entry.peer.clone())
    }

    fn consider(
        &self,
        now: Duration,
        entry: &Entry,
        record: &Record,
        view: &View,
        is_alone: impl Fn() -> bool,
    ) -> Considered {
        let peer = &entry.peer;
        let lock = record.lock(peer);
        let is_ours = lock == Some(self.me.peer.as_str());
        if let Some(holder) = lock.filter(|holder| !is_ours && record.entry(holder).is_some()) {
            return Considered::Left(Why::LockedBy(holder.to_owned()));
        }
        if view.connected.contains(peer) {
            return Considered::Left(Why::Connected);
        }
        if !view.has_ring {
            return Considered::Left(Why::NoRing);
        }
        if is_alone() {
            return Considered::Left(Why::Alone);
        }
        if !is_ours {
            let mut record = record.clone();
            record.set_lock(peer, &self.me.peer);
            return Considered::step(Step::Lock {
                peer: peer.clone(),
                record,
            });
        }
        match self.progress.get(peer) {
            None => Considered::step(take_over(entry)),
            Some(Progress::Refused(reason)) => Considered::Left(Why::Refused(reason.clone())),
            Some(Progress::Taken { since, .. }) if now < *since + SETTLE => {
                Considered::Later(*since + SETTLE)
            }
            Some(Progress::Taken {
                is_empty: false, ..
            }) => Considered::step(take_over(entry)),
            Some(Progress::Taken { is_empty: true, .. }) => {
                let mut record = record.clone();
                record.remove(peer);
                let peer = peer.clone();
                Considered::step(Step::Remove { peer, record })
            }
        }
    }

    /// Whether there are other peers with Nodes and we see none of them.
    fn is_alone(&self, record: &Record, nodes: &Nodes, view: &View, lost: &[&Entry]) -> bool {
        let others = || {
            let is_other = |entry: &&Entry| {
                entry.peer != self.me.peer
                    && nodes.find(&entry.node).is_some()
                    && !lost.iter().any(|lost| lost.peer == entry.peer)
            };
            record.entries().iter().filter(is_other)
        };
        others().next().is_some() && !others().any(|entry| view.connected.contains(&entry.peer))
    }
}

fn take_over(entry: &Entry) -> Step {
    Step::TakeOver {
        peer: entry.peer.clone(),
        node: entry.node.clone(),
    }
}

enum Considered {
    Step(Box<Step>),
    Later(Duration),
    Left(Why),
}

impl Considered {
    fn step(step: Step) -> Self {
        Self::Step(Box::new(step))
    }
}

/// How long after the first takeover the last one must find nothing. Gossip crosses a cluster in
/// less.
pub const SETTLE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;

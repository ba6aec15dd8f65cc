//! Ranges that are ours but that another peer, too, believes to own.
//!
//! Nothing is handed out or given away there. What a peer contests is replaced with each of its
//! rings, and forgotten when its space is taken over (`ALGORITHM.md`, C6). That a peer cannot be
//! heard is no reason to forget it: it may use, behind a partition, what it contests.

use std::collections::{BTreeMap, BTreeSet};

use crate::peer::PeerId;
use crate::ring::{Conflict, HAND_OVER, Merged, Ring};
use crate::span::{Span, coalesce, difference};

/// Peers whose objections are remembered; what others say beyond that is only reported.
const MAX_REPORTERS: usize = 1024;

/// Conflicts remembered of one peer.
const MAX_CONFLICTS: usize = 256;

#[derive(Clone, Debug, Default)]
pub(super) struct Contests {
    reports: BTreeMap<PeerId, Report>,
    /// All contested spans, ascending and joined.
    spans: Vec<Span>,
}

#[derive(Clone, Debug, Default)]
struct Report {
    /// Our addresses that the reporter counts as its own.
    overlap: Vec<Span>,
    /// Where entries of the report contradict ours, by whose they are.
    contradicted: BTreeMap<PeerId, Vec<Span>>,
    conflicts: Vec<Conflict>,
    /// The reporter was taken over since it said this. It is void as soon as it is not there to
    /// say it again.
    is_overruled: bool,
}

impl Report {
    fn new(merged: &Merged) -> Self {
        let mut contradicted: BTreeMap<PeerId, Vec<Span>> = BTreeMap::new();
        for conflict in &merged.conflicts {
            let spans = contradicted.entry(conflict.rival).or_default();
            spans.push(conflict.span);
        }
        for spans in contradicted.values_mut() {
            spans.sort_unstable();
            *spans = coalesce(std::mem::take(spans));
        }
        Self {
            overlap: coalesce(merged.contested.iter().copied()),
            contradicted,
            conflicts: merged
                .conflicts
                .iter()
                .take(MAX_CONFLICTS)
                .cloned()
                .collect(),
            is_overruled: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.overlap.is_empty() && self.contradicted.is_empty()
    }

    fn spans(&self) -> Vec<Span> {
        let contradicted = self.contradicted.values().flatten();
        let mut spans: Vec<Span> = self.overlap.iter().chain(contradicted).copied().collect();
        spans.sort_unstable();
        coalesce(spans)
    }
}

impl Contests {
    /// What `reporter` says in its latest ring. Returns the conflicts it had not reported before,
    /// and whether any span ceased to be contested.
    pub(super) fn update(&mut self, reporter: PeerId, merged: &Merged) -> (Vec<Conflict>, bool) {
        let known = self.reports.remove(&reporter).unwrap_or_default();
        if known.is_empty() && merged.contested.is_empty() && merged.conflicts.is_empty() {
            return (Vec::new(), false);
        }
        let report = Report::new(merged);
        let is_new = |conflict: &&Conflict| !known.conflicts.contains(conflict);
        let news = report.conflicts.iter().filter(is_new).cloned().collect();
        if !report.is_empty() && self.reports.len() < MAX_REPORTERS {
            self.reports.insert(reporter, report);
        }
        (news, self.rebuild())
    }

    /// The peer no longer owns anything. What others say of it is void, what they say of
    /// themselves is not. Whether any span ceased to be contested.
    pub(super) fn forget(&mut self, peer: PeerId) -> bool {
        if self.reports.is_empty() {
            return false;
        }
        self.reports.remove(&peer);
        for report in self.reports.values_mut() {
            report.conflicts.retain(|conflict| conflict.rival != peer);
            // What the reporter counts as its own stays contested.
            report.contradicted.remove(&peer);
        }
        self.rebuild()
    }

    /// The ring has changed by what `speaker` said. Notes which other reporters were taken over:
    /// they own nothing any more, and an entry of theirs went to another with the jump of a
    /// hand-over.
    pub(super) fn overrule(&mut self, speaker: PeerId, before: &Ring, after: &Ring) {
        let owners = after.peers();
        for (reporter, report) in &mut self.reports {
            let is_bare = *reporter != speaker && !owners.contains(reporter);
            report.is_overruled |= is_bare && was_handed_over(*reporter, before, after);
        }
    }

    /// Forgets those that were taken over and are not in the network. Whether any span ceased to be
    /// contested.
    pub(super) fn drop_overruled(&mut self, reachable: &BTreeSet<PeerId>) -> bool {
        let is_void =
            |(peer, report): &(&PeerId, &Report)| report.is_overruled && !reachable.contains(*peer);
        let void: Vec<PeerId> = { &self.reports }
            .iter()
            .filter(is_void)
            .map(|(peer, _)| *peer)
            .collect();
        void.into_iter()
            .fold(false, |any, peer| self.forget(peer) | any)
    }

    /// Whether nothing is contested.
    pub(super) const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// `span` without what is contested.
    pub(super) fn undisputed(&self, span: Span) -> Vec<Span> {
        if self.spans.is_empty() {
            vec![span]
        } else {
            difference(&[span], &self.spans)
        }
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = (PeerId, Span)> {
        let reports = self.reports.iter();
        reports.flat_map(|(peer, report)| report.spans().into_iter().map(|span| (*peer, span)))
    }

    /// What contradicts ours, and by whose ring.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = (PeerId, &Conflict)> {
        let reports = self.reports.iter();
        reports.flat_map(|(peer, report)| report.conflicts.iter().map(|one| (*peer, one)))
    }

    fn rebuild(&mut self) -> bool {
        let mut spans: Vec<Span> = self.reports.values().flat_map(Report::spans).collect();
        spans.sort_unstable();
        let before = std::mem::replace(&mut self.spans, coalesce(spans));
        !difference(&before, &self.spans).is_empty()
    }
}

/// Whether some entry of a peer is another's now, with the jump in version of a hand-over.
fn was_handed_over(peer: PeerId, before: &Ring, after: &Ring) -> bool {
    let mut own = before.entries().iter().filter(|entry| entry.peer == peer);
    own.any(|old| {
        let new = after.entry(old.token);
        new.is_some_and(|new| {
            new.peer != peer && new.version >= old.version.saturating_add(HAND_OVER)
        })
    })
}

//! Ranges that are ours but that another peer, too, believes to own.
//!
//! Nothing is handed out or given away there. What a peer contests is replaced with each of its
//! rings, and forgotten when its space is taken over.

use std::collections::BTreeMap;

use crate::peer::PeerId;
use crate::ring::{Conflict, Merged};
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
    spans: Vec<Span>,
    conflicts: Vec<Conflict>,
}

impl Contests {
    /// What `reporter` says in its latest ring. Returns the conflicts it had not reported before,
    /// and whether any span ceased to be contested.
    pub(super) fn update(&mut self, reporter: PeerId, merged: &Merged) -> (Vec<Conflict>, bool) {
        let known = self.reports.remove(&reporter).unwrap_or_default();
        let mut spans = merged.contested.clone();
        spans.extend(merged.conflicts.iter().map(|conflict| conflict.span));
        let mut conflicts = merged.conflicts.clone();
        conflicts.truncate(MAX_CONFLICTS);
        let is_new = |conflict: &&Conflict| !known.conflicts.contains(conflict);
        let news = conflicts.iter().filter(is_new).cloned().collect();
        if !spans.is_empty() && self.reports.len() < MAX_REPORTERS {
            spans.sort_unstable();
            self.reports.insert(
                reporter,
                Report {
                    spans: coalesce(spans),
                    conflicts,
                },
            );
        }
        (news, self.rebuild())
    }

    /// The peer no longer owns anything.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.reports.remove(&peer);
        for report in self.reports.values_mut() {
            let gone: Vec<Span> = report
                .conflicts
                .extract_if(.., |conflict| conflict.rival == peer)
                .map(|conflict| conflict.span)
                .collect();
            report.spans = difference(&report.spans, &coalesce(gone));
        }
        self.rebuild();
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
        reports.flat_map(|(peer, report)| report.spans.iter().map(|span| (*peer, *span)))
    }

    /// What contradicts ours, and by whose ring.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = (PeerId, &Conflict)> {
        let reports = self.reports.iter();
        reports.flat_map(|(peer, report)| report.conflicts.iter().map(|one| (*peer, one)))
    }

    fn rebuild(&mut self) -> bool {
        let mut spans: Vec<Span> = self
            .reports
            .values()
            .flat_map(|report| report.spans.iter().copied())
            .collect();
        spans.sort_unstable();
        let before = std::mem::replace(&mut self.spans, coalesce(spans));
        !difference(&before, &self.spans).is_empty()
    }
}

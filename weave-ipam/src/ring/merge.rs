//! Merging exactly as Weave Net does: all or nothing.
//!
//! A message with one entry that contradicts ours is refused whole. The allocator uses
//! [`Ring::merge_confined`] instead; this one serves to predict what an old peer will do, and
//! differs from it in one point: a refused message leaves no trace.

use super::check::Violation;
use super::{Entry, Ring};
use crate::peer::PeerId;
use crate::span::{AddressRange, Family, Span};

impl Ring {
    /// Takes what is newer in `theirs`. `in_use` tells whether any of our addresses in a span is
    /// not free. Whether anything changed.
    ///
    /// Like Weave Net, raising a version of ours past one that a peer reports for it does not
    /// count as a change.
    ///
    /// # Errors
    ///
    /// [`MergeError`]; the ring is unchanged then.
    pub fn merge(
        &mut self,
        theirs: &Self,
        in_use: impl Fn(Span) -> bool,
    ) -> Result<bool, MergeError> {
        self.admit(theirs)?;
        let mut walk = Walk {
            ring: self,
            in_use: &in_use,
            kept: Vec::new(),
            last: None,
            updated: false,
        };
        walk.run(theirs)?;
        let (entries, updated) = (walk.kept, walk.updated);
        let mut result = Self::from_parts(self.universe(), self.peer, entries, self.seeds.clone());
        result.clip_own();
        result.check().map_err(MergeError::Result)?;
        if result.seeds.is_empty() {
            result.seeds.clone_from(&theirs.seeds);
        }
        *self = result;
        Ok(updated)
    }

    /// Whether `theirs` can be merged at all: sound in itself, same seeds, same universe.
    pub(super) fn admit(&self, theirs: &Self) -> Result<(), MergeError> {
        theirs.check().map_err(MergeError::Unsound)?;
        let both_seeded = !self.seeds.is_empty() && !theirs.seeds.is_empty();
        if both_seeded && self.seeds != theirs.seeds {
            let (ours, theirs) = (self.seeds.clone(), theirs.seeds.clone());
            return Err(MergeError::Seeds { ours, theirs });
        }
        if self.universe() != theirs.universe() {
            return Err(MergeError::Universe {
                ours: self.universe(),
                theirs: theirs.universe(),
            });
        }
        Ok(())
    }

    fn clip_own(&mut self) {
        let entries = self.entries.clone();
        self.clip();
        for (clipped, original) in self.entries.iter_mut().zip(entries) {
            if original.peer != self.peer {
                *clipped = original;
            }
        }
    }
}

/// The walk along both sorted lists. `last` is the owner of the last entry of ours that was kept,
/// `None` after one was taken from theirs.
struct Walk<'a, F> {
    ring: &'a Ring,
    in_use: &'a F,
    kept: Vec<Entry>,
    last: Option<PeerId>,
    updated: bool,
}

impl<F: Fn(Span) -> bool> Walk<'_, F> {
    fn run(&mut self, theirs: &Ring) -> Result<(), MergeError> {
        let mut news = theirs.entries.iter().peekable();
        for (index, mine) in self.ring.entries.iter().enumerate() {
            while let Some(news) = news.next_if(|news| news.token < mine.token) {
                let span = Span::between(news.token, mine.token);
                self.insert(index, news, span, (self.in_use)(span))?;
            }
            match news.next_if(|news| news.token == mine.token) {
                Some(news) => self.meet(index, mine, news)?,
                None => self.keep(mine),
            }
        }
        for news in news {
            let span = Span::between(news.token, self.ring.span.end());
            self.insert(self.ring.entries.len(), news, span, true)?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        index: usize,
        news: &Entry,
        span: Span,
        used: bool,
    ) -> Result<(), MergeError> {
        if self.last == Some(self.ring.peer) && news.peer != self.ring.peer && used {
            let mine = index.checked_sub(1).map(|index| &self.ring.entries[index]);
            let version = mine.map_or(0, |mine| mine.version);
            return Err(self.conflict(ConflictKind::Inserted, news, version, span));
        }
        self.take(news);
        Ok(())
    }

    fn meet(&mut self, index: usize, mine: &Entry, news: &Entry) -> Result<(), MergeError> {
        let us = self.ring.peer;
        let is_lost = mine.peer == us && news.peer != us;
        if mine.version > news.version || (mine.version, mine.peer) == (news.version, news.peer) {
            self.keep(mine);
        } else if mine.version == news.version {
            if is_lost && self.uses(index) {
                let span = self.ring.spans_at(index).1;
                return Err(self.conflict(ConflictKind::SameVersion, news, mine.version, span));
            }
            if mine.free >= news.free {
                self.keep(mine);
            } else {
                self.take(news);
            }
        } else if mine.peer == us && news.peer == us {
            self.kept.push(Entry {
                version: news.version.wrapping_add(1),
                ..*mine
            });
        } else if is_lost && self.uses(index) {
            let span = self.ring.spans_at(index).1;
            return Err(self.conflict(ConflictKind::Newer, news, mine.version, span));
        } else {
            self.take(news);
        }
        Ok(())
    }

    fn uses(&self, index: usize) -> bool {
        let (head, tail) = self.ring.spans_at(index);
        head.is_some_and(|head| (self.in_use)(head)) || (self.in_use)(tail)
    }

    fn keep(&mut self, mine: &Entry) {
        self.kept.push(*mine);
        self.last = Some(mine.peer);
    }

    fn take(&mut self, news: &Entry) {
        self.kept.push(*news);
        self.last = None;
        self.updated = true;
    }

    fn conflict(&self, kind: ConflictKind, news: &Entry, version: u32, span: Span) -> MergeError {
        MergeError::Conflict(Conflict::new(self.ring, kind, news, version, span))
    }
}

/// One entry on which two peers cannot both be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Conflict {
    /// In what way.
    pub kind: ConflictKind,
    /// What the numbers are.
    pub family: Family,
    /// The token of the entry.
    pub token: u128,
    /// The addresses in question.
    pub span: Span,
    /// Who owns them by our ring: we.
    pub owner: PeerId,
    /// The version of our entry.
    pub version: u32,
    /// Who owns them by the message.
    pub rival: PeerId,
    /// The version in the message.
    pub rival_version: u32,
}

impl Conflict {
    pub(super) fn new(
        ring: &Ring,
        kind: ConflictKind,
        news: &Entry,
        version: u32,
        span: Span,
    ) -> Self {
        Self {
            kind,
            family: ring.family,
            token: news.token,
            span,
            owner: ring.peer,
            version,
            rival: news.peer,
            rival_version: news.version,
        }
    }

    fn text(&self) -> String {
        let Self {
            owner,
            version,
            rival,
            rival_version,
            ..
        } = self;
        let token = self.family.address(self.token);
        match self.kind {
            ConflictKind::Inserted => {
                format!("Peer {rival} says it owns the IP range from {token}, which I think I own")
            }
            ConflictKind::SameVersion => format!(
                "Inconsistent entries for {token}: owned by {owner} but incoming message says {rival}"
            ),
            ConflictKind::Newer => format!(
                "Received update for IP range I own at {token} v{version}: \
                 incoming message says owner {rival} v{rival_version}"
            ),
        }
    }
}

/// How an entry of a message contradicts ours. In each case we have addresses in use there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ConflictKind {
    /// A token of another peer inside our range.
    Inserted,
    /// Our token with our version, but another owner.
    SameVersion,
    /// Our token with a higher version and another owner.
    Newer,
}

/// Why a ring was not merged. Our ring is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The message breaks the invariants.
    #[error(transparent)]
    Unsound(Violation),
    /// The ring was formed among other peers: the two never were one network.
    #[error("Received ring was seeded differently from ours")]
    Seeds {
        /// Our seeds.
        ours: Vec<PeerId>,
        /// Theirs.
        theirs: Vec<PeerId>,
    },
    /// The sender is configured with another universe.
    #[error("Received range differs from ours")]
    Universe {
        /// Ours.
        ours: AddressRange,
        /// Theirs.
        theirs: AddressRange,
    },
    /// The result would break the invariants. Only [`Ring::merge`] fails in this way.
    #[error("Merge of incoming data causes: {0}")]
    Result(Violation),
    /// An entry contradicts ours. Only [`Ring::merge`] fails in this way.
    #[error(transparent)]
    Conflict(Conflict),
    /// The result would have too many entries.
    #[error("a merge would give the ring {0} entries, more than it may have")]
    TooLarge(usize),
}

//! What must hold, looked at after every step.
//!
//! The laws are named in `ALGORITHM.md`, section "simulation". The strong ones hold until the first
//! fault of identity; after it, the weaker ones. Invariant of this module: it only looks.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use super::bits::{Bits, offset};
use super::fault::Fault;
use super::world::World;
use crate::address::host_range;
use crate::allocator::Event;
use crate::message::{Message, State};
use crate::peer::PeerId;
use crate::ring::{Entry, HAND_OVER};
use crate::span::{Span, coalesce, number};

/// A law of `ALGORITHM.md`, section "simulation".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Law {
    /// An address has one holder.
    OneHolder,
    /// Peers never own one address twice.
    OneOwner,
    /// A token and a version have one owner, for ever and everywhere.
    OneOwnerOfVersion,
    /// An address handed out lies in the subnet and belongs to the giver.
    GivenFromOwn,
    /// The space owns what the ring says, and the ring is sound.
    SpaceIsRing,
    /// What is in use here stays ours.
    UsedIsKept,
    /// Tokens stay and versions do not fall while a process runs.
    VersionsRise,
    /// Whatever changes the ring moves the revision, so that it is written.
    ChangesAreWritten,
    /// Where only owners edit, nothing is refused, contested or lost.
    NoQuarrel,
    /// An address with two holders is visible in the status of one of the two.
    DoublesAreReported,
    /// Rings become equal.
    RingsAgree,
    /// Every address can be given out again.
    NothingIsLost,
    /// A request is met while a reachable peer has an address to give.
    RequestsAreMet,
    /// There is a ring.
    RingIsFormed,
    /// What was written can be read after a restart.
    RestartsFromDisk,
    /// A damaged snapshot is refused.
    DamageRefused,
    /// A timer that was handled is not due again at once.
    TimersAdvance,
    /// A message reads back as it was.
    MessagesReadBack,
    /// No input makes an allocator panic.
    NoPanic,
}

/// A law was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub law: Law,
    /// When.
    pub at: Duration,
    /// How.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} at {:.3} s: {}",
            self.law,
            self.at.as_secs_f64(),
            self.text
        )
    }
}

/// What the laws remember.
#[derive(Debug)]
pub(super) struct Laws {
    universe: Span,
    /// No fault of identity has happened.
    pub(super) is_strong: bool,
    pub(super) violations: Vec<Violation>,
    /// Who holds each address: host and ident.
    pub(super) holders: Vec<Vec<(usize, String)>>,
    /// The owner of each version of each token.
    owners: Vec<Vec<(u32, PeerId)>>,
    /// Addresses that came to have two holders after a fault of identity.
    pub(super) doubles: u64,
}

impl Laws {
    pub(super) fn new(universe: Span) -> Self {
        let size = usize::try_from(universe.size()).unwrap_or(0);
        Self {
            universe,
            is_strong: true,
            violations: Vec::new(),
            holders: vec![Vec::new(); size],
            owners: vec![Vec::new(); size],
            doubles: 0,
        }
    }

    pub(super) fn offset(&self, address: IpNet) -> Option<usize> {
        let at = number(address.addr());
        self.universe
            .contains(at)
            .then(|| offset(self.universe, at))
    }

    pub(super) fn forget_holder(&mut self, host: usize, ident: &str, address: IpNet) {
        if let Some(at) = self.offset(address) {
            self.holders[at].retain(|(other, name)| *other != host || name != ident);
        }
    }

    /// Forgets who owned which version: what only the dead knew does not count any more.
    pub(super) fn forget_owners(&mut self) {
        for known in &mut self.owners {
            known.clear();
        }
    }

    /// Notes the owner of a version; who had it before, if that is another.
    fn note_owner(&mut self, entry: &Entry) -> Option<PeerId> {
        let known = self.owners.get_mut(offset(self.universe, entry.token))?;
        let found = known
            .iter()
            .rev()
            .find(|(version, _)| *version == entry.version);
        match found {
            Some((_, owner)) => Some(*owner).filter(|owner| *owner != entry.peer),
            None => {
                known.push((entry.version, entry.peer));
                None
            }
        }
    }
}

impl World {
    pub(super) fn violate(&mut self, law: Law, text: impl fmt::Display) {
        let violation = Violation {
            law,
            at: self.now,
            text: text.to_string(),
        };
        self.note(format_args!("VIOLATION {violation}"));
        self.laws.violations.push(violation);
    }

    /// From here on only the weaker laws hold.
    pub(super) fn weaken(&mut self, fault: Fault) {
        self.note(format_args!("*** {fault}"));
        self.faults.count(fault);
        self.laws.is_strong = false;
    }

    // ===== rings =====

    /// After every change of a process, before it is written.
    pub(super) fn inspect(&mut self, host: usize) {
        let (is_strong, universe) = (self.laws.is_strong, self.universe.span);
        let it = &mut self.hosts[host];
        let identity = it.identity;
        let Some(process) = &mut it.process else {
            return;
        };
        let ring = process.engine.ring();
        let ranges = ring.ranges_of(identity);
        let mut broken = Vec::new();
        if let Some(allocator) = process.engine.native()
            && !process.has_left
        {
            let is_equal = allocator
                .space()
                .owned()
                .eq(coalesce(ranges.iter().copied()));
            if !is_equal {
                broken.push((Law::SpaceIsRing, "space and ring differ".to_owned()));
            }
        }
        if let Err(error) = ring.check() {
            broken.push((Law::SpaceIsRing, error.to_string()));
        }
        let mine = Bits::of(universe, ranges);
        let is_replaced = !it.is_legacy && !is_strong && self.plan.is_born_twice();
        let changes = compare(&process.entries, ring.entries());
        if let Some(token) = changes.fallen.filter(|_| !is_replaced) {
            let address = self.universe.family.address(token);
            broken.push((Law::VersionsRise, format!("the entry at {address} fell")));
        }
        note_grants(&mut it.skipped, &process.entries, ring.entries(), identity);
        process.entries = ring.entries().to_vec();
        let is_other = mine != process.mine;
        process.mine = mine;
        process.news.extend_from_slice(&changes.news);
        for (law, text) in broken {
            self.violate(law, format_args!("host {host}: {text}"));
        }
        self.forget_taken_over(host, &changes.overruled);
        if is_other {
            self.inspect_ranges(host);
        }
    }

    /// What was said by peers that were taken over since is void as soon as they are not there.
    pub(super) fn forget_taken_over(&mut self, host: usize, overruled: &[PeerId]) {
        if let Some(process) = &mut self.hosts[host].process {
            process.overruled.extend(overruled);
            let (reachable, overruled) = (&process.reachable, &process.overruled);
            process
                .told
                .retain(|peer, _| reachable.contains(peer) || !overruled.contains(peer));
        }
    }

    /// People have said that a peer is gone.
    pub(super) fn laws_hear_of_removal(&mut self, host: usize, gone: PeerId) {
        if let Some(process) = &mut self.hosts[host].process {
            // Who is here is not gone; but what is reachable may have to be told yet.
            let is_here = process.inbox.is_empty() && process.reachable.contains(&gone);
            process.told.retain(|peer, _| is_here || *peer != gone);
        }
    }

    /// What a process has edited or learned is durable, so others may hear of it.
    pub(super) fn witness(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let (is_strong, family) = (self.laws.is_strong, self.universe.family);
        for entry in std::mem::take(&mut process.news) {
            let Entry {
                token,
                peer,
                version,
                free,
            } = entry;
            let token = family.address(token);
            self.note(format_args!(
                "    host {host}: {token} {peer} v{version}, {free} free"
            ));
            if !is_strong {
                continue;
            }
            if let Some(owner) = self.laws.note_owner(&entry) {
                self.violate(
                    Law::OneOwnerOfVersion,
                    format_args!("host {host}: {entry:?}, was {owner}'s"),
                );
            }
        }
    }

    /// The ranges of a host have changed.
    fn inspect_ranges(&mut self, host: usize) {
        let universe = self.universe;
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        let mine = process.mine;
        let mut broken = Vec::new();
        if let Some(allocator) = process.engine.native()
            && !process.has_left
        {
            for (ident, held) in allocator.owned() {
                let outside = held.iter().find(|address| {
                    let at = number(address.addr());
                    universe.span.contains(at) && !mine.contains(offset(universe.span, at))
                });
                // After two rings became one, an address may wait for its owner's word.
                let is_listed = |address: &IpNet| {
                    let listed = allocator.status().renumber;
                    listed.iter().any(|entry| entry.address == *address)
                };
                if let Some(address) = outside.filter(|address| !is_listed(address)) {
                    broken.push((Law::UsedIsKept, format!("{address} of {ident}")));
                }
            }
        }
        if self.laws.is_strong {
            for (other, it) in self.hosts.iter().enumerate() {
                let Some(process) = it.process.as_ref().filter(|_| other != host) else {
                    continue;
                };
                if !process.mine.is_disjoint(&mine) {
                    let common = process.mine.common(&mine).unwrap_or_default();
                    broken.push((
                        Law::OneOwner,
                        format!("offset {common} is host {other}'s too"),
                    ));
                }
            }
        }
        for (law, text) in broken {
            self.violate(law, format_args!("host {host}: {text}"));
        }
    }

    // ===== messages =====

    /// What is ours by our ring and a peer's by its own, which it has just sent.
    pub(super) fn laws_hear(&mut self, host: usize, from: PeerId, theirs: Bits) {
        let it = &mut self.hosts[host];
        if let Some(process) = &mut it.process {
            let ring = process.engine.ring();
            let mine = Bits::of(self.universe.span, ring.ranges_of(it.identity));
            process.told.insert(from, mine.both(&theirs));
            process.overruled.remove(&from);
        }
    }

    /// Whose ring a message holds, and what it says is that peer's.
    pub(super) fn laws_read(
        &self,
        host: usize,
        state: Option<&State>,
        message: Option<&Message>,
    ) -> Option<(PeerId, Bits)> {
        let ring = match (state, message) {
            (Some(state), _) | (_, Some(Message::RingUpdate(state))) => state.ring.as_ref()?,
            _ => return None,
        };
        let it = &self.hosts[host];
        let ours = it.process.as_ref()?.engine.ring();
        let peer = ring.peer();
        // A ring that was formed by others says nothing about ours; one of the two has to go.
        let is_one = ours.seeds() == ring.seeds();
        let is_heard = !self.laws.is_strong && is_one && !it.is_legacy && peer != it.identity;
        is_heard.then(|| (peer, Bits::of(self.universe.span, ring.ranges_of(peer))))
    }

    // ===== answers and events =====

    /// A container gets an address.
    pub(super) fn judge_holder(&mut self, host: usize, ident: &str, address: IpNet) {
        let hosts = host_range(self.plan.universe);
        let at = number(address.addr());
        let it = &self.hosts[host];
        let is_own = it.process.as_ref().is_some_and(|process| {
            process.engine.ring().owner(at) == Some(it.identity) || process.has_left
        });
        let is_fit = address.prefix_len() == self.plan.universe.prefix_len();
        if !is_fit || !hosts.span.contains(at) || !is_own {
            self.violate(Law::GivenFromOwn, format_args!("host {host}: {address}"));
        }
        let Some(place) = self.laws.offset(address) else {
            return;
        };
        let others = self.laws.holders[place].clone();
        self.laws.holders[place].push((host, ident.to_owned()));
        let Some((other, name)) = others.first() else {
            return;
        };
        let process = self.hosts[host].process.as_ref();
        let told = process.and_then(|process| {
            let mut told = process.told.iter();
            told.find(|(_, theirs)| theirs.contains(place))
                .map(|(peer, _)| *peer)
        });
        let text = format!("{address}: {ident} on host {host}, {name} on host {other}");
        // A peer of the old kind does not give up handing out what is contested.
        let is_excused =
            self.hosts[*other].unclaimed.contains(&address) || self.hosts[host].is_legacy;
        if self.laws.is_strong || other == &host && !is_excused {
            self.violate(Law::OneHolder, text);
        } else if let Some(peer) = told {
            self.violate(
                Law::OneHolder,
                format_args!("{text}, although {peer} had said it is its own"),
            );
        } else {
            self.note(format_args!("DOUBLE {text}"));
            self.laws.doubles += 1;
        }
    }

    pub(super) fn judge_event(&mut self, host: usize, event: &Event) {
        self.note(format_args!("  host {host} says {event:?}"));
        // An heir that was away finds entries that it does not remember, and doubts for a while.
        let is_heir = matches!(event, Event::Outdated { .. }) && self.faults.of(Fault::Leave) > 0;
        let is_quarrel = matches!(
            event,
            Event::Conflict { .. }
                | Event::Refused { .. }
                | Event::Outdated { .. }
                | Event::RangeLost(_)
        );
        if is_quarrel && !is_heir && self.laws.is_strong {
            self.violate(Law::NoQuarrel, format_args!("host {host}: {event:?}"));
        }
    }
}

struct Changes {
    /// Entries that are new or have another version or owner.
    news: Vec<Entry>,
    /// A token that is gone, or whose version is lower.
    fallen: Option<u128>,
    /// Peers that do not own anything any more, since an entry of theirs was handed over.
    overruled: Vec<PeerId>,
}

fn compare(before: &[Entry], after: &[Entry]) -> Changes {
    let mut changes = Changes {
        news: Vec::new(),
        fallen: None,
        overruled: Vec::new(),
    };
    let mut old = before.iter().peekable();
    for entry in after {
        while let Some(gone) = old.next_if(|old| old.token < entry.token) {
            changes.fallen = Some(gone.token);
        }
        let known = old.next_if(|old| old.token == entry.token);
        if known.is_some_and(|known| known.version > entry.version) {
            changes.fallen = Some(entry.token);
        }
        changes.overruled.extend(
            known
                .filter(|known| known.peer != entry.peer)
                .filter(|known| entry.version >= known.version.saturating_add(HAND_OVER))
                .map(|known| known.peer),
        );
        if known.is_none_or(|known| (known.version, known.peer) != (entry.version, entry.peer)) {
            changes.news.push(*entry);
        }
    }
    if let Some(gone) = old.next() {
        changes.fallen = Some(gone.token);
    }
    let is_bare = |peer: &PeerId| after.iter().all(|entry| entry.peer != *peer);
    changes.overruled.retain(is_bare);
    changes
}

/// For the planted defect: entries of ours that are another's with the next version.
fn note_grants(
    skipped: &mut std::collections::BTreeMap<u128, u32>,
    before: &[Entry],
    after: &[Entry],
    us: PeerId,
) {
    for entry in before.iter().filter(|entry| entry.peer == us) {
        let Ok(index) = after.binary_search_by_key(&entry.token, |entry| entry.token) else {
            continue;
        };
        let next = after[index];
        if next.peer != us && next.version == entry.version + 1 {
            skipped.insert(next.token, next.version);
        }
    }
}

//! Which overlay carries the frames of a connection, and why.
//!
//! Both ends list what they can do. The names both know, in our own order, are the *slots* of the
//! connection; their numbers are in every control message, so that the order must be the same at
//! both ends: `fastdp` before `sleeve`, always, whatever else is added (Weave Net overlay switch,
//! common list section; there each end uses its own order, too, by mistake).
//!
//! The best slot is the first that works; while none has worked yet, the first that may. A slot
//! that fails its health check is *held*, and taken back as soon as it is healthy. The invariants:
//! a slot that failed for good is never chosen; a held one neither; each change of the best slot has
//! a reason that is kept.

use std::time::Duration;

pub mod pace;

use pace::Silence;

/// Changes of the best slot that are remembered.
const REMEMBERED: usize = 8;
/// Slots of a connection at most: their number is one byte.
const MAX_SLOTS: usize = 256;

/// The names that both ends list, in our order. Empty: the connection cannot carry frames.
#[must_use]
pub fn common<'a>(ours: &[&'a str], theirs: &[impl AsRef<str>]) -> Vec<&'a str> {
    let mut common: Vec<_> = ours
        .iter()
        .filter(|name| theirs.iter().any(|their| their.as_ref() == **name))
        .copied()
        .collect();
    common.truncate(MAX_SLOTS);
    common
}

/// The body of a control message: the slot, then tag and payload of its overlay.
#[must_use]
pub fn control(slot: u8, inner: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 + inner.len());
    body.push(slot);
    body.extend_from_slice(inner);
    body
}

/// Takes a control message apart. `None`: it is too short to have a slot and a tag, ignore it. The
/// slot may be one that does not exist.
#[must_use]
pub fn split_control(body: &[u8]) -> Option<(u8, &[u8])> {
    let (slot, inner) = body.split_first()?;
    (!inner.is_empty()).then_some((*slot, inner))
}

/// Something that an overlay says of its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// The peer has heard us.
    Established,
    /// It fails its health check.
    Unhealthy(Silence),
    /// It passes it again.
    Healthy,
    /// It will not work on this connection.
    Failed(String),
}

/// What kind of thing changed the best slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The connection was made.
    Made,
    /// The peer has heard us by a better overlay.
    Established,
    /// Nothing was heard of the peer.
    Silent,
    /// The peer does not hear us.
    Unheard,
    /// An overlay works again.
    Recovered,
    /// An overlay cannot serve the connection.
    Failed,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Made,
        Self::Established,
        Self::Silent,
        Self::Unheard,
        Self::Recovered,
        Self::Failed,
    ];

    /// Name, as metrics show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Established => "established",
            Self::Silent => "silent",
            Self::Unheard => "unheard",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
        }
    }
}

impl From<&Input> for Cause {
    fn from(input: &Input) -> Self {
        match input {
            Input::Established => Self::Established,
            Input::Unhealthy(Silence::Here(_)) => Self::Silent,
            Input::Unhealthy(Silence::There) => Self::Unheard,
            Input::Healthy => Self::Recovered,
            Input::Failed(_) => Self::Failed,
        }
    }
}

/// Something that follows for the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The connection can carry frames; once.
    Established,
    /// Frames go by another slot from now on.
    Chosen {
        /// Its number.
        slot: usize,
        /// What kind of thing led to it.
        cause: Cause,
    },
    /// No slot is left: the connection is to be closed, and dialled anew.
    NoneWorking,
}

/// A change of the best slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When, since the caller's zero.
    pub at: Duration,
    /// From which overlay; `None` at the beginning.
    pub from: Option<String>,
    /// To which; `None`: no slot is left.
    pub to: Option<String>,
    /// What kind of thing led to it.
    pub cause: Cause,
    /// What the reason was.
    pub why: String,
}

#[derive(Debug, Clone)]
struct Slot {
    name: String,
    established: bool,
    held: Option<String>,
    failed: Option<String>,
}

impl Slot {
    fn may_work(&self) -> bool {
        self.held.is_none() && self.failed.is_none()
    }
}

/// What is known of the slots of one connection.
#[derive(Debug, Clone)]
pub struct Switch {
    slots: Vec<Slot>,
    best: Option<usize>,
    established: bool,
    changes: Vec<Change>,
    switched: u64,
}

impl Switch {
    /// A switch for the common list `names`. The first is the best until more is known.
    #[must_use]
    pub fn new(now: Duration, names: &[impl AsRef<str>]) -> Self {
        let slots = names
            .iter()
            .map(|name| Slot {
                name: name.as_ref().to_owned(),
                established: false,
                held: None,
                failed: None,
            })
            .collect();
        let mut switch = Self {
            slots,
            best: None,
            established: false,
            changes: Vec::new(),
            switched: 0,
        };
        switch.choose(now, Cause::Made, "the connection was made");
        switch
    }

    /// Number of the slot that carries frames.
    #[must_use]
    pub fn best(&self) -> Option<usize> {
        self.best
    }

    /// Name of the overlay in a slot.
    #[must_use]
    pub fn name(&self, slot: usize) -> Option<&str> {
        self.slots.get(slot).map(|slot| slot.name.as_str())
    }

    /// Number of the slot of an overlay.
    #[must_use]
    pub fn slot_of(&self, name: &str) -> Option<u8> {
        let slot = self.slots.iter().position(|slot| slot.name == name)?;
        u8::try_from(slot).ok()
    }

    /// Why a more preferred overlay than the best does not carry the frames; `None` if the best is
    /// the most preferred.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let passed = match self.best {
            Some(best) => &self.slots[..best],
            None => &self.slots,
        };
        let slot = passed.first()?;
        let why = match (&slot.failed, &slot.held) {
            (Some(why), _) | (None, Some(why)) => why.as_str(),
            (None, None) => "its heartbeats have not been answered yet",
        };
        Some(format!("{}: {why}", slot.name))
    }

    /// The last changes, oldest first.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// How often the best slot has changed since the connection could carry frames.
    #[must_use]
    pub fn switched(&self) -> u64 {
        self.switched
    }

    /// Takes in what an overlay says of its slot. Slots that do not exist are ignored.
    pub fn handle(&mut self, now: Duration, slot: usize, input: Input) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(entry) = self.slots.get_mut(slot) else {
            return events;
        };
        let name = entry.name.clone();
        let carried = self.established;
        let cause = Cause::from(&input);
        let why = match input {
            Input::Established => {
                entry.established = true;
                if !self.established {
                    self.established = true;
                    events.push(Event::Established);
                }
                format!("{name} is established")
            }
            Input::Unhealthy(why) => {
                entry.held = Some(why.to_string());
                format!("{name}: {why}")
            }
            Input::Healthy => {
                entry.held = None;
                format!("{name} is healthy again")
            }
            Input::Failed(why) => {
                let text = format!("{name}: {why}");
                entry.failed = Some(why);
                text
            }
        };
        let before = self.best;
        self.choose(now, cause, &why);
        if carried && before != self.best {
            self.switched += 1;
        }
        match self.best {
            None => events.push(Event::NoneWorking),
            Some(slot) if before != Some(slot) => events.push(Event::Chosen { slot, cause }),
            Some(_) => {}
        }
        events
    }

    fn choose(&mut self, now: Duration, cause: Cause, why: &str) {
        let works = |slot: &&(usize, &Slot)| slot.1.may_work();
        let candidates: Vec<_> = self.slots.iter().enumerate().collect();
        let best = candidates
            .iter()
            .filter(works)
            .find(|(_, slot)| slot.established)
            .or_else(|| candidates.iter().find(works))
            .map(|(index, _)| *index);
        if best == self.best {
            return;
        }
        let name = |slot: Option<usize>| slot.map(|slot| self.slots[slot].name.clone());
        let change = Change {
            at: now,
            from: name(self.best),
            to: name(best),
            cause,
            why: why.to_owned(),
        };
        if self.changes.len() == REMEMBERED {
            self.changes.remove(0);
        }
        self.changes.push(change);
        self.best = best;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn whoever_is_passed_over_is_named_with_the_reason() {
        let mut switch = Switch::new(NOW, &["fastdp", "sleeve"]);
        assert_eq!(switch.reason(), None);
        switch.handle(NOW, 1, Input::Established);
        assert_eq!(
            switch.reason().unwrap(),
            "fastdp: its heartbeats have not been answered yet"
        );
        switch.handle(NOW, 0, Input::Established);
        assert_eq!(switch.reason(), None);
        let silent = Silence::Here(Duration::from_secs(2));
        switch.handle(NOW, 0, Input::Unhealthy(silent));
        assert_eq!(switch.reason().unwrap(), "fastdp: no heartbeat for 2 s");
        assert_eq!(switch.switched(), 2);
        let last = switch.changes().last().unwrap();
        assert_eq!(last.from.as_deref(), Some("fastdp"));
        assert_eq!(last.to.as_deref(), Some("sleeve"));
        assert_eq!(last.cause, Cause::Silent);
    }

    #[test]
    fn a_flapping_slot_does_not_fill_the_memory() {
        let mut switch = Switch::new(NOW, &["fastdp", "sleeve"]);
        for slot in [0, 1] {
            switch.handle(NOW, slot, Input::Established);
        }
        for _ in 0..100 {
            switch.handle(NOW, 0, Input::Unhealthy(Silence::There));
            switch.handle(NOW, 0, Input::Healthy);
        }
        assert_eq!(switch.changes().len(), REMEMBERED);
        assert_eq!(switch.switched(), 200);
    }

    #[test]
    fn short_and_foreign_control_messages_are_ignored() {
        assert_eq!(split_control(&[]), None);
        assert_eq!(split_control(&[1]), None);
        assert_eq!(split_control(&control(1, &[3, 5])), Some((1, &[3, 5][..])));
        let mut switch = Switch::new(NOW, &["sleeve"]);
        assert_eq!(switch.handle(NOW, 9, Input::Established), []);
    }
}

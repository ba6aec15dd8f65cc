//! A machine: its name, disk, containers, and the process that runs on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ipnet::IpNet;

use super::bits::Bits;
use super::engine::{Engine, Slip};
use super::wires::{Kind, Parcel};
use crate::peer::PeerId;
use crate::ring::Entry;
use crate::snapshot::Snapshot;

#[derive(Debug)]
pub(super) struct Host {
    pub(super) identity: PeerId,
    pub(super) is_legacy: bool,
    pub(super) is_observer: bool,
    pub(super) disk: Disk,
    pub(super) process: Option<Process>,
    pub(super) starts: u64,
    pub(super) containers: BTreeMap<String, Container>,
    /// Never starts again.
    pub(super) is_retired: bool,
    /// The second host of an identity.
    pub(super) is_clone: bool,
    pub(super) is_slow: bool,
    /// What the wall clock is off by, in seconds.
    pub(super) wall: i64,
    pub(super) doom: Option<Doom>,
    /// Planted defect: versions by token that are shown one too low.
    pub(super) skipped: BTreeMap<u128, u32>,
    /// What containers that wait have asked for by address.
    pub(super) claims: BTreeMap<String, IpNet>,
    /// Addresses of live containers that could not be recorded again.
    pub(super) unclaimed: BTreeSet<IpNet>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) current: Option<Snapshot>,
    /// Copies made from time to time, oldest first.
    pub(super) copies: Vec<Snapshot>,
    /// What is being written and not yet synced.
    pub(super) writing: Option<Snapshot>,
    /// A damaged file, to be refused, beside the last good one.
    pub(super) damaged: Option<Snapshot>,
}

/// What happens at the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doom {
    pub(super) moment: Moment,
    /// Power fails, so the containers end as well.
    pub(super) is_power: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    BeforeWrite,
    HalfWritten,
    AfterWrite,
}

#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) address: Option<IpNet>,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) engine: Engine,
    /// Which start of the host this is.
    pub(super) start: u64,
    pub(super) started: Duration,
    /// How far the clock has leapt ahead.
    pub(super) leap: Duration,
    pub(super) revision: u64,
    pub(super) is_busy: bool,
    pub(super) inbox: VecDeque<Input>,
    /// When the next look at the timers is planned.
    pub(super) alarm: Option<Duration>,
    pub(super) waiting: BTreeMap<Slip, String>,
    /// What to pass on once it is written.
    pub(super) relays: Vec<Kind>,
    /// Answers not given yet.
    pub(super) answers: Vec<(String, IpNet)>,
    pub(super) reachable: BTreeSet<PeerId>,
    pub(super) has_left: bool,
    // What the laws remember of the ring.
    pub(super) entries: Vec<Entry>,
    /// Entries that have changed since the last write.
    pub(super) news: Vec<Entry>,
    pub(super) mine: Bits,
    /// What each peer's latest ring says is that peer's.
    pub(super) told: BTreeMap<PeerId, Bits>,
    /// Peers that were taken over since they last spoke.
    pub(super) overruled: BTreeSet<PeerId>,
}

/// What a process has to deal with, one after another.
#[derive(Debug)]
pub(super) enum Input {
    Parcel(Box<Parcel>),
    Timeout,
    Reachable(BTreeSet<PeerId>, usize),
    Gossip(usize),
    Allocate(String),
    Claim {
        ident: String,
        address: IpNet,
        is_found: bool,
    },
    /// The container has ended, or gives up waiting.
    End(String),
    Takeover(PeerId),
    Leave,
}

impl Host {
    pub(super) const fn new(identity: PeerId, is_legacy: bool) -> Self {
        Self {
            identity,
            is_legacy,
            is_observer: false,
            disk: Disk {
                current: None,
                copies: Vec::new(),
                writing: None,
                damaged: None,
            },
            process: None,
            starts: 0,
            containers: BTreeMap::new(),
            is_retired: false,
            is_clone: false,
            is_slow: false,
            wall: 0,
            doom: None,
            skipped: BTreeMap::new(),
            claims: BTreeMap::new(),
            unclaimed: BTreeSet::new(),
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn has_ring(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| !process.engine.ring().is_empty())
    }
}

impl Process {
    pub(super) const fn new(engine: Engine, start: u64, started: Duration) -> Self {
        Self {
            engine,
            start,
            started,
            leap: Duration::ZERO,
            // The first look writes in any case.
            revision: u64::MAX,
            is_busy: false,
            inbox: VecDeque::new(),
            alarm: None,
            waiting: BTreeMap::new(),
            relays: Vec::new(),
            answers: Vec::new(),
            reachable: BTreeSet::new(),
            has_left: false,
            entries: Vec::new(),
            news: Vec::new(),
            mine: Bits::EMPTY,
            told: BTreeMap::new(),
            overruled: BTreeSet::new(),
        }
    }

    /// The process's own time.
    pub(super) fn clock(&self, now: Duration) -> Duration {
        now.saturating_sub(self.started) + self.leap
    }

    /// When its own time is `at`.
    pub(super) fn wall_time(&self, at: Duration) -> Duration {
        (self.started + at).saturating_sub(self.leap)
    }
}

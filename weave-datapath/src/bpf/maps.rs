//! The pinned maps: reading and writing them from user space.
//!
//! Invariant: the forwarding table is never edited in place. A new array is filled and then takes
//! the old one's place in one step, so that a frame is forwarded by the state of one moment. After
//! every change the generation is raised, so that no program goes on with what it decided before.

use std::{collections::BTreeMap, fmt, time::Duration};

use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};

use super::{
    Counters, Error,
    abi::{Cell, Config, INNER_MAP, LOCAL, Mac, TABLES},
    cells,
    counters::Counter,
    pins::{CONFIG, MAPS, Pins},
    sys,
};
use crate::{
    fastdp::{ShortId, Tables},
    packet::ethernet,
};

/// Age at which an address that nobody uses is forgotten.
pub const MAC_AGE: Duration = Duration::from_secs(600);

/// An address the programs have learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LearnedMac {
    /// The address.
    pub mac: ethernet::Mac,
    /// The peer it is behind; `None` is our own bridge.
    pub peer: Option<ShortId>,
    /// Time since it was last seen, at a granularity of a quarter of a second.
    pub age: Duration,
}

pub(super) struct Maps {
    table: ArrayOfMaps<MapData, Array<MapData, Cell>>,
    macs: HashMap<MapData, u64, Mac>,
    generations: Array<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
}

/// The configuration an earlier daemon left, if every map is there.
pub(super) fn read_config(pins: &Pins) -> Option<Config> {
    if !MAPS.iter().all(|map| pins.has(map)) {
        return None;
    }
    let config: Array<MapData, Config> = pinned(pins, CONFIG).ok()?;
    config.get(&0, 0).ok()
}

/// Writes the configuration: from here on the pins count as complete.
pub(super) fn write_config(pins: &Pins, value: &Config) -> Result<(), Error> {
    let mut config: Array<MapData, Config> = pinned(pins, CONFIG)?;
    let written = config.set(0, value, 0);
    written.map_err(|source| Error::kernel("write the BPF configuration", source))
}

/// The ring of special frames.
pub(super) fn ring(pins: &Pins) -> Result<RingBuf<MapData>, Error> {
    pinned(pins, "events")
}

impl Maps {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            table: pinned(pins, "table")?,
            macs: pinned(pins, "macs")?,
            generations: pinned(pins, "generations")?,
            counters: pinned(pins, "counters")?,
        })
    }

    /// The tables the programs look up, empty before the first write.
    pub(super) fn tables(&self, port: &impl Fn(u32) -> Option<u16>) -> Result<Tables, Error> {
        let failed = |source| Error::kernel("read the forwarding table", source);
        let cells = match self.table.get(&0, 0) {
            Ok(cells) => cells,
            Err(MapError::KeyNotFound) => return Ok(Tables::default()),
            Err(source) => return Err(failed(source)),
        };
        let cells: Result<Vec<Cell>, MapError> = cells.iter().collect();
        Ok(cells::decode(&cells.map_err(failed)?, port))
    }

    /// Replaces the table. The call returns when no program looks at the old one any more, some
    /// milliseconds later.
    pub(super) fn swap_tables(
        &mut self,
        tables: &Tables,
        device: &impl Fn(u16) -> Option<u32>,
    ) -> Result<(), Error> {
        let failed = |source| Error::kernel("write the forwarding table", source);
        let (filled, len) = cells::encode(tables, device);
        let mut array = Array::<MapData, Cell>::create(len, INNER_MAP).map_err(failed)?;
        for (index, cell) in filled {
            array.set(index, cell, 0).map_err(failed)?;
        }
        self.table.set(0, &array, 0).map_err(failed)?;
        self.raise_generation()
    }

    /// Makes the programs forget what they decided by what was there before.
    fn raise_generation(&mut self) -> Result<(), Error> {
        let raised = self
            .generations
            .get(&TABLES, 0)
            .and_then(|before| self.generations.set(TABLES, before.wrapping_add(1), 0));
        raised.map_err(|source| Error::kernel("raise the generation of BPF tables", source))
    }

    /// Moves or forgets the addresses learned from the short ids in `moves`.
    pub(super) fn move_macs(
        &mut self,
        moves: &BTreeMap<ShortId, Option<ShortId>>,
    ) -> Result<(), Error> {
        let failed = |source| Error::kernel("rewrite learned addresses", source);
        for (key, mac) in self.entries() {
            let Some(target) = peer(&mac).and_then(|id| moves.get(&id)) else {
                continue;
            };
            match target {
                Some(id) => {
                    let owner = u32::from(*id);
                    let moved = self.macs.insert(key, Mac { owner, ..mac }, 0);
                    moved.map_err(failed)?;
                }
                None => self.forget(key).map_err(failed)?,
            }
        }
        self.raise_generation()
    }

    /// Forgets addresses older than `age`; returns how many.
    pub(super) fn sweep(&mut self, age: Duration) -> Result<usize, Error> {
        let now = now()?;
        let old = |mac: &Mac| now.saturating_sub(Duration::from_nanos(mac.seen)) > age;
        let entries = self.entries().into_iter();
        let old: Vec<u64> = entries.filter(|(_, mac)| old(mac)).map(|e| e.0).collect();
        for key in &old {
            let forgotten = self.forget(*key);
            forgotten.map_err(|source| Error::kernel("age learned addresses", source))?;
        }
        if !old.is_empty() {
            self.raise_generation()?;
        }
        Ok(old.len())
    }

    pub(super) fn macs(&self) -> Result<Vec<LearnedMac>, Error> {
        let now = now()?;
        let learned = |(key, mac): (u64, Mac)| {
            let [a, b, c, d, e, f, ..] = key.to_ne_bytes();
            LearnedMac {
                mac: ethernet::Mac([a, b, c, d, e, f]),
                peer: peer(&mac),
                age: now.saturating_sub(Duration::from_nanos(mac.seen)),
            }
        };
        let mut macs: Vec<_> = self.entries().into_iter().map(learned).collect();
        macs.sort_unstable();
        Ok(macs)
    }

    pub(super) fn counters(&self) -> Result<Counters, Error> {
        let mut sums = [0; Counter::ALL.len()];
        for (index, sum) in (0..).zip(&mut sums) {
            let values = self.counters.get(&index, 0);
            let values = values.map_err(|source| Error::kernel("read BPF counters", source))?;
            *sum = values.iter().sum();
        }
        Ok(Counters::new(sums))
    }

    /// What the map holds. Entries that come or go meanwhile may be missed, never invented.
    fn entries(&self) -> Vec<(u64, Mac)> {
        // A walk starts over when its current key vanishes; the limit ends it in any case.
        let walk = self.macs.iter().take(WALK_LIMIT).filter_map(Result::ok);
        let unique: BTreeMap<u64, Mac> = walk.collect::<Vec<_>>().into_iter().collect();
        unique.into_iter().collect()
    }

    fn forget(&mut self, key: u64) -> Result<(), MapError> {
        match self.macs.remove(&key) {
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

/// Steps of one walk through the learned addresses: twice as many as there can be in the largest
/// map this makes sense for.
const WALK_LIMIT: usize = 1 << 20;

fn now() -> Result<Duration, Error> {
    sys::monotonic().map_err(|source| Error::kernel("read the monotonic clock", source))
}

fn peer(mac: &Mac) -> Option<ShortId> {
    (mac.owner != LOCAL)
        .then(|| ShortId::try_from(mac.owner).ok())
        .flatten()
}

/// Opens a pinned map as the type wanted.
fn pinned<M>(pins: &Pins, name: &str) -> Result<M, Error>
where
    M: TryFrom<Map, Error = MapError>,
{
    MapData::from_pin(pins.path(name))
        .and_then(Map::from_map_data)
        .and_then(M::try_from)
        .map_err(|source| Error::kernel(format!("open the pinned BPF map {name}"), source))
}

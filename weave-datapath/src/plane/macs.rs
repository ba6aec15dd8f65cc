//! The hardware addresses, as the threads need them.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{
    fastdp::PeerName,
    packet::ethernet::Mac,
    switch::{MacTable, Owner},
};

/// A table of hardware addresses that several threads use: the one of the kernel programs, or
/// [`SharedTable`].
pub trait Macs: Send + Sync {
    /// A frame of `origin` has this source.
    fn learn_remote(&self, mac: Mac, origin: PeerName);

    /// Who is behind an address.
    fn owner(&self, mac: Mac) -> Option<Owner>;

    /// A frame of our own bridge has this source; see [`MacTable::learn_local`].
    fn learn_local(&self, mac: Mac, announces: bool) -> bool;
}

/// The table of a network that no kernel program serves.
#[derive(Debug)]
pub struct SharedTable {
    table: Mutex<MacTable>,
    begun: Instant,
}

impl Default for SharedTable {
    fn default() -> Self {
        Self {
            table: Mutex::new(MacTable::new()),
            begun: Instant::now(),
        }
    }
}

impl SharedTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the table, or changes it, at the time `now` that its ages count in.
    pub fn with<T>(&self, work: impl FnOnce(&mut MacTable, Duration) -> T) -> T {
        let mut table = self.table.lock().expect("no thread panics with the table");
        work(&mut table, self.begun.elapsed())
    }
}

impl Macs for SharedTable {
    fn learn_remote(&self, mac: Mac, origin: PeerName) {
        self.with(|table, now| {
            table.learn_remote(now, mac, origin);
        });
    }

    fn owner(&self, mac: Mac) -> Option<Owner> {
        self.with(|table, _| table.owner(mac))
    }

    fn learn_local(&self, mac: Mac, announces: bool) -> bool {
        self.with(|table, now| table.learn_local(now, mac, announces))
    }
}

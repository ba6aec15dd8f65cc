//! The MTU of the network: how large packets of pods may be, as the ways between the hosts allow.
//!
//! All hosts must agree, or packets that one takes vanish at another; so the default of Weave Net is
//! used wherever it fits, and something smaller only where it does not. What an overlay needs on top
//! is 86 bytes at most (sleeve, encrypted), so the result fits whatever carries the frames: falling
//! back never makes a packet too large. The invariant: a larger way never makes the MTU smaller.

use std::collections::BTreeMap;

/// The MTU of Weave Net's fast overlay, in bytes.
pub const DEFAULT: u16 = crate::fastdp::DEFAULT_MTU;
/// Bytes that an overlay adds to a packet at most: outer IPv4 and UDP headers, sleeve's name, nonce
/// and seal, record header, inner Ethernet header.
pub const OVERHEAD: u16 = 20 + 8 + 6 + 24 + 14 + 14;
/// From this size of a way on, the default is used; Weave Net's was chosen for it.
const ROOMY: u16 = 1460;
/// No way between hosts carries less (RFC 791 asks for 576 bytes after reassembly).
const FLOOR: u16 = 552;

/// The MTU that a way allows which carries IP packets of `path` bytes whole.
#[must_use]
pub fn of_path(path: u16) -> u16 {
    if path >= ROOMY {
        DEFAULT
    } else {
        path.saturating_sub(OVERHEAD).max(FLOOR)
    }
}

/// What is known of the ways to the peers.
#[derive(Debug, Clone)]
pub struct Ways {
    paths: BTreeMap<u64, u16>,
    start: u16,
}

/// The way that allows least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Narrowest {
    /// The connection.
    pub id: u64,
    /// Bytes of IP packet that it carries whole.
    pub path: u16,
}

impl Ways {
    /// Nothing is known but the MTU that was found at the start.
    #[must_use]
    pub fn new(start: u16) -> Self {
        Self {
            paths: BTreeMap::new(),
            start,
        }
    }

    /// The way of connection `id` carries IP packets of `path` bytes.
    pub fn set(&mut self, id: u64, path: u16) {
        self.paths.insert(id, path);
    }

    /// The connection is gone.
    pub fn remove(&mut self, id: u64) {
        self.paths.remove(&id);
    }

    /// The way that allows least, of those that are known.
    #[must_use]
    pub fn narrowest(&self) -> Option<Narrowest> {
        let narrowest = self.paths.iter().min_by_key(|(_, path)| **path)?;
        Some(Narrowest {
            id: *narrowest.0,
            path: *narrowest.1,
        })
    }

    /// The MTU that all known ways allow; without one, that of the start.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.narrowest()
            .map_or(self.start, |narrowest| of_path(narrowest.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_used_where_it_fits() {
        assert_eq!([1460, 1500, 9000].map(of_path), [DEFAULT; 3]);
        assert_eq!(of_path(1459), 1373);
        assert_eq!(of_path(1300), 1214);
        assert_eq!(of_path(100), FLOOR);
    }

    #[test]
    fn a_larger_way_never_makes_the_mtu_smaller() {
        let all: Vec<u16> = (0..u16::MAX).map(of_path).collect();
        assert!(all.is_sorted());
        let fits = |path: u16| of_path(path) <= path.saturating_sub(50);
        assert!((640..u16::MAX).all(fits), "the fast overlay adds 50 bytes");
    }

    #[test]
    fn the_narrowest_way_decides_while_it_is_there() {
        let mut ways = Ways::new(1000);
        assert_eq!(ways.mtu(), 1000);
        ways.set(1, 1500);
        ways.set(2, 1300);
        assert_eq!(ways.narrowest(), Some(Narrowest { id: 2, path: 1300 }));
        assert_eq!(ways.mtu(), 1214);
        ways.remove(2);
        assert_eq!(ways.mtu(), DEFAULT);
    }
}

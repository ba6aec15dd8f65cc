//! What a peer says about itself.

use std::fmt;

use super::{Address, Links, PeerName, ShortId};
use crate::random::Random;

/// The incarnation of a peer: drawn at random at every start.
///
/// 0 marks a placeholder, a peer known only because somebody lists a connection to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub u64);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The longest nickname accepted from a remote, in bytes. Host names have at most 253.
pub const MAX_NICKNAME: usize = 1024;

/// The longest address of a connection accepted from a remote, in bytes: an IPv6 address with a
/// zone and a port takes less than 70.
pub const MAX_ADDRESS: usize = 256;

/// The newest known state of one peer, as gossiped by its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// The name, stable over restarts.
    pub name: PeerName,
    /// Free text for people, by default the host name.
    pub nickname: String,
    /// The incarnation `version` belongs to.
    pub uid: Uid,
    /// Counts the owner's changes within this incarnation.
    pub version: u64,
    /// The id the peer claims for tunnel keys, if it has one.
    pub short_id: Option<ShortId>,
    /// The peer's connections by remote name.
    pub connections: Links,
}

impl PeerRecord {
    /// A record of an incarnation that has not connected to anybody: version 0, no connections.
    ///
    /// A handshake yields such a record of the remote peer.
    #[must_use]
    pub fn new(name: PeerName, nickname: impl Into<String>, uid: Uid) -> Self {
        Self {
            name,
            nickname: nickname.into(),
            uid,
            version: 0,
            short_id: None,
            connections: Links::new(),
        }
    }

    /// The record of a peer of which nothing but the name is known.
    #[must_use]
    pub fn placeholder(name: PeerName) -> Self {
        Self::new(name, "", Uid(0))
    }

    /// Whether `self` replaces `older`, both being records of one peer.
    ///
    /// A higher version wins, then a higher incarnation id, then the record that has a short id
    /// where the other has none (mesh protocol, "merging an update").
    #[must_use]
    pub fn supersedes(&self, older: &Self) -> bool {
        self.head().supersedes(older.head())
    }

    /// What tells this record from others of the same peer.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            name: self.name,
            uid: self.uid,
            version: self.version,
            has_short_id: self.short_id.is_some(),
        }
    }
}

/// What tells one record from another: two records with the same head are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head {
    /// The peer.
    pub name: PeerName,
    /// Its incarnation.
    pub uid: Uid,
    /// The version within the incarnation.
    pub version: u64,
    /// Whether the peer claims a short id.
    pub has_short_id: bool,
}

impl Head {
    /// As [`PeerRecord::supersedes`].
    #[must_use]
    pub fn supersedes(self, older: Self) -> bool {
        (self.version, self.uid, self.has_short_id) > (older.version, older.uid, older.has_short_id)
    }

    /// A number that differs from that of any other head, up to chance (1 in 2⁶⁴).
    ///
    /// Peers of all versions of this crate compute the same: `SplitMix64` over the name, then
    /// incarnation, then version and short id flag.
    #[must_use]
    pub fn fingerprint(self) -> u64 {
        let parts = [self.uid.0, self.version, u64::from(self.has_short_id)];
        parts.into_iter().fold(
            Random::new(u64::from(self.name)).next_u64(),
            |mixed, part| Random::new(mixed ^ part).next_u64(),
        )
    }
}

impl fmt::Display for PeerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, self.nickname)
    }
}

/// One end's view of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The remote end as this end sees it.
    pub address: Address,
    /// Whether this end dialled.
    pub outbound: bool,
    /// Whether the data overlay of the connection works in both directions.
    pub established: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_ordered_by_version_then_uid_then_short_id() {
        let name = PeerName::from_bytes([10, 0, 0, 0, 0, 1]);
        let old = PeerRecord {
            version: 2,
            ..PeerRecord::new(name, "a", Uid(7))
        };
        let newer = PeerRecord {
            version: 3,
            uid: Uid(1),
            ..old.clone()
        };
        let other_uid = PeerRecord {
            uid: Uid(8),
            ..old.clone()
        };
        let with_id = PeerRecord {
            short_id: ShortId::try_from(0).ok(),
            ..old.clone()
        };

        assert!(newer.supersedes(&old) && !old.supersedes(&newer));
        assert!(other_uid.supersedes(&old) && !old.supersedes(&other_uid));
        assert!(with_id.supersedes(&old) && !old.supersedes(&with_id));
        assert!(!old.supersedes(&old));
    }

    #[test]
    fn fingerprints_tell_heads_apart_and_never_change() {
        let head = Head {
            name: PeerName::from_bytes([10, 0, 0, 0, 0, 1]),
            uid: Uid(7),
            version: 2,
            has_short_id: true,
        };
        let others = [
            Head {
                name: PeerName::from_bytes([10, 0, 0, 0, 0, 2]),
                ..head
            },
            Head {
                uid: Uid(8),
                ..head
            },
            Head { version: 3, ..head },
            Head {
                has_short_id: false,
                ..head
            },
        ];

        // Peers of different versions compare these numbers.
        assert_eq!(head.fingerprint(), 0xbe0c_e0f0_9007_7e26);
        assert!(
            others
                .iter()
                .all(|other| other.fingerprint() != head.fingerprint())
        );
    }
}

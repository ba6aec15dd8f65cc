//! Digests and deltas: the payload of tag 16, between peers that announced the feature `Sync`.
//!
//! ```text
//! kind
//!  0   digest   │ u64 sum of the fingerprints of all heads
//!  1   heads    │ flags (1 complete) │ n │ n × head
//!  2   wants    │ n │ n × ( name, n version held )
//!  3   records  │ n │ n × record
//!  4   channel  │ flags (1 answer) │ text channel │ u64 digest of its state
//!
//! head    name │ u64 uid │ flags (1 has short id) │ n version
//! record  head │ u16 short id, if it has one │ kind of body │ body
//! body 0  text nickname │ n │ n × link                                  the whole record
//! body 1  n base version │ n │ n × link │ n │ n × name                  changed, removed
//! link    name │ flags (1 outbound, 2 established, 4 IPv4, 8 IPv6) │ address
//! address 4 bytes, u16 port │ 16 bytes, u16 port │ text
//! ```
//!
//! A name has 6 bytes, `u16` and `u64` are big-endian, `n` is a number of 7 bits a byte, lowest
//! first, bit 7 set in all but the last; a text is its length `n` and its bytes. Kinds that are not
//! known are to be ignored, so that later versions may add some.

mod decode;
mod encode;

use crate::peer::{Head, Link, Links, PeerName, ShortId};

pub use decode::SyncError;

/// The version of this exchange, as announced in the features.
pub const VERSION: u8 = 1;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sync<'a> {
    /// What the sender knows of the graph, in one number. Who knows something else answers with
    /// complete heads.
    Digest(u64),
    /// What the sender knows of the graph, without connections.
    Heads {
        /// Whether these are all. If so, the receiver answers with the heads of what the sender
        /// lacks.
        is_complete: bool,
        /// One for each peer.
        heads: Vec<Head>,
    },
    /// Records to send, each with the version that the requester holds of the incarnation it was
    /// offered; 0 if it holds none.
    Wants(Vec<(PeerName, u64)>),
    /// Records, whole or as deltas.
    Records(Vec<RecordUpdate>),
    /// What the sender knows on a gossip channel, in one number. Who knows something else sends
    /// its state.
    Channel {
        /// Name of the channel.
        channel: &'a str,
        /// Digest of the sender's state.
        digest: u64,
        /// Whether the receiver, if it knows something else, is to tell its own digest too.
        is_answer_wanted: bool,
    },
    /// A kind of a later version; to be ignored.
    Unknown(u8),
}

/// One record, whole or as what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordUpdate {
    /// Peer, incarnation and version that result.
    pub head: Head,
    /// The short id of the result.
    pub short_id: Option<ShortId>,
    /// What to do to get there.
    pub body: Body,
}

/// How a record results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// From nothing.
    Whole {
        /// The nickname.
        nickname: String,
        /// All connections.
        connections: Links,
    },
    /// From any version of the same incarnation from `base` on that is below the result.
    Since {
        /// The lowest version this can be applied to.
        base: u64,
        /// Connections that are there in the result and were not, or not so, at some time since.
        changed: Vec<(PeerName, Link)>,
        /// Connections that were there at some time since and are not in the result.
        removed: Vec<PeerName>,
    },
}

mod kind {
    pub(super) const DIGEST: u8 = 0;
    pub(super) const HEADS: u8 = 1;
    pub(super) const WANTS: u8 = 2;
    pub(super) const RECORDS: u8 = 3;
    pub(super) const CHANNEL: u8 = 4;
    pub(super) const WHOLE: u8 = 0;
    pub(super) const SINCE: u8 = 1;
}

mod flag {
    pub(super) const COMPLETE: u8 = 1;
    pub(super) const ANSWER: u8 = 1;
    pub(super) const SHORT_ID: u8 = 1;
    pub(super) const OUTBOUND: u8 = 1;
    pub(super) const ESTABLISHED: u8 = 2;
    pub(super) const IPV4: u8 = 4;
    pub(super) const IPV6: u8 = 8;
}

#[cfg(test)]
mod tests;

//! One connection of an old peer: introduction without password, frames, one gossip slot.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};

use crate::node::DialId;
use crate::peer::PeerName;
use crate::wire::frame::FrameReader;
use crate::wire::intro::{Features, Header};

#[derive(Debug)]
pub(super) struct Link {
    pub(super) remote: SocketAddr,
    pub(super) dial: Option<DialId>,
    pub(super) stage: Stage,
    /// What we introduced ourselves with.
    pub(super) ours: Features,
    /// The peer, once the connection is part of the topology.
    pub(super) peer: Option<Peer>,
    /// The peer whose record this connection keeps from being collected.
    pub(super) retained: Option<PeerName>,
    /// Reading waits for the recalculation of routes.
    pub(super) is_paused: bool,
    /// Whole frames and parts of the introduction to be written.
    pub(super) output: BytesMut,
    pub(super) heartbeats: usize,
    pub(super) slot: Option<Slot>,
    pub(super) in_flight: usize,
}

/// The remote end of an added connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) name: PeerName,
    pub(super) connection_uid: u64,
    pub(super) is_established: bool,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Bytes of the header so far.
    Header(BytesMut),
    /// The header is read, the flag is not.
    Flag(BytesMut),
    Frames(FrameReader),
}

/// What waits to be gossiped: names, or everything.
#[derive(Debug)]
pub(super) enum Slot {
    All,
    Names(BTreeSet<PeerName>),
}

/// What the remote sent, as far as it is complete.
pub(super) enum Step {
    /// The header was right; flag and features may be sent.
    Header,
    Frame(Bytes),
    /// The remote does something a router without password refuses.
    Refused,
    Nothing,
}

impl Link {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match &mut self.stage {
            Stage::Header(buffer) | Stage::Flag(buffer) => buffer.extend_from_slice(bytes),
            Stage::Frames(frames) => frames.push(bytes),
        }
    }

    /// The next complete thing.
    pub(super) fn pop(&mut self) -> Step {
        match &mut self.stage {
            Stage::Header(buffer) => {
                let Some(header) = buffer.first_chunk::<{ Header::SIZE }>() else {
                    return Step::Nothing;
                };
                let version = Header::parse(*header).and_then(|theirs| VERSIONS.negotiate(theirs));
                if version != Ok(VERSIONS.max) {
                    return Step::Refused;
                }
                buffer.advance(Header::SIZE);
                self.stage = Stage::Flag(buffer.split());
                Step::Header
            }
            Stage::Flag(buffer) => {
                let Some((flag, rest)) = buffer.split_first() else {
                    return Step::Nothing;
                };
                if *flag != 0 {
                    return Step::Refused;
                }
                let mut frames = FrameReader::new();
                frames.push(rest);
                self.stage = Stage::Frames(frames);
                self.pop()
            }
            Stage::Frames(frames) => match frames.pop() {
                Ok(Some(frame)) => Step::Frame(frame),
                Ok(None) => Step::Nothing,
                Err(_) => Step::Refused,
            },
        }
    }

    pub(super) fn queue(&mut self, names: Option<&BTreeSet<PeerName>>) {
        match (&mut self.slot, names) {
            (Some(Slot::All), _) => {}
            (slot, None) => *slot = Some(Slot::All),
            (Some(Slot::Names(waiting)), Some(names)) => waiting.extend(names),
            (slot @ None, Some(names)) => *slot = Some(Slot::Names(names.clone())),
        }
    }
}

/// Versions a router of Weave Net 2.x offers.
pub(super) const VERSIONS: Header = Header { min: 1, max: 2 };

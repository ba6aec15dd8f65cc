//! Writing states: the bytes that an [`Encoder`] makes of the schema, without values in between.
//!
//! The definitions at the start of a stream are the same each time, and are made once.

use std::sync::LazyLock;

use weave_mesh::gob::{Encoder, StructValue, Value, put_bytes, put_int, put_uint};

use super::schema;
use crate::consensus::{Claims, NodeId, ProposalId, Votes};
use crate::message::State;
use crate::peer::PeerId;
use crate::ring::{Entry, Ring};
use crate::span::Family;

/// Appends the gob stream of a state.
pub(super) fn encode(state: &State, payload: &mut Vec<u8>) {
    let ring = state.ring.as_ref().filter(|ring| !ring.is_empty());
    let family = ring.map_or(Family::V4, |ring| ring.universe().family);
    let start = start_of(family);
    payload.reserve(start.definitions.len() + size_hint(state));
    payload.extend_from_slice(&start.definitions);
    let at = payload.len();
    payload.extend([0; LENGTH]);
    put_int(payload, start.id);
    let mut fields = Fields::of(payload);
    fields.int(state.unix_seconds);
    put_nicknames(fields.next(), state);
    match &state.votes {
        Some(votes) => put_votes(fields.next(), votes),
        None => fields.skip(),
    }
    if let Some(ring) = ring {
        put_ring(fields.next(), ring);
    }
    fields.end();
    let mut length = Vec::with_capacity(9);
    put_uint(&mut length, (payload.len() - at - LENGTH) as u64);
    payload.splice(at..at + LENGTH, length);
}

/// Appends the gob stream of the message that a peer is gone.
pub(super) fn encode_removal(peer: PeerId, payload: &mut Vec<u8>) {
    let fields = [
        ("Paxos", Value::Map(Vec::new())),
        (schema::GONE, Value::Uint(peer.0)),
    ];
    let mut encoder = Encoder::numbering_from(schema::FIRST_STATE_ID);
    encoder
        .value(schema::removal(), &StructValue::new(fields).into())
        .expect("invariant: the value is built to the schema");
    payload.append(&mut encoder.finish());
}

/// How a stream with a state begins.
struct Start {
    definitions: Vec<u8>,
    id: i64,
}

fn start_of(family: Family) -> &'static Start {
    static V4: LazyLock<Start> = LazyLock::new(|| Start::new(Family::V4));
    static V6: LazyLock<Start> = LazyLock::new(|| Start::new(Family::V6));
    match family {
        Family::V4 => &V4,
        Family::V6 => &V6,
    }
}

impl Start {
    fn new(family: Family) -> Self {
        let mut encoder = Encoder::numbering_from(schema::FIRST_STATE_ID);
        let id = encoder.define(schema::state(family));
        let definitions = encoder.finish();
        Self { definitions, id }
    }
}

/// Writes the fields of a struct in order: each present one behind its distance from the last.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
    delta: u8,
}

impl<'o> Fields<'o> {
    const fn of(out: &'o mut Vec<u8>) -> Self {
        Self { out, delta: 1 }
    }

    /// Leaves the next field out.
    const fn skip(&mut self) {
        self.delta += 1;
    }

    /// Where the value of the next field goes.
    fn next(&mut self) -> &mut Vec<u8> {
        self.out.push(std::mem::replace(&mut self.delta, 1));
        self.out
    }

    fn uint(&mut self, value: u64) {
        if value == 0 {
            self.skip();
        } else {
            put_uint(self.next(), value);
        }
    }

    fn int(&mut self, value: i64) {
        if value == 0 {
            self.skip();
        } else {
            put_int(self.next(), value);
        }
    }

    fn address(&mut self, family: Family, number: u128) {
        match family {
            Family::V4 => self.uint(u64::try_from(number).unwrap_or(u64::MAX)),
            Family::V6 => put_bytes(self.next(), &number.to_be_bytes()),
        }
    }

    fn peers(&mut self, peers: &[PeerId]) {
        if peers.is_empty() {
            return self.skip();
        }
        let out = self.next();
        put_uint(out, peers.len() as u64);
        for peer in peers {
            put_uint(out, peer.0);
        }
    }

    fn end(self) {
        self.out.push(0);
    }
}

/// [`Fields`] of a struct that takes less than [`ROOM`] bytes, written to a place of that size:
/// storing a fixed number of bytes and counting some is faster than storing some.
struct ShortFields<'b> {
    bytes: &'b mut [u8; ROOM],
    len: usize,
    delta: u8,
}

/// An address as 18 bytes and three numbers as ten each fit.
const ROOM: usize = 64;

impl<'b> ShortFields<'b> {
    const fn to(bytes: &'b mut [u8; ROOM]) -> Self {
        Self {
            bytes,
            len: 0,
            delta: 1,
        }
    }

    #[inline]
    fn uint(&mut self, value: u64) {
        if value == 0 {
            self.delta += 1;
            return;
        }
        let zeros = value.leading_zeros() / 8;
        let digits = value << (8 * zeros);
        let mut field = [self.delta; 10];
        if value < 0x80 {
            [field[1], ..] = digits.to_be_bytes();
            self.put(field, 2);
        } else {
            [.., field[1]] = zeros.wrapping_sub(8).to_be_bytes();
            field[2..].copy_from_slice(&digits.to_be_bytes());
            self.put(field, 10 - zeros as usize);
        }
    }

    #[inline]
    fn address(&mut self, family: Family, number: u128) {
        match family {
            Family::V4 => self.uint(u64::try_from(number).unwrap_or(u64::MAX)),
            Family::V6 => {
                self.put([self.delta, 16], 2);
                self.put(number.to_be_bytes(), 16);
            }
        }
    }

    /// Puts bytes, and keeps the first `kept` of them.
    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N], kept: usize) {
        if let Some(room) = self.bytes[self.len..].first_chunk_mut() {
            *room = bytes;
            self.len += kept;
            self.delta = 1;
        }
    }

    /// Ends the struct; how many bytes it takes.
    #[inline]
    fn end(mut self) -> usize {
        self.put([0], 1);
        self.len
    }
}

fn put_nicknames(out: &mut Vec<u8>, state: &State) {
    put_uint(out, state.nicknames.len() as u64);
    for (peer, nickname) in &state.nicknames {
        put_uint(out, peer.0);
        put_bytes(out, nickname.as_bytes());
    }
}

fn put_ring(out: &mut Vec<u8>, ring: &Ring) {
    let universe = ring.universe();
    let mut fields = Fields::of(out);
    fields.address(universe.family, universe.span.start());
    fields.address(universe.family, universe.span.end());
    fields.uint(ring.peer().0);
    put_entries(fields.next(), universe.family, ring.entries());
    fields.peers(ring.seeds());
    fields.end();
}

/// Puts entries together on a page, and appends it when it is full.
fn put_entries(out: &mut Vec<u8>, family: Family, entries: &[Entry]) {
    put_uint(out, entries.len() as u64);
    let mut page = [0; 32 * ROOM];
    let mut len = 0;
    for entry in entries {
        if len + ROOM > page.len() {
            out.extend_from_slice(&page[..len]);
            len = 0;
        }
        if let Some(bytes) = page[len..].first_chunk_mut() {
            len += put_entry(bytes, family, entry);
        }
    }
    out.extend_from_slice(&page[..len]);
}

#[inline]
fn put_entry(bytes: &mut [u8; ROOM], family: Family, entry: &Entry) -> usize {
    let mut fields = ShortFields::to(bytes);
    fields.address(family, entry.token);
    fields.uint(entry.peer.0);
    fields.uint(entry.version.into());
    fields.uint(entry.free.into());
    fields.end()
}

fn put_votes(out: &mut Vec<u8>, votes: &Votes) {
    put_uint(out, votes.len() as u64);
    for (node, claims) in votes {
        put_node(out, *node);
        put_claims(out, claims);
    }
}

fn put_claims(out: &mut Vec<u8>, claims: &Claims) {
    let mut fields = Fields::of(out);
    put_proposal(fields.next(), claims.promise);
    put_proposal(fields.next(), claims.accepted);
    let mut value = Fields::of(fields.next());
    value.peers(&claims.value.peers);
    put_proposal(value.next(), claims.value.origin);
    value.end();
    fields.end();
}

fn put_proposal(out: &mut Vec<u8>, proposal: ProposalId) {
    let mut fields = Fields::of(out);
    fields.uint(proposal.round);
    put_node(fields.next(), proposal.proposer);
    fields.end();
}

fn put_node(out: &mut Vec<u8>, node: NodeId) {
    let mut fields = Fields::of(out);
    fields.uint(node.name.0);
    fields.uint(node.uid);
    fields.end();
}

/// Roughly how long a state becomes.
fn size_hint(state: &State) -> usize {
    let names: usize = state.nicknames.values().map(String::len).sum();
    let ring = state.ring.as_ref().map_or(0, |ring| {
        let entry = match ring.universe().family {
            Family::V4 => 24,
            Family::V6 => 38,
        };
        ring.entries().len() * entry + ring.seeds().len() * 8
    });
    names + state.nicknames.len() * 9 + ring + 256
}

/// Room for the length of a message from 64 kB to 16 MB. Others are moved into place.
const LENGTH: usize = 4;

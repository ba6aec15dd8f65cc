//! Reading states whatever types their sender declares: nicknames, votes, ring.
//!
//! Slower than [`super::direct`], which reads what nearly everybody sends; both give the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use weave_mesh::gob::{Decoder, Error, StructValue, Value};

use super::{DecodeError, range, schema};
use crate::consensus::{AcceptedValue, Claims, NodeId, ProposalId, Votes};
use crate::message::{Message, State};
use crate::peer::PeerId;
use crate::ring::{Entry, Ring};
use crate::span::Family;

/// Reads the first value of a gob stream as a state.
pub(super) fn decode(payload: &[u8]) -> Result<State, DecodeError> {
    let value = Decoder::new(payload).next()?.ok_or(Error::Eof)?;
    read(value.as_struct()?)
}

/// Reads the first value of a gob stream as a ring update, or as the message that a peer is gone.
pub(super) fn decode_update(payload: &[u8]) -> Result<Message, DecodeError> {
    let value = Decoder::new(payload).next()?.ok_or(Error::Eof)?;
    let fields = value.as_struct()?;
    let state = read(fields)?;
    let gone = fields.field(schema::GONE).map_or(Ok(0), Value::as_uint)?;
    if gone == 0 || state.ring.is_some() {
        return Ok(Message::RingUpdate(state));
    }
    Ok(Message::Removed(PeerId(gone)))
}

fn read(fields: &StructValue) -> Result<State, DecodeError> {
    fields.require_common_field("gossipState", &["Now", "Nicknames", "Paxos", "Ring"])?;
    let unix_seconds = fields.field("Now").map_or(Ok(0), Value::as_int)?;
    let nicknames = fields.field("Nicknames").map(nicknames).transpose()?;
    let votes = fields.field("Paxos").map(votes).transpose()?;
    let ring = fields.field("Ring").map(ring).transpose()?;
    Ok(State {
        unix_seconds,
        nicknames: nicknames.unwrap_or_default(),
        votes,
        ring: ring.map(Arc::new),
    })
}

fn nicknames(value: &Value) -> Result<BTreeMap<PeerId, String>, Error> {
    let entries = value.as_map()?.iter();
    let entry =
        |(peer, name): &(Value, Value)| Ok((PeerId(peer.as_uint()?), name.as_str()?.to_owned()));
    entries.map(entry).collect()
}

fn votes(value: &Value) -> Result<Votes, Error> {
    let entries = value.as_map()?.iter();
    entries
        .map(|(id, value)| Ok((node(Some(id))?, claims(value)?)))
        .collect()
}

fn claims(value: &Value) -> Result<Claims, Error> {
    let fields = value.as_struct()?;
    fields.require_common_field("NodeClaims", &["Promise", "Accepted", "AcceptedVal"])?;
    Ok(Claims {
        promise: proposal(fields.field("Promise"))?,
        accepted: proposal(fields.field("Accepted"))?,
        value: accepted_value(fields.field("AcceptedVal"))?,
    })
}

fn accepted_value(value: Option<&Value>) -> Result<AcceptedValue, Error> {
    let Some(value) = value else {
        return Ok(AcceptedValue::default());
    };
    let fields = value.as_struct()?;
    fields.require_common_field("AcceptedValue", &["Value", "Origin"])?;
    let peers = peers(fields.field("Value"))?;
    Ok(AcceptedValue {
        peers,
        origin: proposal(fields.field("Origin"))?,
    })
}

fn proposal(value: Option<&Value>) -> Result<ProposalId, Error> {
    let Some(value) = value else {
        return Ok(ProposalId::default());
    };
    let fields = value.as_struct()?;
    fields.require_common_field("ProposalID", &["Round", "Proposer"])?;
    Ok(ProposalId {
        round: uint(fields, "Round")?,
        proposer: node(fields.field("Proposer"))?,
    })
}

fn node(value: Option<&Value>) -> Result<NodeId, Error> {
    let Some(value) = value else {
        return Ok(NodeId::default());
    };
    let fields = value.as_struct()?;
    fields.require_common_field("NodeID", &["Name", "UID"])?;
    Ok(NodeId {
        name: PeerId(uint(fields, "Name")?),
        uid: uint(fields, "UID")?,
    })
}

fn ring(value: &Value) -> Result<Ring, DecodeError> {
    let fields = value.as_struct()?;
    fields.require_common_field("Ring", &["Start", "End", "Peer", "Entries", "Seeds"])?;
    let universe = range::bounds(fields)?;
    let entries = fields
        .field("Entries")
        .map_or(Ok(&[][..]), Value::as_slice)?;
    let entries = entries.iter().map(|value| entry(universe.family, value));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.shrink_to_fit();
    let peer = PeerId(uint(fields, "Peer")?);
    Ok(Ring::from_parts(
        universe,
        peer,
        entries,
        peers(fields.field("Seeds"))?,
    ))
}

fn entry(family: Family, value: &Value) -> Result<Entry, DecodeError> {
    let fields = value.as_struct()?;
    fields.require_common_field("Entry", &["Token", "Peer", "Version", "Free"])?;
    let narrow = |name| -> Result<u32, Error> {
        u32::try_from(uint(fields, name)?).map_err(|_| Error::OutOfRange(name))
    };
    Ok(Entry {
        token: range::number(family, fields, "Token")?,
        peer: PeerId(uint(fields, "Peer")?),
        version: narrow("Version")?,
        free: narrow("Free")?,
    })
}

fn peers(value: Option<&Value>) -> Result<Vec<PeerId>, Error> {
    let list = value.map_or(Ok(&[][..]), Value::as_slice)?;
    list.iter().map(|peer| peer.as_uint().map(PeerId)).collect()
}

fn uint(fields: &StructValue, name: &str) -> Result<u64, Error> {
    fields.field(name).map_or(Ok(0), Value::as_uint)
}

//! States: nicknames, votes, ring.

use std::collections::BTreeMap;
use std::sync::Arc;

use weave_mesh::gob::{Decoder, Encoder, Error, StructValue, Value};

use super::{DecodeError, range, schema};
use crate::consensus::{AcceptedValue, Claims, NodeId, ProposalId, Votes};
use crate::message::State;
use crate::peer::PeerId;
use crate::ring::{Entry, Ring};
use crate::span::Family;

/// Appends the gob stream of a state.
pub(super) fn encode(state: &State, payload: &mut Vec<u8>) {
    let ring = state.ring.as_ref().filter(|ring| !ring.is_empty());
    let family = ring.map_or(Family::V4, |ring| ring.universe().family);
    let nicknames = state.nicknames.iter();
    let nicknames = nicknames.map(|(peer, name)| (Value::Uint(peer.0), name.as_str().into()));
    let mut fields = vec![
        ("Now", Value::Int(state.unix_seconds)),
        ("Nicknames", Value::Map(nicknames.collect())),
    ];
    fields.extend(
        state
            .votes
            .as_ref()
            .map(|votes| ("Paxos", votes_value(votes))),
    );
    fields.extend(ring.map(|ring| ("Ring", ring_value(ring))));
    let mut encoder = Encoder::numbering_from(schema::FIRST_STATE_ID);
    encoder
        .value(schema::state(family), &StructValue::new(fields).into())
        .expect("invariant: the value is built to the schema");
    payload.append(&mut encoder.finish());
}

/// Reads the first value of a gob stream as a state.
pub(super) fn decode(payload: &[u8]) -> Result<State, DecodeError> {
    let value = Decoder::new(payload).next()?.ok_or(Error::Eof)?;
    let fields = value.as_struct()?;
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

// ===== to gob =====

fn ring_value(ring: &Ring) -> Value {
    let universe = ring.universe();
    let address = |number| range::address(universe.family, number);
    let entry = |entry: &Entry| {
        let fields = [
            ("Token", address(entry.token)),
            ("Peer", Value::Uint(entry.peer.0)),
            ("Version", Value::Uint(entry.version.into())),
            ("Free", Value::Uint(entry.free.into())),
        ];
        StructValue::new(fields).into()
    };
    let fields = [
        ("Start", address(universe.span.start())),
        ("End", address(universe.span.end())),
        ("Peer", Value::Uint(ring.peer().0)),
        (
            "Entries",
            Value::Slice(ring.entries().iter().map(entry).collect()),
        ),
        ("Seeds", peers_value(ring.seeds())),
    ];
    StructValue::new(fields).into()
}

fn votes_value(votes: &Votes) -> Value {
    let entries = votes
        .iter()
        .map(|(node, claims)| (node_value(*node), claims_value(claims)));
    Value::Map(entries.collect())
}

fn claims_value(claims: &Claims) -> Value {
    let value = [
        ("Value", peers_value(&claims.value.peers)),
        ("Origin", proposal_value(claims.value.origin)),
    ];
    let fields = [
        ("Promise", proposal_value(claims.promise)),
        ("Accepted", proposal_value(claims.accepted)),
        ("AcceptedVal", StructValue::new(value).into()),
    ];
    StructValue::new(fields).into()
}

fn proposal_value(proposal: ProposalId) -> Value {
    let fields = [
        ("Round", Value::Uint(proposal.round)),
        ("Proposer", node_value(proposal.proposer)),
    ];
    StructValue::new(fields).into()
}

fn node_value(node: NodeId) -> Value {
    StructValue::new([
        ("Name", Value::Uint(node.name.0)),
        ("UID", Value::Uint(node.uid)),
    ])
    .into()
}

fn peers_value(peers: &[PeerId]) -> Value {
    Value::Slice(peers.iter().map(|peer| Value::Uint(peer.0)).collect())
}

// ===== from gob =====

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
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
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

//! The values Weave Net keeps, to and from our state.
//!
//! Each value is a gob stream of one value (Weave Net address manager, sections "Persistence" and
//! "Types"): `peername`, `ring`, `ownedAddresses`, `directPeers`; `version` is two raw bytes.
//! Ranges and addresses are IPv4 there, so an IPv6 allocator has no ring and no addresses in them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use weave_ipam::{Holding, PeerId, Snapshot, SnapshotEntry, SnapshotRing};
use weave_mesh::gob::{Decoder, Encoder, Error, StructValue, Type, Value};
use weave_mesh::peer::PeerName;

use super::State;
use super::bolt::Values;

/// Why Weave Net's values cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// The values are of a version nobody knows.
    #[error("its version is {0:?}, not [1, 0]")]
    Version(Vec<u8>),
    /// A value is not what its key says.
    #[error("its value {key:?} cannot be read: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Puts `state` into `values` as Weave Net reads it.
///
/// # Errors
/// A value is more than its encoding can hold.
pub(super) fn store(state: &State, values: &mut Values) -> Result<(), Error> {
    values.insert(VERSION.into(), VERSION_1.to_vec());
    let name: Option<PeerName> = state.peer_name.parse().ok();
    let name = name.map(u64::from).map(Value::Uint);
    put(values, PEER_NAME, &Type::Uint, name)?;
    let peers = state.peers.iter().map(|peer| Value::from(peer.as_str()));
    let peers = Value::Slice(peers.collect());
    put(
        values,
        DIRECT_PEERS,
        &Type::slice("[]string", Type::String),
        Some(peers),
    )?;
    let ipam = state.ipam.as_ref();
    put(values, RING, &ring_type(), ipam.and_then(ring))?;
    put(values, OWNED, &owned_type(), ipam.map(owned))
}

/// The state in `values`; `None` when no daemon has written any yet.
///
/// # Errors
/// Some value is not what its key says.
pub(super) fn load(values: &Values) -> Result<Option<State>, Unusable> {
    if let Some(version) = values.get(VERSION.as_bytes())
        && version.first() != VERSION_1.first()
    {
        return Err(Unusable::Version(version.clone()));
    }
    let Some(name) = read(values, PEER_NAME, peer_name)? else {
        return Ok(None);
    };
    let peers = read(values, DIRECT_PEERS, texts)?.unwrap_or_default();
    let owned = read(values, OWNED, holdings)?.unwrap_or_default();
    let ring = read(values, RING, parse_ring)?.flatten();
    let ipam = ring.map(|(universe, peer, ring)| {
        let mut snapshot = Snapshot::new(universe, peer);
        snapshot.ring = Some(ring);
        snapshot.owned = owned.into_iter().collect();
        snapshot
    });
    Ok(Some(State {
        range: ipam.as_ref().map(|snapshot| snapshot.universe),
        ipam,
        peers,
        ..State::new(&name.to_string())
    }))
}

/// The flag called `name`, a text that scripts keep beside the state.
///
/// # Errors
/// The value is no text.
pub(super) fn flag(values: &Values, name: &str) -> Result<Option<String>, Unusable> {
    let Some(bytes) = values.get(flag_key(name).as_bytes()) else {
        return Ok(None);
    };
    let value = Decoder::new(bytes).next().map_err(text).and_then(|value| {
        let value = value.ok_or_else(|| "it is empty".to_owned())?;
        Ok(value.as_str().map_err(text)?.to_owned())
    });
    let key = "flag";
    value
        .map(Some)
        .map_err(|reason| Unusable::Value { key, reason })
}

/// Sets the flag called `name`.
pub(super) fn set_flag(values: &mut Values, name: &str, value: &str) {
    let mut encoder = Encoder::new();
    encoder
        .value(&Type::String, &Value::from(value))
        .expect("invariant: a text is always a gob of its type");
    values.insert(flag_key(name).into(), encoder.finish());
}

fn flag_key(name: &str) -> String {
    format!("flag:{name}")
}

fn put(values: &mut Values, key: &str, ty: &Type, value: Option<Value>) -> Result<(), Error> {
    let Some(value) = value else {
        values.remove(key.as_bytes());
        return Ok(());
    };
    let mut encoder = Encoder::new();
    encoder.value(ty, &value)?;
    values.insert(key.into(), encoder.finish());
    Ok(())
}

fn read<T>(
    values: &Values,
    key: &'static str,
    parse: fn(&Value) -> Result<T, String>,
) -> Result<Option<T>, Unusable> {
    let Some(bytes) = values.get(key.as_bytes()) else {
        return Ok(None);
    };
    let value = Decoder::new(bytes).next().map_err(text).and_then(|value| {
        let value = value.ok_or_else(|| "it is empty".to_owned())?;
        parse(&value)
    });
    value
        .map(Some)
        .map_err(|reason| Unusable::Value { key, reason })
}

// ===== ring =====

fn ring(snapshot: &Snapshot) -> Option<Value> {
    let (IpNet::V4(universe), Some(ring)) = (snapshot.universe, &snapshot.ring) else {
        return None;
    };
    let start = u64::from(u32::from(universe.network()));
    let end = start + (1 << (32 - universe.prefix_len()));
    let entry = |entry: &SnapshotEntry| match entry.token {
        IpAddr::V4(token) => Some(Value::Struct(StructValue::new([
            ("Token", Value::Uint(u32::from(token).into())),
            ("Peer", Value::Uint(entry.peer.into())),
            ("Version", Value::Uint(entry.version.into())),
            ("Free", Value::Uint(entry.free.into())),
        ]))),
        IpAddr::V6(_) => None,
    };
    let seeds = ring.seeds.iter().map(|seed| Value::Uint((*seed).into()));
    Some(Value::Struct(StructValue::new([
        ("Start", Value::Uint(start)),
        ("End", Value::Uint(end)),
        ("Peer", Value::Uint(snapshot.peer.into())),
        (
            "Entries",
            Value::Slice(ring.entries.iter().filter_map(entry).collect()),
        ),
        ("Seeds", Value::Slice(seeds.collect())),
    ])))
}

/// Universe, holder and ring; nothing when the ring has no entries.
fn parse_ring(value: &Value) -> Result<Option<(IpNet, PeerId, SnapshotRing)>, String> {
    let address = |value: u64| u32::try_from(value).map(Ipv4Addr::from).map_err(text);
    let start = uint(value, "Start")?;
    let size = uint(value, "End")?.wrapping_sub(start);
    let mut entries = Vec::new();
    for entry in list(value, "Entries")? {
        entries.push(SnapshotEntry::new(
            address(uint(entry, "Token")?)?.into(),
            PeerId(uint(entry, "Peer")?),
            u32::try_from(uint(entry, "Version")?).map_err(text)?,
            u32::try_from(uint(entry, "Free")?).map_err(text)?,
        ));
    }
    if entries.is_empty() {
        return Ok(None);
    }
    let length = (0..=32).find(|length| 1_u64 << (32 - u32::from(*length)) == size);
    let universe = length.and_then(|length| Ipv4Net::new(address(start).ok()?, length).ok());
    let universe = universe
        .filter(|universe| universe.addr() == universe.network())
        .ok_or_else(|| "its range is no subnet".to_owned())?;
    let seeds = list(value, "Seeds")?;
    let seeds: Result<Vec<PeerId>, Error> = seeds
        .iter()
        .map(|seed| Ok(PeerId(seed.as_uint()?)))
        .collect();
    let ring = SnapshotRing::new(seeds.map_err(text)?, entries);
    Ok(Some((universe.into(), PeerId(uint(value, "Peer")?), ring)))
}

// ===== addresses =====

fn owned(snapshot: &Snapshot) -> Value {
    let cidr = |address: &IpNet| match address {
        IpNet::V4(address) => Some(Value::Struct(StructValue::new([
            ("Addr", Value::Uint(u32::from(address.addr()).into())),
            ("PrefixLen", Value::Int(address.prefix_len().into())),
        ]))),
        IpNet::V6(_) => None,
    };
    let holding = |(ident, holding): (&String, &Holding)| {
        let cidrs: Vec<Value> = holding.addresses.iter().filter_map(cidr).collect();
        (!cidrs.is_empty()).then(|| {
            let fields = [
                ("IsContainer", Value::Bool(holding.is_container)),
                ("Cidrs", Value::Slice(cidrs)),
            ];
            (
                Value::from(ident.as_str()),
                Value::Struct(StructValue::new(fields)),
            )
        })
    };
    Value::Map(snapshot.owned.iter().filter_map(holding).collect())
}

fn holdings(value: &Value) -> Result<Vec<(String, Holding)>, String> {
    let mut holdings = Vec::new();
    for (ident, held) in value.as_map().map_err(text)? {
        let is_container = held.field("IsContainer").map_err(text)?;
        let is_container = is_container
            .map_or(Ok(false), Value::as_bool)
            .map_err(text)?;
        let mut addresses = Vec::new();
        for cidr in list(held, "Cidrs")? {
            let address = u32::try_from(uint(cidr, "Addr")?).map_err(text)?;
            let length = cidr.field("PrefixLen").map_err(text)?;
            let length = length.map_or(Ok(0), Value::as_int).map_err(text)?;
            let length = u8::try_from(length).map_err(text)?;
            let cidr = Ipv4Net::new(address.into(), length).map_err(text)?;
            addresses.push(IpNet::V4(cidr));
        }
        let ident = ident.as_str().map_err(text)?.to_owned();
        holdings.push((ident, Holding::new(is_container, addresses)));
    }
    Ok(holdings)
}

// ===== small values =====

fn peer_name(value: &Value) -> Result<PeerName, String> {
    let number = value.as_uint().map_err(text)?;
    PeerName::try_from(number).map_err(text)
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let texts: Result<Vec<String>, Error> = value.as_slice().and_then(|list| {
        list.iter()
            .map(|text| Ok(text.as_str()?.to_owned()))
            .collect()
    });
    texts.map_err(text)
}

/// An unsigned field; one that is left out is zero.
fn uint(value: &Value, name: &str) -> Result<u64, String> {
    let field = value.field(name).map_err(text)?;
    field.map_or(Ok(0), Value::as_uint).map_err(text)
}

/// A list field; one that is left out is empty.
fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], String> {
    let field = value.field(name).map_err(text)?;
    field.map_or(Ok(&[][..]), Value::as_slice).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn ring_type() -> Type {
    let fields = ["Token", "Peer", "Version", "Free"].map(|name| (name, Type::Uint));
    let entries = Type::slice("entries", Type::structure("", fields));
    Type::structure(
        "Ring",
        [
            ("Start", Type::Uint),
            ("End", Type::Uint),
            ("Peer", Type::Uint),
            ("Entries", entries),
            ("Seeds", Type::slice("[]mesh.PeerName", Type::Uint)),
        ],
    )
}

fn owned_type() -> Type {
    let cidr = Type::structure("CIDR", [("Addr", Type::Uint), ("PrefixLen", Type::Int)]);
    let cidrs = Type::slice("[]address.CIDR", cidr);
    let holding = Type::structure("", [("IsContainer", Type::Bool), ("Cidrs", cidrs)]);
    Type::map("", Type::String, holding)
}

const VERSION: &str = "version";
const PEER_NAME: &str = "peername";
const RING: &str = "ring";
const OWNED: &str = "ownedAddresses";
const DIRECT_PEERS: &str = "directPeers";
/// Major and minor version of Weave Net's values.
const VERSION_1: [u8; 2] = [1, 0];

#[cfg(test)]
mod tests;

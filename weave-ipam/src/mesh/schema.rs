//! The gob types of the channel, with the names and in the order the reference declares them.
//!
//! ```text
//! gossipState { Now int, Nicknames map[uint]string, Paxos map[NodeID]NodeClaims, Ring *Ring }
//! NodeID      { Name, UID uint }
//! NodeClaims  { Promise, Accepted ProposalID, AcceptedVal AcceptedValue }
//! ProposalID  { Round uint, Proposer NodeID }
//! AcceptedValue { Value []uint, Origin ProposalID }
//! Ring        { Start, End address, Peer uint, Entries []*Entry, Seeds []uint }
//! Entry       { Token address, Peer, Version, Free uint }
//! Range       { Start, End address }
//! ```
//!
//! One message is ours: that a peer is gone. It is a state without a ring, with votes, though none,
//! and a field that Weave Net skips.
//!
//! ```text
//! gossipState { Paxos map[NodeID]NodeClaims, Gone uint }
//! ```

use std::sync::LazyLock;

use weave_mesh::gob::Type;

use crate::span::Family;

/// The ids of the first type in a stream, of a state and of a range. Readers go by the definitions;
/// these are the numbers from which the reference counts, so that messages come out with the same
/// bytes.
pub(super) const FIRST_STATE_ID: u32 = 64;
pub(super) const FIRST_RANGE_ID: u32 = 76;

/// The type of a state.
pub(super) fn state(family: Family) -> &'static Type {
    static V4: LazyLock<Type> = LazyLock::new(|| state_of(&Type::Uint));
    static V6: LazyLock<Type> = LazyLock::new(|| state_of(&Type::Bytes));
    match family {
        Family::V4 => &V4,
        Family::V6 => &V6,
    }
}

/// The type of a range.
pub(super) fn range(family: Family) -> &'static Type {
    static V4: LazyLock<Type> = LazyLock::new(|| range_of(&Type::Uint));
    static V6: LazyLock<Type> = LazyLock::new(|| range_of(&Type::Bytes));
    match family {
        Family::V4 => &V4,
        Family::V6 => &V6,
    }
}

/// The type of the message that a peer is gone.
pub(super) fn removal() -> &'static Type {
    static TYPE: LazyLock<Type> = LazyLock::new(|| {
        let fields = [("Paxos", votes()), (GONE, Type::Uint)];
        Type::structure("gossipState", fields)
    });
    &TYPE
}

/// The field that names a peer that is gone.
pub(super) const GONE: &str = "Gone";

fn state_of(address: &Type) -> Type {
    let nicknames = Type::map("map[mesh.PeerName]string", Type::Uint, Type::String);
    let fields = [
        ("Now", Type::Int),
        ("Nicknames", nicknames),
        ("Paxos", votes()),
        ("Ring", ring_of(address)),
    ];
    Type::structure("gossipState", fields)
}

fn ring_of(address: &Type) -> Type {
    let entry = [
        ("Token", address.clone()),
        ("Peer", Type::Uint),
        ("Version", Type::Uint),
        ("Free", Type::Uint),
    ];
    let fields = [
        ("Start", address.clone()),
        ("End", address.clone()),
        ("Peer", Type::Uint),
        (
            "Entries",
            Type::slice("entries", Type::structure("", entry)),
        ),
        ("Seeds", Type::slice("[]mesh.PeerName", Type::Uint)),
    ];
    Type::structure("Ring", fields)
}

fn range_of(address: &Type) -> Type {
    Type::structure(
        "Range",
        [("Start", address.clone()), ("End", address.clone())],
    )
}

fn votes() -> Type {
    Type::map("GossipState", node(), claims())
}

fn node() -> Type {
    Type::structure("", [("Name", Type::Uint), ("UID", Type::Uint)])
}

fn proposal() -> Type {
    Type::structure("ProposalID", [("Round", Type::Uint), ("Proposer", node())])
}

fn claims() -> Type {
    let value = [
        ("Value", Type::slice("Value", Type::Uint)),
        ("Origin", proposal()),
    ];
    let fields = [
        ("Promise", proposal()),
        ("Accepted", proposal()),
        ("AcceptedVal", Type::structure("AcceptedValue", value)),
    ];
    Type::structure("", fields)
}

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

fn state_of(address: &Type) -> Type {
    let nicknames = Type::map("map[mesh.PeerName]string", Type::Uint, Type::String);
    let votes = Type::map("GossipState", node(), claims());
    let fields = [
        ("Now", Type::Int),
        ("Nicknames", nicknames),
        ("Paxos", votes),
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

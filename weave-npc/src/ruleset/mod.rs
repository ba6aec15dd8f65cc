//! Rulesets of `nf_tables` as plain values: built, printed, compared and walked without a kernel.
//!
//! A [`Ruleset`] is a set of [`Table`]s with [`Chain`]s of [`Rule`]s and [`Set`]s. It knows nothing
//! of policies. [`Ruleset::check`] says whether the kernel can take it, `Display` prints it as `nft`
//! reads it, [`Ruleset::diff`] gives the smallest [`Transaction`] from one to another and [`Walk`]
//! decides what happens to a packet.
//!
//! Invariant: everything is ordered by name or position, so equal contents are equal values and
//! print equally. Chains and sets are shared ([`Arc`]): what did not change between two rulesets is
//! recognised by its address and costs nothing to compare.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

mod apply;
mod chain;
mod check;
mod diff;
mod edit;
mod field;
mod name;
mod packet;
mod render;
mod rule;
mod set;
mod value;
mod walk;

pub use apply::ApplyError;
pub use chain::{Base, Chain, ChainType, Hook, Policy};
pub use check::{Fault, Invalid};
pub use diff::{Change, Transaction};
pub use field::Field;
#[cfg(feature = "netlink")]
pub(crate) use field::Need;
pub use name::{Comment, IfName, Name, NameError};
pub use packet::{Packet, Payload, Transport};
pub use rule::{
    Limit, Log, MarkChange, Match, NatFlags, NatTarget, Operand, Reject, Rule, SetRef, Statement,
    Unit,
};
pub use set::{DataType, Datum, Entry, Set, Verdict};
pub use value::{CtState, CtStatus, Direction, FibType, Key, NfProto, PktType, Span, Type, Value};
pub use walk::{Deed, Fate, Outcome, Step, Walk};

/// Some tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables by family and name.
    pub tables: BTreeMap<TableId, Table>,
}

impl Ruleset {
    /// No table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a table, in place of one with the same family and name.
    #[must_use]
    pub fn with(mut self, id: TableId, table: Table) -> Self {
        self.tables.insert(id, table);
        self
    }
}

/// What a table is called by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId {
    /// Which packets it sees.
    pub family: Family,
    /// Its name.
    pub name: Name,
}

impl TableId {
    /// A table of a family.
    pub fn new(family: Family, name: Name) -> Self {
        Self { family, name }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family.as_str(), self.name)
    }
}

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// IPv4 and IPv6.
    Inet,
    /// Frames that a bridge handles.
    Bridge,
    /// Frames at one device.
    Netdev,
}

impl Family {
    /// The name in `nft` syntax.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
        }
    }

    /// True where frames, not packets, are filtered.
    pub const fn is_link_layer(self) -> bool {
        matches!(self, Self::Bridge | Self::Netdev)
    }
}

/// Chains and sets that belong together; rules use sets and chains of their own table only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The sets and maps by name.
    pub sets: BTreeMap<Name, Arc<Set>>,
    /// The chains by name.
    pub chains: BTreeMap<Name, Arc<Chain>>,
}

impl Table {
    /// A table without chains and sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a chain, in place of one with the same name.
    pub fn add_chain(&mut self, name: Name, chain: impl Into<Arc<Chain>>) {
        self.chains.insert(name, chain.into());
    }

    /// Adds a set or map, in place of one with the same name.
    pub fn add_set(&mut self, name: Name, set: impl Into<Arc<Set>>) {
        self.sets.insert(name, set.into());
    }

    /// A set to be changed in place; it is copied first if somebody else holds it.
    pub fn set_mut(&mut self, name: &str) -> Option<&mut Set> {
        self.sets.get_mut(name).map(Arc::make_mut)
    }

    /// A chain to be changed in place; it is copied first if somebody else holds it.
    pub fn chain_mut(&mut self, name: &str) -> Option<&mut Chain> {
        self.chains.get_mut(name).map(Arc::make_mut)
    }
}

//! The way from one ruleset to another: an ordered list of [`Change`]s, as few as possible.
//!
//! Invariant: `apply(diff(a, b), a) = b`, and every prefix of the list leaves no reference to a
//! chain or set that is not there, which is what the kernel asks of a batch.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::chain::{Base, Chain, Policy};
use super::edit::{Edit, edits};
use super::name::Name;
use super::rule::{Rule, SetRef, Statement};
use super::set::{Datum, Entry, Set, Verdict};
use super::value::Key;
use super::{Ruleset, Table, TableId};

/// Changes that take effect together and in this order.
///
/// [`Ruleset::diff`] makes one; a caller that knows what changed may also list the changes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The changes.
    pub changes: Vec<Change>,
}

impl Transaction {
    /// True if nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A table comes, without chains and sets.
    AddTable(TableId),
    /// A table goes with all that is in it.
    DeleteTable(TableId),
    /// A chain comes, without rules.
    AddChain {
        /// Its table.
        table: TableId,
        /// Its name.
        chain: Name,
        /// Where the kernel enters it.
        base: Option<Base>,
    },
    /// The policy of a base chain becomes that of `base`.
    SetPolicy {
        /// Its table.
        table: TableId,
        /// Its name.
        chain: Name,
        /// The base with the policy; nothing else differs from what the chain has.
        base: Base,
    },
    /// A chain loses all rules.
    FlushChain {
        /// Its table.
        table: TableId,
        /// Its name.
        chain: Name,
    },
    /// A chain goes; it has no rules and nothing leads to it.
    DeleteChain {
        /// Its table.
        table: TableId,
        /// Its name.
        chain: Name,
    },
    /// A set comes with its elements.
    AddSet {
        /// Its table.
        table: TableId,
        /// Its name.
        set: Name,
        /// What it is and holds.
        value: Arc<Set>,
    },
    /// A set goes with its elements; no rule uses it.
    DeleteSet {
        /// Its table.
        table: TableId,
        /// Its name.
        set: Name,
    },
    /// Elements come; none of their keys is there.
    AddElements {
        /// The table of the set.
        table: TableId,
        /// The set.
        set: Name,
        /// [`Set::is_interval`] of the set.
        is_interval: bool,
        /// The elements.
        elements: Vec<(Key, Entry)>,
    },
    /// Elements go; they are there.
    DeleteElements {
        /// The table of the set.
        table: TableId,
        /// The set.
        set: Name,
        /// [`Set::is_interval`] of the set.
        is_interval: bool,
        /// Their keys.
        keys: Vec<Key>,
    },
    /// A rule comes; the one that has its index, and those behind, move back.
    InsertRule {
        /// The table of the chain.
        table: TableId,
        /// The chain.
        chain: Name,
        /// Its place, from 0 to the number of rules.
        index: usize,
        /// The rule.
        rule: Rule,
    },
    /// A rule goes; those behind move up.
    DeleteRule {
        /// The table of the chain.
        table: TableId,
        /// The chain.
        chain: Name,
        /// Its place.
        index: usize,
    },
}

/// The object that changes, for example `table inet weave chain forward rule 3`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable(id) | Self::DeleteTable(id) => write!(f, "table {id}"),
            Self::AddChain { table, chain, .. }
            | Self::SetPolicy { table, chain, .. }
            | Self::FlushChain { table, chain }
            | Self::DeleteChain { table, chain } => write!(f, "table {table} chain {chain}"),
            Self::AddSet { table, set, .. } | Self::DeleteSet { table, set } => {
                write!(f, "table {table} set {set}")
            }
            Self::AddElements {
                table,
                set,
                elements,
                ..
            } => {
                write!(
                    f,
                    "table {table} set {set}: one of {} elements",
                    elements.len()
                )
            }
            Self::DeleteElements {
                table, set, keys, ..
            } => {
                write!(f, "table {table} set {set}: one of {} elements", keys.len())
            }
            Self::InsertRule {
                table,
                chain,
                index,
                ..
            }
            | Self::DeleteRule {
                table,
                chain,
                index,
            } => {
                write!(f, "table {table} chain {chain} rule {index}")
            }
        }
    }
}

impl Ruleset {
    /// The changes that make `new` of `old`.
    ///
    /// Elements and rules that are in both stay, with their counters. Both rulesets must pass
    /// [`Ruleset::check`], or the order of changes means nothing. Chains and sets that both share
    /// (the same [`Arc`]) cost one comparison of addresses.
    #[must_use]
    pub fn diff(old: &Self, new: &Self) -> Transaction {
        let mut changes = Vec::new();
        for id in old.tables.keys().filter(|id| !new.tables.contains_key(*id)) {
            changes.push(Change::DeleteTable(id.clone()));
        }
        let nothing = Table::new();
        for (id, table) in &new.tables {
            let before = old.tables.get(id);
            if before.is_none() {
                changes.push(Change::AddTable(id.clone()));
            }
            TableDiff::new(id, before.unwrap_or(&nothing), table).run(&mut changes);
        }
        Transaction { changes }
    }
}

// ===== one table =====

struct TableDiff<'a> {
    id: &'a TableId,
    old: &'a Table,
    new: &'a Table,
    /// Sets that stay by name but change what they are: gone and made again.
    retyped: BTreeSet<&'a Name>,
    /// Chains that stay by name but move to another place: gone and made again.
    rebased: BTreeSet<&'a Name>,
}

impl<'a> TableDiff<'a> {
    fn new(id: &'a TableId, old: &'a Table, new: &'a Table) -> Self {
        let retyped = old
            .sets
            .iter()
            .filter(|(name, set)| {
                new.sets
                    .get(*name)
                    .is_some_and(|other| !set.has_type_of(other))
            })
            .map(|(name, _)| name)
            .collect();
        let rebased = old
            .chains
            .iter()
            .filter(|(name, chain)| {
                new.chains
                    .get(*name)
                    .is_some_and(|other| !chain.stays_at(other))
            })
            .map(|(name, _)| name)
            .collect();
        Self {
            id,
            old,
            new,
            retyped,
            rebased,
        }
    }

    fn run(&self, changes: &mut Vec<Change>) {
        let mut inserts = Vec::new();
        self.rules(changes, &mut inserts);
        let mut arrivals = Vec::new();
        self.elements(changes, &mut arrivals);
        self.departures(changes);
        self.chains(changes);
        self.sets(changes);
        changes.append(&mut arrivals);
        changes.append(&mut inserts);
    }

    /// Rules that go, at once; rules that come, for later.
    fn rules(&self, changes: &mut Vec<Change>, inserts: &mut Vec<Change>) {
        for (name, chain) in &self.old.chains {
            if (!self.new.chains.contains_key(name) || self.rebased.contains(name))
                && !chain.rules.is_empty()
            {
                changes.push(Change::FlushChain {
                    table: self.id.clone(),
                    chain: name.clone(),
                });
            }
        }
        for (name, chain) in &self.new.chains {
            let before = self
                .old
                .chains
                .get(name)
                .filter(|_| !self.rebased.contains(name));
            let old = match before {
                Some(before) if Arc::ptr_eq(before, chain) && self.is_steady() => continue,
                Some(before) => before.rules.as_slice(),
                None => &[],
            };
            for edit in edits(old, &chain.rules, |a, b| a == b && !self.is_shaken(a)) {
                match edit {
                    Edit::Delete(index) => changes.push(Change::DeleteRule {
                        table: self.id.clone(),
                        chain: name.clone(),
                        index,
                    }),
                    Edit::Insert(index) => inserts.push(Change::InsertRule {
                        table: self.id.clone(),
                        chain: name.clone(),
                        index,
                        rule: chain.rules[index].clone(),
                    }),
                }
            }
        }
    }

    fn elements(&self, changes: &mut Vec<Change>, arrivals: &mut Vec<Change>) {
        for (name, set) in &self.new.sets {
            let Some(before) = self
                .old
                .sets
                .get(name)
                .filter(|_| !self.retyped.contains(name))
            else {
                continue;
            };
            if Arc::ptr_eq(before, set) && self.rebased.is_empty() {
                continue;
            }
            let stays = |entry: &Entry, other: Option<&Entry>| {
                other == Some(entry) && !entry.target().is_some_and(|to| self.rebased.contains(to))
            };
            let keys: Vec<Key> = before
                .elements
                .iter()
                .filter(|(key, entry)| !stays(entry, set.elements.get(*key)))
                .map(|(key, _)| key.clone())
                .collect();
            let elements: Vec<(Key, Entry)> = set
                .elements
                .iter()
                .filter(|(key, entry)| !stays(entry, before.elements.get(*key)))
                .map(|(key, entry)| (key.clone(), entry.clone()))
                .collect();
            let (table, set, is_interval) = (self.id, name, set.is_interval);
            if !keys.is_empty() {
                let (table, set) = (table.clone(), set.clone());
                changes.push(Change::DeleteElements {
                    table,
                    set,
                    is_interval,
                    keys,
                });
            }
            if !elements.is_empty() {
                let (table, set) = (table.clone(), set.clone());
                arrivals.push(Change::AddElements {
                    table,
                    set,
                    is_interval,
                    elements,
                });
            }
        }
    }

    fn departures(&self, changes: &mut Vec<Change>) {
        for name in self.old.sets.keys() {
            if !self.new.sets.contains_key(name) || self.retyped.contains(name) {
                changes.push(Change::DeleteSet {
                    table: self.id.clone(),
                    set: name.clone(),
                });
            }
        }
        for name in self.old.chains.keys() {
            if !self.new.chains.contains_key(name) || self.rebased.contains(name) {
                changes.push(Change::DeleteChain {
                    table: self.id.clone(),
                    chain: name.clone(),
                });
            }
        }
    }

    fn chains(&self, changes: &mut Vec<Change>) {
        for (name, chain) in &self.new.chains {
            let (table, base) = (self.id.clone(), chain.base.clone());
            match (self.old.chains.get(name), base) {
                (Some(old), Some(base)) if !self.rebased.contains(name) => {
                    if old.base.as_ref() != Some(&base) {
                        changes.push(Change::SetPolicy {
                            table,
                            chain: name.clone(),
                            base,
                        });
                    }
                }
                (Some(_), None) if !self.rebased.contains(name) => {}
                (_, base) => changes.push(Change::AddChain {
                    table,
                    chain: name.clone(),
                    base,
                }),
            }
        }
    }

    fn sets(&self, changes: &mut Vec<Change>) {
        for (name, set) in &self.new.sets {
            if !self.old.sets.contains_key(name) || self.retyped.contains(name) {
                let (table, value) = (self.id.clone(), Arc::clone(set));
                changes.push(Change::AddSet {
                    table,
                    set: name.clone(),
                    value,
                });
            }
        }
    }

    fn is_steady(&self) -> bool {
        self.retyped.is_empty() && self.rebased.is_empty()
    }

    /// True if the rule has to be made again although it says the same: what it names is made again.
    fn is_shaken(&self, rule: &Rule) -> bool {
        !self.is_steady()
            && rule.statements().iter().any(|statement| {
                let set = match statement.set() {
                    Some(SetRef::Named(name)) => self.retyped.contains(name),
                    Some(SetRef::Anonymous(set)) => set
                        .elements
                        .values()
                        .any(|entry| entry.target().is_some_and(|to| self.rebased.contains(to))),
                    None => false,
                };
                set || matches!(statement, Statement::Verdict(verdict)
                    if verdict.target().is_some_and(|to| self.rebased.contains(to)))
            })
    }
}

impl Set {
    fn has_type_of(&self, other: &Self) -> bool {
        (&self.key, self.data, self.is_interval, self.has_timeout)
            == (&other.key, other.data, other.is_interval, other.has_timeout)
    }
}

impl Chain {
    /// True if this chain can become `other` without being made again: only a policy may change.
    fn stays_at(&self, other: &Self) -> bool {
        match (&self.base, &other.base) {
            (Some(old), Some(new)) => {
                old.clone().policy(Policy::Accept) == new.clone().policy(Policy::Accept)
            }
            (None, None) => true,
            _ => false,
        }
    }
}

impl Entry {
    /// The chain that the element leads to.
    pub(super) fn target(&self) -> Option<&Name> {
        match &self.data {
            Some(Datum::Verdict(verdict)) => Verdict::target(verdict),
            _ => None,
        }
    }
}

//! The tables of `iptables`, legacy back end, without that program.
//!
//! [`Table`] is a table as a value: chains of rules whose jumps are names, not offsets. It is read
//! from the kernel whole, edited, and written back whole, as the kernel wants it. Invariant: what is
//! read and written back unchanged is the same table, counters included, whatever matches and
//! targets it has (the notes the kernel makes for itself are not written); nothing of a rule is
//! interpreted but interfaces, comment and verdict.
//!
//! Two programs that replace a table at once would undo each other's changes, so a change holds the
//! lock all `iptables` programs take, [`LOCK`]. A table that no program has used does not exist yet;
//! reading it would create it, so [`names`] says which there are.
//!
//! Source of layouts and numbers: `linux/netfilter_ipv4/ip_tables.h`,
//! `linux/netfilter_ipv6/ip6_tables.h`, `linux/netfilter/x_tables.h`.

mod blob;
mod layout;
mod rule;
mod socket;
mod sys;

#[cfg(test)]
mod tests;

pub use self::{
    layout::Protocol,
    rule::{Accept, Extension, Interface, Rule, Target, conntrack_replies},
    socket::{Fingerprint, LOCK, Tables, names},
};

/// A table: its built-in chains first, then those of programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Name: `filter`, `nat`, `mangle`.
    pub name: String,
    /// Which packets it is about.
    pub protocol: Protocol,
    /// The chains in kernel order.
    pub chains: Vec<Chain>,
    valid_hooks: u32,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Name.
    pub name: String,
    /// What a built-in chain does with packets no rule decides; `None` for other chains.
    pub policy: Option<Policy>,
    /// The rules in order, without the final one that is the policy or the return.
    pub rules: Vec<Rule>,
}

/// The policy of a built-in chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether packets are dropped.
    pub drops: bool,
    /// Packets and bytes it decided.
    pub counters: Counters,
    verdict: i32,
    hook: usize,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Table {
    /// The chain of this name.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The chain of this name, to edit its rules.
    pub fn chain_mut(&mut self, name: &str) -> Option<&mut Chain> {
        self.chains.iter_mut().find(|chain| chain.name == name)
    }

    /// Removes chains that are not built in, and every rule that jumps to one of them; `true` when
    /// there was something to remove.
    pub fn remove_chains(&mut self, unwanted: impl Fn(&str) -> bool) -> bool {
        let before = self.clone();
        self.chains
            .retain(|chain| chain.policy.is_some() || !unwanted(&chain.name));
        for chain in &mut self.chains {
            chain.rules.retain(|rule| match &rule.target {
                Target::Jump(to) => !unwanted(to),
                _ => true,
            });
        }
        *self != before
    }

    /// How many rules there are.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.chains.iter().map(|chain| chain.rules.len()).sum()
    }
}

/// Why a table cannot be read or changed. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel has no legacy tables, or this is no 64-bit system.
    #[error("this kernel has no legacy iptables")]
    Absent,
    /// The kernel refused.
    #[error("cannot {operation} the legacy iptables table {table}: {source}")]
    Refused {
        /// What was to be done.
        operation: &'static str,
        /// The table.
        table: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What the kernel gave is not understood; nothing was written.
    #[error("the legacy iptables table {table} is not understood at byte {offset}: {what}")]
    Malformed {
        /// The table.
        table: String,
        /// Where.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A rule jumps to a chain that is not there; nothing was written.
    #[error("the legacy iptables table {table} has no chain {chain} to jump to")]
    NoChain {
        /// The table.
        table: String,
        /// The chain.
        chain: String,
    },
    /// Another program has held the lock for seconds; try again.
    #[error("another program holds {LOCK}")]
    Locked,
    /// The lock file cannot be used.
    #[error("cannot lock {LOCK}: {0}")]
    Lock(std::io::Error),
}

//! Carries out a [`Transaction`] on values, as the kernel does on its objects.
//!
//! Invariant: a change that does not fit what is there is an error that names the object, and the
//! ruleset is then left as it was.

use std::sync::Arc;

use super::chain::Chain;
use super::diff::{Change, Transaction};
use super::name::Name;
use super::set::Set;
use super::{Ruleset, Table, TableId};

/// A change did not fit the ruleset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// What should be added is there already. Read back and diff again.
    #[error("{0} is there already")]
    Exists(String),
    /// What should be changed or deleted is not there. Read back and diff again.
    #[error("{0} is not there")]
    Missing(String),
    /// What should be deleted is not empty.
    #[error("{0} is not empty")]
    Busy(String),
}

impl Transaction {
    /// Carries it out on `ruleset`, all or nothing.
    ///
    /// # Errors
    ///
    /// [`ApplyError`] if a change does not fit; `ruleset` is unchanged then.
    pub fn apply(&self, ruleset: &mut Ruleset) -> Result<(), ApplyError> {
        let mut next = ruleset.clone();
        next.step(self)?;
        *ruleset = next;
        Ok(())
    }
}

impl Ruleset {
    /// Carries a transaction out in place; after an error the ruleset is in between.
    pub(crate) fn step(&mut self, transaction: &Transaction) -> Result<(), ApplyError> {
        transaction
            .changes
            .iter()
            .try_for_each(|change| step(change, self))
    }
}

fn step(change: &Change, ruleset: &mut Ruleset) -> Result<(), ApplyError> {
    match change {
        Change::AddTable(id) => {
            if ruleset.tables.insert(id.clone(), Table::new()).is_some() {
                return Err(ApplyError::Exists(format!("table {id}")));
            }
        }
        Change::DeleteTable(id) => {
            ruleset
                .tables
                .remove(id)
                .ok_or_else(|| ApplyError::Missing(format!("table {id}")))?;
        }
        Change::AddChain { table, chain, base } => {
            let value = Arc::new(Chain {
                base: base.clone(),
                rules: Vec::new(),
            });
            if table_of(ruleset, table)?
                .chains
                .insert(chain.clone(), value)
                .is_some()
            {
                return Err(ApplyError::Exists(format!("table {table} chain {chain}")));
            }
        }
        Change::SetPolicy { table, chain, base } => {
            chain_of(ruleset, table, chain)?.base = Some(base.clone());
        }
        Change::FlushChain { table, chain } => chain_of(ruleset, table, chain)?.rules.clear(),
        Change::DeleteChain { table, chain } => {
            if !chain_of(ruleset, table, chain)?.rules.is_empty() {
                return Err(ApplyError::Busy(format!("table {table} chain {chain}")));
            }
            table_of(ruleset, table)?.chains.remove(chain);
        }
        Change::AddSet { table, set, value } => {
            if table_of(ruleset, table)?
                .sets
                .insert(set.clone(), Arc::clone(value))
                .is_some()
            {
                return Err(ApplyError::Exists(format!("table {table} set {set}")));
            }
        }
        Change::DeleteSet { table, set } => {
            set_of(ruleset, table, set)?;
            table_of(ruleset, table)?.sets.remove(set);
        }
        Change::AddElements {
            table,
            set,
            elements,
            ..
        } => {
            let value = set_of(ruleset, table, set)?;
            for (key, entry) in elements {
                if value.elements.insert(key.clone(), entry.clone()).is_some() {
                    return Err(ApplyError::Exists(format!(
                        "table {table} set {set} element {key}"
                    )));
                }
            }
        }
        Change::DeleteElements {
            table, set, keys, ..
        } => {
            let value = set_of(ruleset, table, set)?;
            for key in keys {
                if !value.remove(key) {
                    return Err(ApplyError::Missing(format!(
                        "table {table} set {set} element {key}"
                    )));
                }
            }
        }
        Change::InsertRule {
            table,
            chain,
            index,
            rule,
        } => {
            let rules = &mut chain_of(ruleset, table, chain)?.rules;
            if *index > rules.len() {
                return Err(ApplyError::Missing(format!(
                    "table {table} chain {chain} rule {index}"
                )));
            }
            rules.insert(*index, rule.clone());
        }
        Change::DeleteRule {
            table,
            chain,
            index,
        } => {
            let rules = &mut chain_of(ruleset, table, chain)?.rules;
            if *index >= rules.len() {
                return Err(ApplyError::Missing(format!(
                    "table {table} chain {chain} rule {index}"
                )));
            }
            rules.remove(*index);
        }
    }
    Ok(())
}

fn table_of<'a>(ruleset: &'a mut Ruleset, id: &TableId) -> Result<&'a mut Table, ApplyError> {
    ruleset
        .tables
        .get_mut(id)
        .ok_or_else(|| ApplyError::Missing(format!("table {id}")))
}

fn chain_of<'a>(
    ruleset: &'a mut Ruleset,
    table: &TableId,
    chain: &Name,
) -> Result<&'a mut Chain, ApplyError> {
    table_of(ruleset, table)?
        .chain_mut(chain.as_str())
        .ok_or_else(|| ApplyError::Missing(format!("table {table} chain {chain}")))
}

fn set_of<'a>(
    ruleset: &'a mut Ruleset,
    table: &TableId,
    set: &Name,
) -> Result<&'a mut Set, ApplyError> {
    table_of(ruleset, table)?
        .set_mut(set.as_str())
        .ok_or_else(|| ApplyError::Missing(format!("table {table} set {set}")))
}

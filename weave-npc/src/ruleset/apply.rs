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
            let before = ruleset.tables.insert(id.clone(), Table::new());
            before.map_or(Ok(()), |_| Err(ApplyError::Exists(change.to_string())))
        }
        Change::DeleteTable(id) => {
            let before = ruleset.tables.remove(id);
            before.map_or_else(|| Err(ApplyError::Missing(change.to_string())), |_| Ok(()))
        }
        Change::AddChain { .. }
        | Change::SetPolicy { .. }
        | Change::FlushChain { .. }
        | Change::DeleteChain { .. } => chains(change, ruleset),
        Change::AddSet { .. } | Change::DeleteSet { .. } => sets(change, ruleset),
        Change::AddElements { .. } | Change::DeleteElements { .. } => elements(change, ruleset),
        Change::InsertRule { .. } | Change::DeleteRule { .. } => rules(change, ruleset),
    }
}

fn chains(change: &Change, ruleset: &mut Ruleset) -> Result<(), ApplyError> {
    match change {
        Change::AddChain { table, chain, base } => {
            let value = Chain {
                base: base.clone(),
                rules: Vec::new(),
            };
            let chains = &mut table_of(ruleset, table)?.chains;
            if chains.insert(chain.clone(), Arc::new(value)).is_some() {
                return Err(ApplyError::Exists(change.to_string()));
            }
        }
        Change::SetPolicy { table, chain, base } => {
            chain_of(ruleset, table, chain)?.base = Some(base.clone());
        }
        Change::FlushChain { table, chain } => chain_of(ruleset, table, chain)?.rules.clear(),
        Change::DeleteChain { table, chain } => {
            if !chain_of(ruleset, table, chain)?.rules.is_empty() {
                return Err(ApplyError::Busy(change.to_string()));
            }
            table_of(ruleset, table)?.chains.remove(chain);
        }
        _ => {}
    }
    Ok(())
}

fn sets(change: &Change, ruleset: &mut Ruleset) -> Result<(), ApplyError> {
    match change {
        Change::AddSet { table, set, value } => {
            let sets = &mut table_of(ruleset, table)?.sets;
            if sets.insert(set.clone(), Arc::clone(value)).is_some() {
                return Err(ApplyError::Exists(change.to_string()));
            }
        }
        Change::DeleteSet { table, set } => {
            let before = table_of(ruleset, table)?.sets.remove(set);
            before.ok_or_else(|| ApplyError::Missing(change.to_string()))?;
        }
        _ => {}
    }
    Ok(())
}

fn elements(change: &Change, ruleset: &mut Ruleset) -> Result<(), ApplyError> {
    match change {
        Change::AddElements {
            table,
            set,
            elements,
            ..
        } => {
            let value = set_of(ruleset, table, set)?;
            for (key, entry) in elements {
                if value.elements.insert(key.clone(), entry.clone()).is_some() {
                    let element = format!("table {table} set {set} element {key}");
                    return Err(ApplyError::Exists(element));
                }
            }
        }
        Change::DeleteElements {
            table, set, keys, ..
        } => {
            let value = set_of(ruleset, table, set)?;
            for key in keys {
                if !value.remove(key) {
                    let element = format!("table {table} set {set} element {key}");
                    return Err(ApplyError::Missing(element));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn rules(change: &Change, ruleset: &mut Ruleset) -> Result<(), ApplyError> {
    match change {
        Change::InsertRule {
            table,
            chain,
            index,
            rule,
        } => {
            let rules = &mut chain_of(ruleset, table, chain)?.rules;
            if *index > rules.len() {
                return Err(ApplyError::Missing(change.to_string()));
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
                return Err(ApplyError::Missing(change.to_string()));
            }
            rules.remove(*index);
        }
        _ => {}
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

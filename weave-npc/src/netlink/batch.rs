//! A transaction as one batch of messages.
//!
//! Invariant: rules are named by the handles the kernel gave them or by numbers of this batch, never
//! by position, so a batch does what the transaction says or is refused as a whole.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_netfilter::nftables::NfTablesMessage;

use super::element::{Move, Target, elements};
use super::encode::{ANONYMOUS, encode};
use super::message::{self, BATCH_BEGIN, BATCH_END, Place, batch, request};
use crate::nfnetlink::{NetlinkError, Request};
use crate::ruleset::{Change, Entry, Key, Name, Rule, Set, TableId, Transaction};

/// The handles of the rules of each chain, in order.
pub(super) type Handles = BTreeMap<(TableId, Name), Vec<Handle>>;

/// What a rule is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handle {
    /// To the kernel.
    Known(u64),
    /// In the batch that makes it.
    New(u32),
    /// A batch has made it, and the kernel was not asked yet what it calls it.
    Unasked,
}

/// A batch ready to be sent.
pub(super) struct Batch {
    pub(super) requests: Vec<Request>,
    /// For each request, the index of the change it belongs to.
    pub(super) changes: Vec<usize>,
    /// The rules of each chain as they are afterwards.
    pub(super) handles: Handles,
    /// The chains that rules come to.
    fresh: BTreeSet<(TableId, Name)>,
}

impl Batch {
    /// Builds the messages of a transaction; `handles` are those of the rules as they are.
    pub(super) fn new(
        transaction: &Transaction,
        generation: Option<u32>,
        handles: Handles,
    ) -> Result<Self, NetlinkError> {
        let begin = batch(BATCH_BEGIN, generation);
        let mut builder = Builder {
            batch: Self {
                requests: vec![begin],
                changes: vec![0],
                handles,
                fresh: BTreeSet::new(),
            },
            change: 0,
            next_id: 1,
        };
        for (index, change) in transaction.changes.iter().enumerate() {
            builder.change = index;
            builder.change(change)?;
        }
        let mut batch_ = builder.batch;
        if let Some(last) = batch_.requests.last_mut() {
            last.flags |= ACK;
        }
        batch_.requests.push(batch(BATCH_END, None));
        batch_
            .changes
            .push(transaction.changes.len().saturating_sub(1));
        Ok(batch_)
    }

    /// The rules of each chain once the kernel has carried out the batch.
    pub(super) fn into_handles(self) -> Handles {
        let mut handles = self.handles;
        for chain in &self.fresh {
            for handle in handles.get_mut(chain).into_iter().flatten() {
                if let Handle::New(_) = handle {
                    *handle = Handle::Unasked;
                }
            }
        }
        handles
    }
}

/// The chains of which a transaction names rules that the kernel has to be asked for first: those
/// that it changes rule by rule, some of which were made since they were read.
pub(super) fn unasked<'t>(
    transaction: &'t Transaction,
    handles: &Handles,
) -> BTreeSet<(&'t TableId, &'t Name)> {
    let (mut made, mut asked_for) = (BTreeSet::new(), BTreeSet::new());
    for change in &transaction.changes {
        match change {
            Change::AddChain { table, chain, .. } | Change::FlushChain { table, chain } => {
                made.insert((table, chain));
            }
            Change::InsertRule { table, chain, .. } | Change::DeleteRule { table, chain, .. }
                if !made.contains(&(table, chain)) =>
            {
                asked_for.insert((table, chain));
            }
            _ => {}
        }
    }
    asked_for.retain(|(table, chain)| {
        let rules = handles.get(&((*table).clone(), (*chain).clone()));
        rules.is_some_and(|rules| rules.contains(&Handle::Unasked))
    });
    asked_for
}

struct Builder {
    batch: Batch,
    change: usize,
    next_id: u32,
}

impl Builder {
    fn push(&mut self, table: &TableId, flags: u16, message: NfTablesMessage) {
        self.batch
            .requests
            .push(request(table.family, flags, message));
        self.batch.changes.push(self.change);
    }

    fn id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn rules(&mut self, table: &TableId, chain: &Name) -> &mut Vec<Handle> {
        self.batch
            .handles
            .entry((table.clone(), chain.clone()))
            .or_default()
    }

    fn change(&mut self, change: &Change) -> Result<(), NetlinkError> {
        match change {
            Change::AddTable(id) => {
                self.push(id, CREATE, NfTablesMessage::NewTable(message::table(id)));
            }
            Change::DeleteTable(id) => {
                self.push(id, 0, NfTablesMessage::DeleteTable(message::table(id)));
                self.batch.handles.retain(|(table, _), _| table != id);
            }
            Change::AddChain { table, chain, base } => {
                let chain_ = message::chain(table, chain.as_str(), base.as_ref());
                self.push(table, CREATE | EXCL, NfTablesMessage::NewChain(chain_));
                self.rules(table, chain).clear();
            }
            Change::SetPolicy { table, chain, base } => {
                let policy = message::policy(table, chain, base.policy);
                self.push(table, 0, NfTablesMessage::NewChain(policy));
            }
            Change::FlushChain { table, chain } => {
                let name = message::rule_name(table.name.as_str(), chain.as_str(), None);
                self.push(table, 0, NfTablesMessage::DeleteRule(name));
                self.rules(table, chain).clear();
            }
            Change::DeleteChain { table, chain } => {
                let name = message::chain(table, chain.as_str(), None);
                self.push(table, 0, NfTablesMessage::DeleteChain(name));
                self.batch.handles.remove(&(table.clone(), chain.clone()));
            }
            Change::AddSet { table, set, value } => {
                self.set(table, set.as_str(), value);
            }
            Change::DeleteSet { table, set } => {
                let name = message::set_name(table, set);
                self.push(table, 0, NfTablesMessage::DeleteSet(name));
            }
            Change::AddElements {
                table,
                set,
                is_interval,
                elements,
            } => {
                let all = elements.iter().map(|(key, entry)| (key, Some(entry)));
                self.fill(Target::named(table, set, *is_interval), all);
            }
            Change::DeleteElements {
                table,
                set,
                is_interval,
                keys,
            } => {
                let target = Target::named(table, set, *is_interval);
                for list in elements(target, Move::Out, keys.iter().map(|key| (key, None))) {
                    self.push(table, 0, list);
                }
            }
            Change::InsertRule {
                table,
                chain,
                index,
                rule,
            } => {
                self.insert(table, chain, *index, rule)?;
            }
            Change::DeleteRule {
                table,
                chain,
                index,
            } => self.delete(table, chain, *index)?,
        }
        Ok(())
    }

    /// A set with its elements; gives its number in this batch.
    fn set(&mut self, table: &TableId, name: &str, value: &Set) -> u32 {
        let id = self.id();
        let new = message::set(table, name, value, id);
        self.push(table, CREATE | EXCL, NfTablesMessage::NewSet(new));
        let target = Target {
            table,
            name,
            id: Some(id),
            is_interval: value.is_interval,
        };
        let all = value.elements.iter().map(|(key, entry)| (key, Some(entry)));
        self.fill(target, all);
        id
    }

    fn fill<'e>(
        &mut self,
        target: Target<'_>,
        all: impl Iterator<Item = (&'e Key, Option<&'e Entry>)>,
    ) {
        for list in elements(target, Move::In, all) {
            self.push(target.table, CREATE | EXCL, list);
        }
    }

    fn insert(
        &mut self,
        table: &TableId,
        chain: &Name,
        index: usize,
        rule: &Rule,
    ) -> Result<(), NetlinkError> {
        let encoded = encode(table.family, rule, self.next_id);
        for set in encoded.sets {
            self.set(table, ANONYMOUS, set);
        }
        let id = self.id();
        let rules = self.rules(table, chain);
        let place = match index.checked_sub(1).map(|before| rules.get(before)) {
            None if rules.is_empty() => Place::Last,
            None => Place::First,
            Some(Some(_)) if index == rules.len() => Place::Last,
            Some(Some(Handle::Known(handle))) => Place::Behind(*handle),
            Some(Some(Handle::New(id))) => Place::BehindNew(*id),
            Some(None | Some(Handle::Unasked)) => {
                let object = format!("table {table} chain {chain} rule {index}: no such place");
                return Err(NetlinkError::Encode(object));
            }
        };
        rules.insert(index, Handle::New(id));
        self.batch.fresh.insert((table.clone(), chain.clone()));
        let userdata = rule.note().map(message::userdata);
        let (table_name, chain) = (table.name.as_str(), chain.as_str());
        let new = message::rule(table_name, chain, &encoded.expressions, userdata, place, id);
        let order = if place == Place::First { 0 } else { APPEND };
        self.push(table, CREATE | order, new);
        Ok(())
    }

    fn delete(&mut self, table: &TableId, chain: &Name, index: usize) -> Result<(), NetlinkError> {
        let rules = self.rules(table, chain);
        match rules.get(index) {
            Some(Handle::Known(handle)) => {
                let handle = *handle;
                rules.remove(index);
                let name = message::rule_name(table.name.as_str(), chain.as_str(), Some(handle));
                self.push(table, 0, NfTablesMessage::DeleteRule(name));
                Ok(())
            }
            _ => {
                let object = format!("table {table} chain {chain} rule {index}: no such rule");
                Err(NetlinkError::Encode(object))
            }
        }
    }
}

/// `linux/netlink.h`.
pub(super) const ACK: u16 = 4;
pub(super) const EXCL: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;
pub(super) const DUMP: u16 = 0x300;

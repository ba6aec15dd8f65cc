//! Tables of other programs: looked at as they are, changed by single rules and chains.
//!
//! It is for living beside programs that share tables (iptables over `nf_tables`): their
//! expressions are not interpreted, and a rule put among them may use the very same expressions.
//!
//! Invariant: nothing of a foreign table changes but what a [`ForeignChange`] names, and only if
//! nobody changed anything since the generation that the caller looked at.

use netlink_packet_netfilter::nftables::{
    ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute, TableMessage,
};

use super::batch::{ACK, CREATE, DUMP};
use super::expr::RawExpression;
use super::message::{self, BATCH_BEGIN, BATCH_END, Place, batch, request};
use super::nft::{Count, Nft};
use super::readback::{
    CHAIN_HOOK, CHAIN_NAME, RULE_CHAIN, RULE_HANDLE, RULE_USERDATA, TABLE, base, comment, count,
    expressions,
};
use crate::nfnetlink::NetlinkError;
use crate::nfnetlink::wire::Attribute;
use crate::ruleset::{Base, Comment, Family};

/// A chain of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignChain {
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub name: String,
    /// Where the kernel enters it.
    pub base: Option<Base>,
}

/// A rule of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignRule {
    /// The chain's name.
    pub chain: String,
    /// What the kernel knows it by.
    pub handle: u64,
    /// What it does.
    pub expressions: Vec<RawExpression>,
    /// What its program keeps with it.
    pub userdata: Vec<u8>,
}

impl ForeignRule {
    /// The comment in its user data, as the `nft` and iptables programs keep it.
    pub fn comment(&self) -> Option<Comment> {
        comment(&self.userdata)
    }

    /// What it has counted, if it counts.
    pub fn count(&self) -> Option<Count> {
        count(&self.expressions)
    }
}

/// A change among the objects of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForeignChange {
    /// A rule comes in front of all rules of a chain.
    InsertFirst {
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// What it does.
        expressions: Vec<RawExpression>,
        /// Shown behind it.
        comment: Option<Comment>,
    },
    /// A rule goes.
    DeleteRule {
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// The rule.
        handle: u64,
    },
    /// A chain goes with its rules; nothing leads to it.
    DeleteChain {
        /// The table.
        table: String,
        /// The chain.
        chain: String,
    },
    /// A table goes with all that is in it.
    DeleteTable {
        /// The table.
        table: String,
    },
}

impl Nft {
    /// The names of the tables of a family.
    ///
    /// # Errors
    ///
    /// [`NetlinkError`] if the kernel does not answer.
    pub fn foreign_tables(&mut self, family: Family) -> Result<Vec<String>, NetlinkError> {
        let mut tables = Vec::new();
        let message = NfTablesMessage::GetTable(TableMessage {
            attributes: Vec::new(),
        });
        self.ask(request(family, DUMP, message), |_, attributes| {
            tables.extend(
                attributes
                    .find(TABLE)
                    .and_then(Attribute::text)
                    .map(str::to_owned),
            );
            Ok(())
        })?;
        Ok(tables)
    }

    /// The chains of all tables of a family.
    ///
    /// # Errors
    ///
    /// [`NetlinkError`] if the kernel does not answer.
    pub fn foreign_chains(&mut self, family: Family) -> Result<Vec<ForeignChain>, NetlinkError> {
        let mut chains = Vec::new();
        let message = NfTablesMessage::GetChain(ChainMessage {
            attributes: Vec::new(),
        });
        self.ask(request(family, DUMP, message), |_, attributes| {
            let text = |kind| Some(attributes.find(kind)?.text()?.to_owned());
            let (Some(table), Some(name)) = (text(TABLE), text(CHAIN_NAME)) else {
                return Err(NetlinkError::Malformed("a chain"));
            };
            let base = attributes
                .find(CHAIN_HOOK)
                .and_then(|hook| base(family, attributes, hook.nested()));
            chains.push(ForeignChain { table, name, base });
            Ok(())
        })?;
        Ok(chains)
    }

    /// The rules of a table, chain by chain, each chain in order.
    ///
    /// # Errors
    ///
    /// [`NetlinkError`] if the kernel does not answer.
    pub fn foreign_rules(
        &mut self,
        family: Family,
        table: &str,
    ) -> Result<Vec<ForeignRule>, NetlinkError> {
        let mut rules = Vec::new();
        let attributes = vec![RuleAttribute::Table(table.to_owned())];
        let message = NfTablesMessage::GetRule(RuleMessage { attributes });
        self.ask(request(family, DUMP, message), |_, attributes| {
            if attributes.find(TABLE).and_then(Attribute::text) != Some(table) {
                return Ok(());
            }
            let chain = attributes.find(RULE_CHAIN).and_then(Attribute::text);
            let handle = attributes.find(RULE_HANDLE).and_then(Attribute::u64);
            let (Some(chain), Some(handle)) = (chain, handle) else {
                return Err(NetlinkError::Malformed("a rule"));
            };
            let userdata = attributes
                .find(RULE_USERDATA)
                .map(|data| data.value.to_vec());
            rules.push(ForeignRule {
                chain: chain.to_owned(),
                handle,
                expressions: expressions(attributes),
                userdata: userdata.unwrap_or_default(),
            });
            Ok(())
        })?;
        Ok(rules)
    }

    /// Carries out changes in tables of a family, all or nothing, if the generation is still the one
    /// given ([`Nft::generation`], asked for before looking).
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Stale`] if it is not; [`NetlinkError::Refused`] with the object.
    pub fn commit_foreign(
        &mut self,
        family: Family,
        generation: u32,
        changes: Vec<ForeignChange>,
    ) -> Result<(), NetlinkError> {
        if changes.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = changes.iter().map(|change| change.object(family)).collect();
        let mut requests = vec![batch(BATCH_BEGIN, Some(generation))];
        for (index, change) in changes.into_iter().enumerate() {
            let last = if index + 1 == names.len() { ACK } else { 0 };
            let (flags, message) = change.into_message(index);
            requests.push(request(family, flags | last, message));
        }
        requests.push(batch(BATCH_END, None));
        self.batch(requests, |index| {
            index
                .checked_sub(1)
                .and_then(|index| names.get(index))
                .cloned()
                .unwrap_or_else(|| "a batch".to_owned())
        })
    }
}

impl ForeignChange {
    fn into_message(self, index: usize) -> (u16, NfTablesMessage) {
        match self {
            Self::InsertFirst {
                table,
                chain,
                expressions,
                comment,
            } => {
                let userdata = comment.as_ref().map(message::userdata);
                let id = u32::try_from(index).unwrap_or(0);
                let place = Place::First;
                let rule = message::rule(&table, &chain, &expressions, userdata, place, id);
                (CREATE, rule)
            }
            Self::DeleteRule {
                table,
                chain,
                handle,
            } => {
                let name = message::rule_name(&table, &chain, Some(handle));
                (0, NfTablesMessage::DeleteRule(name))
            }
            Self::DeleteChain { table, chain } => (
                0,
                NfTablesMessage::DeleteChain(message::chain_name(&table, &chain)),
            ),
            Self::DeleteTable { table } => {
                let attributes = vec![TableAttribute::Name(table)];
                (0, NfTablesMessage::DeleteTable(TableMessage { attributes }))
            }
        }
    }

    fn object(&self, family: Family) -> String {
        let family = family.as_str();
        match self {
            Self::InsertFirst { table, chain, .. } => {
                format!("table {family} {table} chain {chain}: first rule")
            }
            Self::DeleteRule {
                table,
                chain,
                handle,
            } => {
                format!("table {family} {table} chain {chain} rule with handle {handle}")
            }
            Self::DeleteChain { table, chain } => format!("table {family} {table} chain {chain}"),
            Self::DeleteTable { table } => format!("table {family} {table}"),
        }
    }
}

//! The tables of iptables in both back ends: looked at, given our accepts, freed of an old Weave's
//! rules.
//!
//! Invariant: nothing is created there. A table or chain that no program has made does not drop, so
//! it needs no rule of ours; and looking at a legacy table that is not in use would make it.
//! Everything blocks, the legacy back end for seconds when another program holds its lock.

use weave_datapath::xtables::{self, Accept, Fingerprint, Protocol, Rule, Tables, Target};
use weave_npc::netlink::{ForeignChange, ForeignRule, NetlinkError, Nft};
use weave_npc::ruleset::{Comment, Family, Hook, Policy};

use super::accepts::is_ours;
use super::backend::{Backend, Signs};
use super::dialect;
use super::old::{self, Does, Part, Seen};

/// Both back ends in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Foreign {
    nft: Nft,
    legacy: Option<Tables>,
    legacy6: Option<Tables>,
}

/// What tells that the legacy filter tables have changed, of IPv4 and of IPv6; nothing for one that
/// is not in use.
pub type LegacyPrint = [Option<Fingerprint>; 2];

/// Why the tables of iptables cannot be looked at or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// Over `nf_tables`.
    #[error(transparent)]
    Nft(#[from] NetlinkError),
    /// In the legacy back end.
    #[error(transparent)]
    Legacy(#[from] xtables::Error),
}

/// How a `FORWARD` chain of the filter table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// There is none.
    Absent,
    /// It has our accepts.
    InPlace,
    /// It was given our accepts just now.
    Written,
}

impl Foreign {
    /// For the network namespace of the calling thread.
    ///
    /// # Errors
    /// No netlink socket can be had.
    pub fn open() -> Result<Self, ForeignError> {
        Ok(Self {
            nft: Nft::open()?,
            legacy: Tables::open(Protocol::Ipv4).ok(),
            legacy6: Tables::open(Protocol::Ipv6).ok(),
        })
    }

    /// What the kernel calls our connection, for telling our own changes from those of others.
    pub fn port(&self) -> u32 {
        self.nft.port()
    }

    /// What speaks for `backend`.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn signs(&mut self, backend: Backend) -> Result<Signs, ForeignError> {
        match backend {
            Backend::Nft => self.nft_signs(),
            Backend::Legacy => self.legacy_signs(),
        }
    }

    fn nft_signs(&mut self) -> Result<Signs, ForeignError> {
        let mut signs = Signs {
            is_there: true,
            ..Signs::default()
        };
        let chains = self.nft.foreign_chains(Family::Ip)?;
        for chain in &chains {
            signs.note_chain(&chain.table, &chain.name);
        }
        for table in TABLES {
            if chains.iter().any(|chain| chain.table == table) {
                let rules = self.nft.foreign_rules(Family::Ip, table)?;
                let others = rules.iter().filter(|rule| !is_our_rule(rule));
                signs.rules += others.count();
            }
        }
        Ok(signs)
    }

    fn legacy_signs(&self) -> Result<Signs, ForeignError> {
        let mut signs = Signs::default();
        let Some(legacy) = &self.legacy else {
            return Ok(signs);
        };
        signs.is_there = has_legacy();
        for name in xtables::names(Protocol::Ipv4) {
            let table = legacy.read(&name)?;
            for chain in &table.chains {
                signs.note_chain(&name, &chain.name);
                let others = chain.rules.iter();
                signs.rules += others
                    .filter(|rule| !is_ours(rule.comment().as_deref()))
                    .count();
            }
        }
        Ok(signs)
    }

    /// Whether packets of `family` that no rule of the `FORWARD` chain decides are dropped.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn forward_drops(
        &mut self,
        backend: Backend,
        family: Family,
    ) -> Result<bool, ForeignError> {
        match (backend, self.legacy_filter(family)) {
            (Backend::Nft, _) => self.nft_forward_drops(family),
            (Backend::Legacy, Some((_, legacy))) => {
                let table = legacy.read(FILTER)?;
                let policy = table.chain(FORWARD).and_then(|chain| chain.policy);
                Ok(policy.is_some_and(|policy| policy.drops))
            }
            (Backend::Legacy, None) => Ok(false),
        }
    }

    /// The legacy tables for `family`, when the filter table is one that is in use.
    fn legacy_filter(&self, family: Family) -> Option<(Protocol, &Tables)> {
        let (protocol, tables) = match family {
            Family::Ip6 => (Protocol::Ipv6, &self.legacy6),
            _ => (Protocol::Ipv4, &self.legacy),
        };
        let is_in_use = || xtables::names(protocol).iter().any(|name| name == FILTER);
        let tables = tables.as_ref().filter(|_| is_in_use())?;
        Some((protocol, tables))
    }

    fn nft_forward_drops(&mut self, family: Family) -> Result<bool, ForeignError> {
        let chains = self.nft.foreign_chains(family)?;
        Ok(chains.iter().any(|chain| {
            let drops = chain.base.as_ref().map(|base| base.policy);
            (chain.table.as_str(), chain.name.as_str()) == (FILTER, FORWARD)
                && drops == Some(Policy::Drop)
        }))
    }

    /// Chains of other programs' own tables that drop every forwarded packet they do not accept. No
    /// rule of ours can help there. Our own tables do not count.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn droppers(&mut self) -> Result<Vec<String>, ForeignError> {
        let mut found = Vec::new();
        for family in [Family::Inet, Family::Ip, Family::Ip6] {
            for chain in self.nft.foreign_chains(family)? {
                let drops = chain
                    .base
                    .as_ref()
                    .is_some_and(|base| base.hook == Hook::Forward && base.policy == Policy::Drop);
                let is_iptables = family != Family::Inet && chain.table == FILTER;
                if drops && !is_iptables && !chain.table.starts_with("weave") {
                    let (family, table) = (family.as_str(), &chain.table);
                    found.push(format!("table {family} {table} chain {}", chain.name));
                }
            }
        }
        Ok(found)
    }

    /// What tells that the legacy filter tables have changed.
    pub fn legacy_fingerprint(&self) -> LegacyPrint {
        [Family::Ip, Family::Ip6].map(|family| {
            let (_, tables) = self.legacy_filter(family)?;
            tables.fingerprint(FILTER).ok()
        })
    }

    /// Sees to it that the `FORWARD` chain for `family` has `wanted` and no other rules of ours. When one is
    /// missing or too many, all of ours are taken out and `wanted` goes to the top; else nothing is
    /// moved.
    ///
    /// # Errors
    /// The kernel refuses, or another program changes rules without pause.
    pub fn ensure(
        &mut self,
        backend: Backend,
        family: Family,
        wanted: &[Accept],
    ) -> Result<Forward, ForeignError> {
        match backend {
            Backend::Nft => self.ensure_nft(family, wanted),
            Backend::Legacy => self.ensure_legacy(family, wanted),
        }
    }

    fn ensure_nft(&mut self, family: Family, wanted: &[Accept]) -> Result<Forward, ForeignError> {
        for _ in 0..ATTEMPTS {
            let generation = self.nft.generation()?;
            let chains = self.nft.foreign_chains(family)?;
            let is_forward = |table: &str, chain: &str| (table, chain) == (FILTER, FORWARD);
            if !chains.iter().any(|one| is_forward(&one.table, &one.name)) {
                return Ok(Forward::Absent);
            }
            let rules = self.nft.foreign_rules(family, FILTER)?;
            let ours: Vec<&ForeignRule> = rules
                .iter()
                .filter(|rule| rule.chain == FORWARD && is_our_rule(rule))
                .collect();
            let comments = ours.iter().filter_map(|rule| rule.comment());
            if same(comments.map(|comment| comment.as_str().to_owned()), wanted) {
                return Ok(Forward::InPlace);
            }
            let mut changes: Vec<_> = ours.iter().map(|rule| delete(FILTER, rule)).collect();
            // Each goes before the one that was put first.
            changes.extend(
                wanted
                    .iter()
                    .rev()
                    .map(|accept| ForeignChange::InsertFirst {
                        table: FILTER.to_owned(),
                        chain: FORWARD.to_owned(),
                        expressions: dialect::expressions(accept),
                        comment: Some(Comment::lossy(&accept.comment)),
                    }),
            );
            match self.nft.commit_foreign(family, generation, changes) {
                Ok(()) => return Ok(Forward::Written),
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(NetlinkError::Stale.into())
    }

    fn ensure_legacy(&self, family: Family, wanted: &[Accept]) -> Result<Forward, ForeignError> {
        let Some((protocol, legacy)) = self.legacy_filter(family) else {
            return Ok(Forward::Absent);
        };
        let table = legacy.read(FILTER)?;
        let Some(chain) = table.chain(FORWARD) else {
            return Ok(Forward::Absent);
        };
        if same(our_comments(&chain.rules), wanted) {
            return Ok(Forward::InPlace);
        }
        legacy.edit(FILTER, |table| {
            let Some(chain) = table.chain_mut(FORWARD) else {
                return false;
            };
            chain
                .rules
                .retain(|rule| !is_ours(rule.comment().as_deref()));
            let rules = wanted.iter().filter_map(|accept| accept.rule(protocol));
            chain.rules.splice(0..0, rules);
            true
        })?;
        Ok(Forward::Written)
    }

    /// Removes what a Weave Net left of `part` in `backend`; how many rules and chains went.
    ///
    /// # Errors
    /// The kernel refuses, or another program changes rules without pause.
    pub fn remove_old(
        &mut self,
        backend: Backend,
        bridge: &str,
        part: Part,
    ) -> Result<usize, ForeignError> {
        let mut removed = 0;
        match backend {
            Backend::Nft => {
                let tables = self.nft.foreign_tables(Family::Ip)?;
                for table in TABLES
                    .into_iter()
                    .filter(|one| tables.iter().any(|t| t == one))
                {
                    removed += self.remove_old_nft(table, bridge, part)?;
                }
            }
            Backend::Legacy => {
                let Some(legacy) = &self.legacy else {
                    return Ok(0);
                };
                for name in xtables::names(Protocol::Ipv4) {
                    let mut table = legacy.read(&name)?;
                    if strip(&mut table, bridge, part) > 0 {
                        legacy.edit(&name, |table| {
                            removed += strip(table, bridge, part);
                            true
                        })?;
                    }
                }
            }
        }
        Ok(removed)
    }

    fn remove_old_nft(
        &mut self,
        table: &str,
        bridge: &str,
        part: Part,
    ) -> Result<usize, ForeignError> {
        for _ in 0..ATTEMPTS {
            let generation = self.nft.generation()?;
            let rules = self.nft.foreign_rules(Family::Ip, table)?;
            let chains = self.nft.foreign_chains(Family::Ip)?;
            let goes = |rule: &&ForeignRule| {
                old::is_chain(&rule.chain, part) || old::is_rule(&dialect::seen(rule), bridge, part)
            };
            // A chain can go only when no rule leads to it, so rules go first.
            let mut changes: Vec<_> = rules
                .iter()
                .filter(goes)
                .map(|rule| delete(table, rule))
                .collect();
            let unwanted = chains
                .iter()
                .filter(|chain| chain.table == table && old::is_chain(&chain.name, part));
            changes.extend(unwanted.map(|chain| ForeignChange::DeleteChain {
                table: table.to_owned(),
                chain: chain.name.clone(),
            }));
            let count = changes.len();
            match self.nft.commit_foreign(Family::Ip, generation, changes) {
                Ok(()) => return Ok(count),
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(NetlinkError::Stale.into())
    }
}

impl Signs {
    fn note_chain(&mut self, table: &str, chain: &str) {
        let marker = matches!(chain, "KUBE-IPTABLES-HINT" | "KUBE-KUBELET-CANARY");
        self.has_kubelet |= table == "mangle" && marker;
        self.has_weave |= old::is_chain(chain, Part::All);
    }
}

/// Takes out what is an old Weave's; how many rules and chains that was.
fn strip(table: &mut xtables::Table, bridge: &str, part: Part) -> usize {
    let count = |table: &xtables::Table| table.rule_count() + table.chains.len();
    let before = count(table);
    for chain in &mut table.chains {
        let name = chain.name.clone();
        chain
            .rules
            .retain(|rule| !old::is_rule(&seen(&name, rule), bridge, part));
    }
    table.remove_chains(|name| old::is_chain(name, part));
    before - count(table)
}

/// A legacy rule as both back ends can tell it.
fn seen(chain: &str, rule: &Rule) -> Seen {
    let names = rule.matches.iter().map(|one| one.name.clone());
    Seen {
        chain: chain.to_owned(),
        input: rule.input(),
        output: rule.output(),
        is_plain: rule.asks_interfaces_only(),
        matches: names.filter(|name| name != "comment").collect(),
        comment: rule.comment(),
        does: match &rule.target {
            Target::Accept => Does::Accept,
            Target::Drop => Does::Drop,
            Target::Jump(to) => Does::Jump(to.clone()),
            Target::Extension(target) => Does::Target(target.name.clone()),
            _ => Does::Other,
        },
    }
}

fn delete(table: &str, rule: &ForeignRule) -> ForeignChange {
    ForeignChange::DeleteRule {
        table: table.to_owned(),
        chain: rule.chain.clone(),
        handle: rule.handle,
    }
}

fn is_our_rule(rule: &ForeignRule) -> bool {
    is_ours(rule.comment().as_ref().map(Comment::as_str))
}

fn our_comments(rules: &[Rule]) -> impl Iterator<Item = String> {
    let comments = rules.iter().filter_map(Rule::comment);
    comments.filter(|comment| is_ours(Some(comment)))
}

fn same(found: impl Iterator<Item = String>, wanted: &[Accept]) -> bool {
    found.eq(wanted.iter().map(|accept| accept.comment.clone()))
}

/// The file is there when the kernel has the legacy back end.
fn has_legacy() -> bool {
    std::path::Path::new("/proc/thread-self/net/ip_tables_names").exists()
}

/// Tables a Weave Net has rules in.
const TABLES: [&str; 3] = [FILTER, "nat", "mangle"];
const FILTER: &str = "filter";
const FORWARD: &str = "FORWARD";
/// How often a change is tried again that another program's came before.
const ATTEMPTS: usize = 8;

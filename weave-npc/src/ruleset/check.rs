//! Whether the kernel can take a ruleset and the `nft` program can print it.
//!
//! Invariant: what passes has no name that leads nowhere, no loop of jumps, no two elements of one
//! set that cover the same packet, and every comparison between values of one type.

use super::chain::{Base, Chain, ChainType, Hook};
use super::field::{Field, Need};
use super::name::Name;
use super::rule::{Match, Operand, Reject, Rule, SetRef, Statement};
use super::set::{DataType, Datum, Set, Verdict};
use super::value::{Key, Type};
use super::{Family, Ruleset, Table, TableId};

/// What is wrong with a ruleset.
///
/// Each names the object; whoever built the ruleset has to build it otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table {table} {object}: {fault}")]
pub struct Invalid {
    /// The table.
    pub table: TableId,
    /// The object in it, for example `chain forward rule 3`.
    pub object: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A rule or an element names a chain that the table does not have.
    #[error("leads to chain {0}, which is not there")]
    NoChain(Name),
    /// A rule or an element leads to a chain that the kernel enters.
    #[error("leads to chain {0}, which has a hook and cannot be jumped to")]
    BaseChain(Name),
    /// Chains lead to each other for ever, or through more than 16 jumps.
    #[error("jumps go round, or deeper than 16")]
    Loop,
    /// A rule uses a set that the table does not have.
    #[error("uses set {0}, which is not there")]
    NoSet(Name),
    /// A value of one type where another belongs.
    #[error("has {found} where {expected} belongs")]
    Type {
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Two elements of a set cover one packet.
    #[error("elements {0} and {1} overlap")]
    Overlap(Key, Key),
    /// A key is too long, has too many parts, or is a range where none is possible.
    #[error("key {0} cannot be stored")]
    Key(Key),
    /// An expiry in a set without, or one that is zero.
    #[error("element {0} has an expiry that cannot be")]
    Timeout(Key),
    /// A field, a hook or a statement that the table's family does not have.
    #[error("{0} is not possible here")]
    Family(&'static str),
    /// Another chain of the table has the same hook and priority: which comes first depends on which
    /// was made first.
    #[error("has the hook and priority of chain {0}")]
    Tie(Name),
    /// A rule without statements.
    #[error("the rule says nothing")]
    Empty,
    /// A statement behind one that ends the rule.
    #[error("something stands behind the end of the rule")]
    Unreachable,
    /// A number that means nothing to the kernel.
    #[error("{0}")]
    Number(&'static str),
}

impl Ruleset {
    /// Looks for faults.
    ///
    /// # Errors
    ///
    /// The first fault, in order of the tables' names.
    pub fn check(&self) -> Result<(), Invalid> {
        for (id, table) in &self.tables {
            table.check(id)?;
        }
        Ok(())
    }
}

impl Table {
    /// Looks for faults of this table, known as `id`.
    ///
    /// # Errors
    ///
    /// The first fault: sets, then chains, then loops.
    pub fn check(&self, id: &TableId) -> Result<(), Invalid> {
        let at = |object: String| {
            move |fault| Invalid {
                table: id.clone(),
                object,
                fault,
            }
        };
        for (name, set) in &self.sets {
            self.set(set).map_err(at(format!("set {name}")))?;
        }
        for (name, chain) in &self.chains {
            if let Some(base) = &chain.base {
                let tie = self
                    .tie(name, base)
                    .map_or(Ok(()), |other| Err(Fault::Tie(other.clone())));
                tie.map_err(at(format!("chain {name}")))?;
                base.check(id.family).map_err(at(format!("chain {name}")))?;
            }
            for (index, rule) in chain.rules.iter().enumerate() {
                self.rule(id.family, rule)
                    .map_err(at(format!("chain {name} rule {index}")))?;
            }
        }
        for (name, chain) in &self.chains {
            if chain.base.is_some() {
                self.depth(chain, 0).map_err(at(format!("chain {name}")))?;
            }
        }
        self.circles()
            .map_or(Ok(()), |name| Err(at(format!("chain {name}"))(Fault::Loop)))
    }

    /// An earlier chain that the kernel enters at the same place.
    fn tie(&self, name: &Name, base: &Base) -> Option<&Name> {
        let place = |base: &Base| (base.hook, base.priority, base.device);
        self.chains
            .iter()
            .take_while(|(other, _)| *other != name)
            .find(|(_, chain)| {
                chain
                    .base
                    .as_ref()
                    .is_some_and(|other| place(other) == place(base))
            })
            .map(|(other, _)| other)
    }

    // ===== sets =====

    fn set(&self, set: &Set) -> Result<(), Fault> {
        let len: usize = set
            .key
            .iter()
            .map(|kind| kind.len().next_multiple_of(4))
            .sum();
        let too_long = set.key.is_empty() || set.key.len() > MAX_PARTS || len > MAX_KEY;
        let unordered = matches!(set.key.as_slice(), [one] if set.is_interval && !one.is_ordered());
        if too_long || unordered {
            return Err(Fault::Number("the key has no type that can be stored"));
        }
        for (key, entry) in &set.elements {
            let kinds: Vec<Type> = key.parts().iter().map(super::Span::kind).collect();
            if kinds != set.key {
                return Err(mismatch(&types(&set.key), types(&kinds)));
            }
            if !set.is_interval && key.parts().iter().any(|part| !part.is_single()) {
                return Err(Fault::Key(key.clone()));
            }
            let timeout = entry
                .timeout
                .map(|timeout| set.has_timeout && timeout.as_millis() > 0);
            if timeout == Some(false) {
                return Err(Fault::Timeout(key.clone()));
            }
            match (set.data, &entry.data) {
                (DataType::None, None) => {}
                (DataType::Verdict, Some(Datum::Verdict(verdict))) => self.verdict(verdict)?,
                (DataType::Value(kind), Some(Datum::Value(value))) if value.kind() == kind => {}
                (expected, found) => return Err(mismatch(&expected, found)),
            }
        }
        match overlap(set) {
            Some((a, b)) => Err(Fault::Overlap(a.clone(), b.clone())),
            None => Ok(()),
        }
    }

    fn verdict(&self, verdict: &Verdict) -> Result<(), Fault> {
        let Some(target) = verdict.target() else {
            return Ok(());
        };
        match self.chains.get(target) {
            None => Err(Fault::NoChain(target.clone())),
            Some(chain) if chain.base.is_some() => Err(Fault::BaseChain(target.clone())),
            Some(_) => Ok(()),
        }
    }

    // ===== rules =====

    fn rule(&self, family: Family, rule: &Rule) -> Result<(), Fault> {
        if rule.statements().is_empty() {
            return Err(Fault::Empty);
        }
        let mut has_ended = false;
        let mut is_tcp = false;
        for statement in rule.statements() {
            if has_ended {
                return Err(Fault::Unreachable);
            }
            if !family.is_link_layer()
                && statement.fields().iter().any(|field| field.is_link_layer())
            {
                return Err(Fault::Family("a field of frames"));
            }
            match statement {
                Statement::Match(test) => self.condition(test)?,
                Statement::Vmap(fields, set) => self.lookup(fields, set, true)?,
                Statement::Verdict(verdict) => self.verdict(verdict)?,
                Statement::Limit(limit) if limit.rate == 0 || limit.burst == 0 => {
                    return Err(Fault::Number("a limit needs a rate and a burst"));
                }
                Statement::Log(log) if log.group.is_none() && log.snaplen > 0 => {
                    return Err(Fault::Number("a log needs a group to cut packets for"));
                }
                Statement::Masquerade(_) | Statement::Snat(_) | Statement::Dnat(_)
                    if family.is_link_layer() =>
                {
                    return Err(Fault::Family("translation"));
                }
                Statement::NoTrack if family.is_link_layer() => {
                    return Err(Fault::Family("notrack"));
                }
                Statement::Reject(_) if family != Family::Inet => {
                    return Err(Fault::Family("reject"));
                }
                Statement::Reject(Reject::TcpReset) if !is_tcp => {
                    return Err(Fault::Number("a TCP reset needs a test for TCP before it"));
                }
                _ => {}
            }
            is_tcp |= statement.establishes() == Some(Need::L4(PROTO_TCP));
            has_ended = matches!(
                statement,
                Statement::Vmap(..)
                    | Statement::Verdict(_)
                    | Statement::Masquerade(_)
                    | Statement::Snat(_)
                    | Statement::Dnat(_)
                    | Statement::Reject(_)
            );
        }
        Ok(())
    }

    fn condition(&self, test: &Match) -> Result<(), Fault> {
        let Match {
            fields, operand, ..
        } = test;
        if let Operand::Set(set) = operand {
            return self.lookup(fields, set, false);
        }
        let [field] = fields.as_slice() else {
            return Err(mismatch(&"one field", fields.len()));
        };
        let kind = field.kind();
        let fits = match operand {
            Operand::Value(value) => {
                value.kind() == kind && !matches!(kind, Type::CtState | Type::CtStatus)
            }
            Operand::Range(span) => span.kind() == kind && kind.is_ordered() && !span.is_single(),
            Operand::Net(net) if net.prefix_len() == 0 => {
                return Err(Fault::Number(
                    "a network of all addresses: test the protocol instead",
                ));
            }
            Operand::Net(net) => {
                *net == net.trunc()
                    && net.prefix_len() < net.max_prefix_len()
                    && kind
                        == if net.addr().is_ipv4() {
                            Type::Ipv4
                        } else {
                            Type::Ipv6
                        }
            }
            Operand::NameStart(_) => kind == Type::IfName,
            Operand::Masked { mask, value } => {
                kind == Type::Mark && *mask != 0 && value & !mask == 0
            }
            Operand::States(states) => kind == Type::CtState && states.bits() != 0,
            Operand::Statuses(statuses) => kind == Type::CtStatus && statuses.bits() != 0,
            Operand::Set(_) => false,
        };
        if fits {
            Ok(())
        } else {
            Err(mismatch(&kind, operand))
        }
    }

    fn lookup(&self, fields: &[Field], set: &SetRef, is_vmap: bool) -> Result<(), Fault> {
        let set = match set {
            SetRef::Named(name) => self
                .sets
                .get(name)
                .ok_or_else(|| Fault::NoSet(name.clone()))?
                .as_ref(),
            SetRef::Anonymous(set) => {
                self.set(set)?;
                if set.elements.is_empty() || set.has_timeout {
                    return Err(Fault::Number("a set of a rule needs lasting elements"));
                }
                set
            }
        };
        let expected = if is_vmap {
            DataType::Verdict
        } else {
            DataType::None
        };
        if set.data != expected {
            return Err(mismatch(&expected, set.data));
        }
        let kinds: Vec<Type> = fields.iter().map(|field| field.kind()).collect();
        if kinds != set.key {
            return Err(mismatch(&types(&set.key), types(&kinds)));
        }
        Ok(())
    }

    // ===== jumps =====

    /// Follows every way from a base chain; the kernel keeps 16 places to return to.
    fn depth(&self, chain: &Chain, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::Loop);
        }
        let mut targets: Vec<&Name> = self.targets(chain).collect();
        targets.sort();
        targets.dedup();
        for target in targets {
            if let Some(next) = self.chains.get(target) {
                self.depth(next, depth + 1)?;
            }
        }
        Ok(())
    }

    /// A chain from which jumps lead back to itself, also where no hook leads to it.
    fn circles(&self) -> Option<&Name> {
        // Chains whose every way ends: those without jumps first, then those that lead only to them.
        let mut open: Vec<(&Name, &Chain)> = self
            .chains
            .iter()
            .map(|(name, chain)| (name, chain.as_ref()))
            .collect();
        loop {
            let waiting: std::collections::BTreeSet<&Name> =
                open.iter().map(|(name, _)| *name).collect();
            let before = open.len();
            open.retain(|(_, chain)| self.targets(chain).any(|target| waiting.contains(target)));
            if open.len() == before {
                return open.first().map(|(name, _)| *name);
            }
        }
    }

    fn targets<'a>(&'a self, chain: &'a Chain) -> impl Iterator<Item = &'a Name> {
        chain
            .rules
            .iter()
            .flat_map(Rule::statements)
            .flat_map(|statement| {
                let verdict = match statement {
                    Statement::Verdict(verdict) => verdict.target(),
                    _ => None,
                };
                let set = match statement {
                    Statement::Vmap(_, SetRef::Named(name)) => {
                        self.sets.get(name).map(AsRef::as_ref)
                    }
                    Statement::Vmap(_, SetRef::Anonymous(set)) => Some(set.as_ref()),
                    _ => None,
                };
                let elements = set.into_iter().flat_map(|set| set.elements.values());
                verdict
                    .into_iter()
                    .chain(elements.filter_map(super::Entry::target))
            })
    }
}

impl Base {
    fn check(&self, family: Family) -> Result<(), Fault> {
        let at_device = matches!(self.hook, Hook::Ingress | Hook::Egress);
        if at_device != (family == Family::Netdev) || at_device != self.device.is_some() {
            return Err(Fault::Family("this hook"));
        }
        let fits = match self.kind {
            ChainType::Filter => true,
            ChainType::Nat => !family.is_link_layer() && self.hook != Hook::Forward,
            ChainType::Route => !family.is_link_layer() && self.hook == Hook::Output,
        };
        if fits {
            Ok(())
        } else {
            Err(Fault::Family("this type of chain at this hook"))
        }
    }
}

// ===== overlaps =====

/// Two elements of an interval set that cover one packet.
fn overlap(set: &Set) -> Option<(&Key, &Key)> {
    if !set.is_interval {
        return None;
    }
    // Keys come by the beginning of their first part. Those whose first part has not ended are
    // candidates; equal first parts are the usual case in concatenations.
    let mut open: Vec<&Key> = Vec::new();
    for key in set.elements.keys() {
        let first = key.parts().first()?.first();
        open.retain(|other| {
            other
                .parts()
                .first()
                .is_some_and(|part| part.last() >= first)
        });
        if let Some(other) = open.iter().find(|other| other.overlaps(key)) {
            return Some((other, key));
        }
        open.push(key);
    }
    None
}

fn mismatch(expected: &impl std::fmt::Debug, found: impl std::fmt::Debug) -> Fault {
    Fault::Type {
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    }
}

fn types(kinds: &[Type]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.as_str()).collect()
}

/// `NFT_JUMP_STACK_SIZE` of the kernel.
const MAX_DEPTH: usize = 16;
/// Parts of a key: the `nft` program packs their types by 6 bits into 32.
const MAX_PARTS: usize = 5;
/// `NFT_DATA_VALUE_MAXLEN`: bytes of a key.
const MAX_KEY: usize = 64;
/// IP protocol of TCP.
const PROTO_TCP: u8 = 6;

#[cfg(test)]
mod tests;

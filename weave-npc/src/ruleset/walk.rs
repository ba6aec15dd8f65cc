//! What the kernel would do with a packet: an interpreter of rulesets.
//!
//! Invariant: for a checked ruleset the outcome is that of `nft_do_chain` in the kernel: base chains
//! of one hook in order of priority, `accept` ends its own base chain only, `drop` ends everything.
//! Of chains in different tables with one priority the kernel enters the one that was made last
//! first; a walk, which knows no history, goes by name.

use std::sync::Arc;

use super::chain::{Base, Chain, ChainType, Hook, Policy};
use super::field::Field;
use super::name::{Comment, Name};
use super::packet::Packet;
use super::rule::{Match, NatTarget, Operand, Reject, SetRef, Statement};
use super::set::{Datum, Set, Verdict};
use super::value::{CtState, NfProto, Value};
use super::{Family, Ruleset, Table, TableId};

/// Walks packets through a ruleset.
///
/// Limits never bite: a walk tells what happens to a packet that comes alone.
#[derive(Debug)]
pub struct Walk<'a> {
    entries: Vec<Entry<'a>>,
}

#[derive(Debug)]
struct Entry<'a> {
    id: &'a TableId,
    table: &'a Table,
    name: &'a Name,
    chain: &'a Chain,
    base: &'a Base,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its end.
    pub fate: Fate,
    /// Its mark afterwards.
    pub mark: u32,
    /// What happened on the way, in order.
    pub steps: Vec<Step>,
}

/// The end of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The packet goes on.
    Accept,
    /// The packet is gone.
    Drop,
    /// The packet is gone and its sender is told.
    Reject(Reject),
}

/// Something that a rule, or the end of a base chain, did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The table.
    pub table: TableId,
    /// The chain.
    pub chain: Name,
    /// The index of the rule; nothing for the policy of the chain.
    pub rule: Option<usize>,
    /// What it did.
    pub deed: Deed,
}

/// What was done to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deed {
    /// Counted.
    Counted,
    /// Logged with this prefix to this group.
    Logged(Option<Comment>, Option<u16>),
    /// Its mark changed to this.
    Marked(u32),
    /// Conntrack will leave it alone.
    Untracked,
    /// Its source became that of the device.
    Masqueraded,
    /// Its source changed.
    Snat(NatTarget),
    /// Its destination changed.
    Dnat(NatTarget),
    /// Refused.
    Rejected(Reject),
    /// Decided, or sent on to another chain.
    Verdict(Verdict),
}

impl Outcome {
    /// The prefixes of the logs, in order.
    pub fn logged(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.deed {
            Deed::Logged(prefix, _) => prefix.as_ref().map(Comment::as_str),
            _ => None,
        })
    }
}

impl<'a> Walk<'a> {
    /// Prepares a ruleset that has passed [`Ruleset::check`].
    pub fn new(ruleset: &'a Ruleset) -> Self {
        let mut entries: Vec<Entry<'a>> = Vec::new();
        for (id, table) in &ruleset.tables {
            entries.extend(table.chains.iter().filter_map(|(name, chain)| {
                let base = chain.base.as_ref()?;
                Some(Entry {
                    id,
                    table,
                    name,
                    chain,
                    base,
                })
            }));
        }
        entries.sort_by_key(|entry| (entry.base.hook, entry.base.priority));
        Self { entries }
    }

    /// Sends a packet through the chains of a hook of the IP stack.
    pub fn run(&self, hook: Hook, packet: &Packet) -> Outcome {
        let proto = packet.nfproto();
        self.through(hook, packet, |family| match family {
            Family::Inet => proto.is_some(),
            Family::Ip => proto == Some(NfProto::Ipv4),
            Family::Ip6 => proto == Some(NfProto::Ipv6),
            Family::Bridge | Family::Netdev => false,
        })
    }

    /// Sends a frame through the chains of a hook of bridges.
    pub fn run_bridge(&self, hook: Hook, packet: &Packet) -> Outcome {
        self.through(hook, packet, |family| family == Family::Bridge)
    }

    /// Sends a frame through the chains of its incoming ([`Hook::Ingress`]) or outgoing device.
    pub fn run_device(&self, hook: Hook, packet: &Packet) -> Outcome {
        self.through(hook, packet, |family| family == Family::Netdev)
    }

    fn through(&self, hook: Hook, packet: &Packet, takes: impl Fn(Family) -> bool) -> Outcome {
        let mut pass = Pass {
            packet: packet.clone(),
            steps: Vec::new(),
        };
        let device = if hook == Hook::Egress {
            packet.oif
        } else {
            packet.iif
        };
        for entry in &self.entries {
            let is_new = pass.packet.ct_state == CtState::NEW;
            let sees = takes(entry.id.family)
                && entry.base.hook == hook
                && (entry.base.device.is_none() || entry.base.device == device)
                && (entry.base.kind != ChainType::Nat || is_new);
            if !sees {
                continue;
            }
            let fate = pass.base_chain(entry);
            if fate != Fate::Accept {
                return pass.end(fate);
            }
        }
        pass.end(Fate::Accept)
    }
}

// ===== one packet =====

struct Pass {
    packet: Packet,
    steps: Vec<Step>,
}

/// What a rule wants next.
enum Next {
    /// The next rule.
    Rule,
    Verdict(Verdict),
    Reject(Reject),
}

impl Pass {
    fn end(self, fate: Fate) -> Outcome {
        Outcome {
            fate,
            mark: self.packet.mark,
            steps: self.steps,
        }
    }

    fn base_chain(&mut self, entry: &Entry<'_>) -> Fate {
        let (mut name, mut chain, mut index) = (entry.name, entry.chain, 0);
        let mut stack: Vec<(&Name, &Chain, usize)> = Vec::new();
        for _ in 0..MAX_STEPS {
            let next = match chain.rules.get(index) {
                Some(rule) => self.rule(entry, name, index, rule.statements()),
                None => Next::Verdict(Verdict::Return),
            };
            index += 1;
            match next {
                Next::Rule => {}
                Next::Reject(reject) => return Fate::Reject(reject),
                Next::Verdict(Verdict::Accept) => return Fate::Accept,
                Next::Verdict(Verdict::Drop) => return Fate::Drop,
                Next::Verdict(Verdict::Return) => match stack.pop() {
                    Some(place) => (name, chain, index) = place,
                    None => return self.policy(entry),
                },
                Next::Verdict(Verdict::Jump(target)) => {
                    stack.push((name, chain, index));
                    let Some(place) = find(entry.table, &target) else {
                        return Fate::Drop;
                    };
                    (name, chain, index) = (place.0, place.1, 0);
                }
                Next::Verdict(Verdict::Goto(target)) => {
                    let Some(place) = find(entry.table, &target) else {
                        return Fate::Drop;
                    };
                    (name, chain, index) = (place.0, place.1, 0);
                }
            }
            if stack.len() > MAX_JUMPS {
                return Fate::Drop;
            }
        }
        Fate::Drop
    }

    fn policy(&mut self, entry: &Entry<'_>) -> Fate {
        let (verdict, fate) = match entry.base.policy {
            Policy::Accept => (Verdict::Accept, Fate::Accept),
            Policy::Drop => (Verdict::Drop, Fate::Drop),
        };
        self.note(entry, entry.name, None, Deed::Verdict(verdict));
        fate
    }

    fn rule(&mut self, entry: &Entry<'_>, chain: &Name, index: usize, steps: &[Statement]) -> Next {
        for statement in steps {
            let deed = match statement {
                Statement::Match(test) if self.holds(entry.table, test) => continue,
                Statement::Match(_) => return Next::Rule,
                Statement::Limit(limit) if limit.is_over => return Next::Rule,
                Statement::Limit(_) => continue,
                Statement::Counter => Deed::Counted,
                Statement::Log(log) => Deed::Logged(log.prefix.clone(), log.group),
                Statement::SetMark(change) => {
                    self.packet.mark = change.apply(self.packet.mark);
                    Deed::Marked(self.packet.mark)
                }
                Statement::NoTrack => {
                    self.packet.ct_state = CtState::UNTRACKED;
                    Deed::Untracked
                }
                Statement::Masquerade(_) => Deed::Masqueraded,
                Statement::Snat(target) => Deed::Snat(*target),
                Statement::Dnat(target) => Deed::Dnat(*target),
                Statement::Reject(reject) => Deed::Rejected(*reject),
                Statement::Verdict(verdict) => Deed::Verdict(verdict.clone()),
                Statement::Vmap(fields, set) => match self.look_up(entry.table, fields, set) {
                    Some(verdict) => Deed::Verdict(verdict),
                    None => return Next::Rule,
                },
            };
            self.note(entry, chain, Some(index), deed.clone());
            match deed {
                Deed::Verdict(verdict) => return Next::Verdict(verdict),
                Deed::Rejected(reject) => return Next::Reject(reject),
                Deed::Masqueraded | Deed::Snat(_) | Deed::Dnat(_) => {
                    return Next::Verdict(Verdict::Accept);
                }
                _ => {}
            }
        }
        Next::Rule
    }

    fn note(&mut self, entry: &Entry<'_>, chain: &Name, rule: Option<usize>, deed: Deed) {
        self.steps.push(Step {
            table: entry.id.clone(),
            chain: chain.clone(),
            rule,
            deed,
        });
    }

    fn holds(&self, table: &Table, test: &Match) -> bool {
        let Some(values) = self.values(&test.fields) else {
            return false;
        };
        let is_equal = match (&test.operand, values.as_slice()) {
            (Operand::Set(set), values) => set
                .resolve(table)
                .is_some_and(|set| set.find(values).is_some()),
            (Operand::Value(value), [found]) => value == found,
            (Operand::Range(span), [found]) => span.contains(*found),
            (Operand::Net(net), [Value::Ipv4(found)]) => {
                net.contains(&std::net::IpAddr::V4(*found))
            }
            (Operand::Net(net), [Value::Ipv6(found)]) => {
                net.contains(&std::net::IpAddr::V6(*found))
            }
            (Operand::NameStart(start), [Value::IfName(found)]) => {
                found.as_str().starts_with(start.as_str())
            }
            (Operand::Masked { mask, value }, [Value::Mark(found)]) => found & mask == *value,
            (Operand::States(states), [Value::CtState(found)]) => states.bits() & found.bits() != 0,
            (Operand::Statuses(bits), [Value::CtStatus(found)]) => bits.bits() & found.bits() != 0,
            _ => return false,
        };
        is_equal != test.is_negated
    }

    fn look_up(&self, table: &Table, fields: &[Field], set: &SetRef) -> Option<Verdict> {
        let (_, entry) = set.resolve(table)?.find(&self.values(fields)?)?;
        match &entry.data {
            Some(Datum::Verdict(verdict)) => Some(verdict.clone()),
            _ => None,
        }
    }

    fn values(&self, fields: &[Field]) -> Option<Vec<Value>> {
        fields
            .iter()
            .map(|field| self.packet.read(*field))
            .collect()
    }
}

impl SetRef {
    /// The set itself.
    pub fn resolve<'a>(&'a self, table: &'a Table) -> Option<&'a Set> {
        match self {
            Self::Named(name) => table.sets.get(name).map(Arc::as_ref),
            Self::Anonymous(set) => Some(set),
        }
    }
}

fn find<'a>(table: &'a Table, name: &Name) -> Option<(&'a Name, &'a Chain)> {
    table
        .chains
        .get_key_value(name)
        .map(|(name, chain)| (name, chain.as_ref()))
}

/// `NFT_JUMP_STACK_SIZE` of the kernel, which drops packets beyond.
const MAX_JUMPS: usize = 16;
/// Ends walks through rulesets that were not checked and go round.
const MAX_STEPS: usize = 1 << 20;

#[cfg(test)]
mod tests;

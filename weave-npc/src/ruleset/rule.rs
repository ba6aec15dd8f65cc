//! Rules: conditions, then what to do.
//!
//! Invariant: a [`Rule`] has one form. A test of the protocol that the next statement makes anyway
//! (`meta nfproto ipv4` before `ip saddr`) is left out when a rule is built, as the `nft` program
//! leaves it out when it lists; so a rule read back from the kernel equals the one that was sent.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::field::{Field, Need};
use super::name::{Comment, IfName, Name};
use super::set::{Set, Verdict};
use super::value::{CtState, CtStatus, Key, Span, Value};

/// One rule of a chain.
///
/// ```
/// use weave_npc::ruleset::{Comment, Field, Name, Rule, Verdict};
///
/// let rule = Rule::new()
///     .when(Field::Ip4Saddr.in_set(&Name::new("s4-1f").unwrap()))
///     .when(Field::L4Proto.is(weave_npc::ruleset::Value::Proto(6)))
///     .counter()
///     .verdict(Verdict::Return)
///     .comment(Comment::lossy("shop/db-access#0"));
/// assert_eq!(
///     rule.to_string(),
///     r#"ip saddr @s4-1f meta l4proto tcp counter return comment "shop/db-access#0""#
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    statements: Vec<Statement>,
    comment: Option<Comment>,
}

/// One step of a rule: a condition that must hold for the steps behind it, or an effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Statement {
    /// The rule goes on only if this holds.
    Match(Match),
    /// Counts packets and bytes that come this far.
    Counter,
    /// The rule goes on only within (or only beyond) a rate.
    Limit(Limit),
    /// Tells about the packet.
    Log(Log),
    /// Changes the packet's mark.
    SetMark(MarkChange),
    /// Conntrack leaves the packet alone (prerouting and output, ahead of conntrack's -200).
    NoTrack,
    /// Source becomes the address of the device the packet leaves by (nat, postrouting).
    Masquerade(NatFlags),
    /// Source becomes this address (nat, postrouting and input).
    Snat(NatTarget),
    /// Destination becomes this address (nat, prerouting and output).
    Dnat(NatTarget),
    /// Drops the packet and tells its sender (not in prerouting and postrouting).
    Reject(Reject),
    /// Looks the fields up in a verdict map; without an element the rule ends.
    Vmap(Vec<Field>, SetRef),
    /// What happens to the packet.
    Verdict(Verdict),
}

/// A condition on one field, or on several looked up together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Match {
    /// What is looked at; several only with [`Operand::Set`].
    pub fields: Vec<Field>,
    /// True if the condition holds when the comparison does not.
    pub is_negated: bool,
    /// What it is compared with.
    pub operand: Operand,
}

/// What fields are compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operand {
    /// Equal to a value.
    Value(Value),
    /// Within a range of more than one value.
    Range(Span),
    /// In a network, for addresses; kept without host bits, never of one address.
    Net(IpNet),
    /// An interface whose name starts so.
    NameStart(IfName),
    /// `field & mask == value`, for marks.
    Masked {
        /// The bits that count.
        mask: u32,
        /// What they are.
        value: u32,
    },
    /// One of these connection states.
    States(CtState),
    /// One of these bits of connection status.
    Statuses(CtStatus),
    /// In a set.
    Set(SetRef),
}

/// A set used by a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetRef {
    /// A set of the same table.
    Named(Name),
    /// A set of this rule's own.
    Anonymous(Box<Set>),
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit {
    /// Packets per `per`.
    pub rate: u64,
    /// The unit of time.
    pub per: Unit,
    /// Packets above the rate that pass at once.
    pub burst: u32,
    /// True if the rule goes on only beyond the rate.
    pub is_over: bool,
}

/// A unit of time of a [`Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A second.
    Second,
    /// 60 seconds.
    Minute,
    /// 3600 seconds.
    Hour,
}

impl Unit {
    /// Its length.
    pub const fn duration(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_secs(60),
            Self::Hour => Duration::from_secs(3600),
        }
    }
}

/// Where to tell about a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log {
    /// A text in front; at most 127 bytes count.
    pub prefix: Option<Comment>,
    /// A group of listeners; without it the kernel's own log.
    pub group: Option<u16>,
    /// With a group: bytes of the packet to hand over; 0 is all.
    pub snaplen: u32,
}

/// `mark = (mark & keep) ^ toggle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkChange {
    /// The bits that stay.
    pub keep: u32,
    /// The bits that are turned over afterwards.
    pub toggle: u32,
}

impl MarkChange {
    /// The mark becomes `value`.
    pub const fn set(value: u32) -> Self {
        Self {
            keep: 0,
            toggle: value,
        }
    }

    /// These bits become 1.
    pub const fn set_bits(bits: u32) -> Self {
        Self {
            keep: !bits,
            toggle: bits,
        }
    }

    /// These bits become 0.
    pub const fn clear_bits(bits: u32) -> Self {
        Self {
            keep: !bits,
            toggle: 0,
        }
    }

    /// The mark afterwards.
    pub const fn apply(self, mark: u32) -> u32 {
        (mark & self.keep) ^ self.toggle
    }
}

/// How ports are chosen when a source is translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatFlags {
    /// At random, a little.
    pub random: bool,
    /// At random.
    pub fully_random: bool,
    /// The same for every connection of a client.
    pub persistent: bool,
}

/// The address, and the port if it changes, that a packet gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatTarget {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

/// How the sender of a refused packet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// ICMP or `ICMPv6`: administratively prohibited (not in netdev tables).
    AdminProhibited,
    /// ICMP or `ICMPv6`: port unreachable.
    PortUnreachable,
    /// TCP reset; the rule must test for TCP.
    TcpReset,
}

impl Rule {
    /// A rule that does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(self, condition: Match) -> Self {
        self.then(Statement::Match(condition))
    }

    /// Adds a step.
    #[must_use]
    pub fn then(mut self, statement: Statement) -> Self {
        for need in statement
            .fields()
            .iter()
            .flat_map(|field| field.needs())
            .rev()
        {
            while self.statements.last().and_then(Statement::establishes) == Some(*need) {
                self.statements.pop();
            }
        }
        self.statements.push(statement);
        self
    }

    /// Counts.
    #[must_use]
    pub fn counter(self) -> Self {
        self.then(Statement::Counter)
    }

    /// Logs.
    #[must_use]
    pub fn log(self, log: Log) -> Self {
        self.then(Statement::Log(log))
    }

    /// Goes on within a rate only.
    #[must_use]
    pub fn limit(self, limit: Limit) -> Self {
        self.then(Statement::Limit(limit))
    }

    /// Decides.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.then(Statement::Verdict(verdict))
    }

    /// Decides by a verdict map of the table.
    #[must_use]
    pub fn vmap(self, fields: impl IntoIterator<Item = Field>, map: &Name) -> Self {
        self.then(Statement::Vmap(
            fields.into_iter().collect(),
            SetRef::Named(map.clone()),
        ))
    }

    /// With a comment.
    #[must_use]
    pub fn comment(mut self, comment: Comment) -> Self {
        self.comment = Some(comment);
        self
    }

    /// The steps in order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// The comment.
    pub fn note(&self) -> Option<&Comment> {
        self.comment.as_ref()
    }

    /// True if it counts, so that the kernel can be asked how often it came that far.
    pub fn is_counted(&self) -> bool {
        self.statements.contains(&Statement::Counter)
    }
}

impl Statement {
    /// The fields it reads.
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Match(test) => &test.fields,
            Self::Vmap(fields, _) => fields,
            _ => &[],
        }
    }

    /// The set it looks into.
    pub fn set(&self) -> Option<&SetRef> {
        match self {
            Self::Match(Match {
                operand: Operand::Set(set),
                ..
            })
            | Self::Vmap(_, set) => Some(set),
            _ => None,
        }
    }

    /// What is known about the packet behind it.
    pub(crate) fn establishes(&self) -> Option<Need> {
        match self {
            Self::Match(Match {
                fields,
                is_negated: false,
                operand: Operand::Value(value),
            }) => fields.first()?.establishes(*value),
            _ => None,
        }
    }
}

/// Conditions on one field. They do not check that value and field have one type:
/// [`Ruleset::check`](super::Ruleset::check) does.
impl Field {
    /// Equal to a value; for connection states and status, one of the given bits.
    pub fn is(self, value: impl Into<Value>) -> Match {
        let operand = match value.into() {
            Value::CtState(states) => Operand::States(states),
            Value::CtStatus(statuses) => Operand::Statuses(statuses),
            value => Operand::Value(value),
        };
        Match::on(self, operand)
    }

    /// Within a range.
    pub fn within(self, span: Span) -> Match {
        let operand = if span.is_single() {
            Operand::Value(span.first())
        } else {
            Operand::Range(span)
        };
        Match::on(self, operand)
    }

    /// In a network; host bits do not count.
    pub fn in_net(self, net: IpNet) -> Match {
        let operand = if net.prefix_len() == net.max_prefix_len() {
            Operand::Value(net.addr().into())
        } else {
            Operand::Net(net.trunc())
        };
        Match::on(self, operand)
    }

    /// An interface whose name starts so.
    pub fn starts_with(self, start: IfName) -> Match {
        Match::on(self, Operand::NameStart(start))
    }

    /// A mark whose bits in `mask` are `value`.
    pub fn masked(self, mask: u32, value: u32) -> Match {
        Match::on(self, Operand::Masked { mask, value })
    }

    /// In a set of the table.
    pub fn in_set(self, set: &Name) -> Match {
        Match::on(self, Operand::Set(SetRef::Named(set.clone())))
    }

    /// One of several keys, ranges among them if there are any; one single value is compared
    /// without a set.
    pub fn one_of(self, keys: impl IntoIterator<Item = impl Into<Key>>) -> Match {
        let mut set = Set::of([self.kind()]);
        for key in keys {
            let key = key.into();
            set.is_interval |= key.parts().iter().any(|part| !part.is_single());
            set.insert(key);
        }
        let single = set
            .elements
            .keys()
            .next()
            .and_then(|key| key.parts().first())
            .copied();
        match single {
            Some(span) if set.elements.len() == 1 && span.is_single() => self.is(span.first()),
            Some(span) if set.elements.len() == 1 => self.within(span),
            _ => Match::on(self, Operand::Set(SetRef::Anonymous(Box::new(set)))),
        }
    }
}

impl Match {
    /// Several fields looked up together in a set.
    pub fn concat(fields: impl IntoIterator<Item = Field>, set: SetRef) -> Self {
        Self {
            fields: fields.into_iter().collect(),
            is_negated: false,
            operand: Operand::Set(set),
        }
    }

    /// The opposite.
    #[must_use]
    pub fn negate(mut self) -> Self {
        self.is_negated = !self.is_negated;
        self
    }

    fn on(field: Field, operand: Operand) -> Self {
        Self {
            fields: vec![field],
            is_negated: false,
            operand,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::NfProto;

    #[test]
    fn a_test_that_the_next_step_needs_anyway_is_left_out_however_often_it_was_made() {
        let map: Name = "dispatch".parse().unwrap();
        let needed = || Field::NfProto.is(NfProto::Ipv4);
        let plain = Rule::new().vmap([Field::Ip4Daddr], &map);

        assert_eq!(
            Rule::new().when(needed()).vmap([Field::Ip4Daddr], &map),
            plain
        );
        let twice = Rule::new().when(needed()).when(needed());
        assert_eq!(twice.vmap([Field::Ip4Daddr], &map), plain);
    }
}

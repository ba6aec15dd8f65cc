//! Rules as lists of kernel expressions.
//!
//! Invariant: `lift(encode(rule)) = rule` for rules that pass [`Ruleset::check`], and a field is
//! loaded only where its protocol has been tested before, by the rule or by a test put in here.
//!
//! [`Ruleset::check`]: crate::ruleset::Ruleset::check

use std::net::IpAddr;

use ipnet::IpNet;

use super::expr::{
    RawExpression, bitwise, cmp, counter, immediate, limit, log, lookup, masq, meta, nat, op,
    range, reject,
};
use super::load::{NFPROTO_IPV4, NFPROTO_IPV6, bytes_of, load};
use crate::ruleset::{
    Family, Field, Limit, Log, MarkChange, Match, NatFlags, NatTarget, Need, NfProto, Operand,
    Reject, Rule, Set, SetRef, Statement, Value,
};

/// The expressions of a rule, and the sets of its own that they look into.
pub(super) struct Encoded<'a> {
    pub(super) expressions: Vec<RawExpression>,
    /// In order of use; the `id`s are consecutive from the one given.
    pub(super) sets: Vec<&'a Set>,
}

/// Encodes a rule for a table of `family`. Its own sets get the numbers from `first_id` on.
pub(super) fn encode(family: Family, rule: &Rule, first_id: u32) -> Encoded<'_> {
    let mut encoder = Encoder {
        family,
        known: Vec::new(),
        first_id,
        out: Encoded {
            expressions: Vec::new(),
            sets: Vec::new(),
        },
    };
    match family {
        Family::Ip => encoder.known.push(Need::L3(NfProto::Ipv4)),
        Family::Ip6 => encoder.known.push(Need::L3(NfProto::Ipv6)),
        _ => {}
    }
    for statement in rule.statements() {
        encoder.statement(statement);
        encoder.known.extend(statement.establishes());
    }
    encoder.out
}

struct Encoder<'a> {
    family: Family,
    known: Vec<Need>,
    first_id: u32,
    out: Encoded<'a>,
}

impl<'a> Encoder<'a> {
    fn statement(&mut self, statement: &'a Statement) {
        self.establish(statement.fields());
        match statement {
            Statement::Match(test) => self.condition(test),
            Statement::Vmap(fields, set) => {
                self.load(fields);
                let expression = self.lookup(set).u32(lookup::DREG, 0);
                self.push(expression.u32(lookup::FLAGS, 0));
            }
            Statement::Counter => {
                self.push(
                    RawExpression::named("counter")
                        .u64(counter::BYTES, 0)
                        .u64(counter::PACKETS, 0),
                );
            }
            Statement::Limit(value) => self.push(limit_expression(value)),
            Statement::Log(value) => self.push(log_expression(value)),
            Statement::SetMark(change) => self.mark(*change),
            Statement::NoTrack => self.push(RawExpression::named("notrack")),
            Statement::Masquerade(flags) => {
                let expression = RawExpression::named("masq");
                self.push(match nat_flags(*flags) {
                    0 => expression,
                    flags => expression.u32(masq::FLAGS, flags),
                });
            }
            Statement::Snat(target) => self.nat(*target, NAT_SNAT),
            Statement::Dnat(target) => self.nat(*target, NAT_DNAT),
            Statement::Reject(value) => {
                let (kind, code) = match value {
                    Reject::TcpReset => (1, 0),
                    Reject::PortUnreachable => (2, 1),
                    Reject::AdminProhibited => (2, 3),
                };
                self.push(
                    RawExpression::named("reject")
                        .u32(reject::TYPE, kind)
                        .bytes(reject::CODE, [code]),
                );
            }
            Statement::Verdict(verdict) => self.push(
                RawExpression::named("immediate")
                    .u32(immediate::DREG, 0)
                    .verdict(immediate::DATA, verdict),
            ),
        }
    }

    fn push(&mut self, expression: RawExpression) {
        self.out.expressions.push(expression);
    }

    /// Tests for what the fields need and is not known.
    fn establish(&mut self, fields: &[Field]) {
        let needs: Vec<Need> = fields
            .iter()
            .flat_map(|field| field.needs())
            .copied()
            .collect();
        for need in needs {
            if self.known.contains(&need) {
                continue;
            }
            let is_frame = self.family.is_link_layer();
            let (field, value) = match need {
                Need::L3(NfProto::Ipv4) if is_frame => (Field::Protocol, Value::EtherType(0x0800)),
                Need::L3(NfProto::Ipv6) if is_frame => (Field::Protocol, Value::EtherType(0x86dd)),
                Need::L3(proto) => (Field::NfProto, Value::NfProto(proto)),
                Need::L4(proto) => (Field::L4Proto, Value::Proto(proto)),
                Need::Arp => (Field::EtherType, Value::EtherType(0x0806)),
            };
            self.load(&[field]);
            self.compare(op::EQ, &bytes_of(value));
            self.known.push(need);
        }
    }

    /// Loads fields one behind the other, each padded to four bytes, from register 1 on.
    fn load(&mut self, fields: &[Field]) {
        let mut offset = 0;
        for field in fields {
            self.push(load(*field, register_at(offset)));
            offset += u32::try_from(field.kind().len().next_multiple_of(4)).unwrap_or(0);
        }
    }

    fn compare(&mut self, op: u32, bytes: &[u8]) {
        self.push(
            RawExpression::named("cmp")
                .u32(cmp::SREG, 1)
                .u32(cmp::OP, op)
                .data(cmp::DATA, bytes),
        );
    }

    /// `register = (register & mask) ^ toggle`
    fn bits(&mut self, mask: &[u8], toggle: &[u8]) {
        self.push(
            RawExpression::named("bitwise")
                .u32(bitwise::SREG, 1)
                .u32(bitwise::DREG, 1)
                .u32(bitwise::LEN, u32::try_from(mask.len()).unwrap_or(0))
                .data(bitwise::MASK, mask)
                .data(bitwise::XOR, toggle),
        );
    }

    fn condition(&mut self, test: &'a Match) {
        self.load(&test.fields);
        let op = if test.is_negated { op::NEQ } else { op::EQ };
        match &test.operand {
            Operand::Value(value) => self.compare(op, &bytes_of(*value)),
            Operand::Range(span) if test.is_negated => self.push(
                RawExpression::named("range")
                    .u32(range::SREG, 1)
                    .u32(range::OP, op::NEQ)
                    .data(range::FROM, &bytes_of(span.first()))
                    .data(range::TO, &bytes_of(span.last())),
            ),
            Operand::Range(span) => {
                self.compare(op::GTE, &bytes_of(span.first()));
                self.compare(op::LTE, &bytes_of(span.last()));
            }
            Operand::Net(net) => {
                let (address, mask) = match net {
                    IpNet::V4(net) => (
                        bytes_of(net.network().into()),
                        bytes_of(net.netmask().into()),
                    ),
                    IpNet::V6(net) => (
                        bytes_of(net.network().into()),
                        bytes_of(net.netmask().into()),
                    ),
                };
                self.bits(&mask, &vec![0; mask.len()]);
                self.compare(op, &address);
            }
            Operand::NameStart(start) => self.compare(op, start.as_str().as_bytes()),
            Operand::Masked { mask, value } => {
                self.bits(&mask.to_ne_bytes(), &[0; 4]);
                self.compare(op, &value.to_ne_bytes());
            }
            Operand::States(states) => self.any_of(states.bits(), test.is_negated),
            Operand::Statuses(statuses) => self.any_of(statuses.bits(), test.is_negated),
            Operand::Set(set) => {
                let expression = self
                    .lookup(set)
                    .u32(lookup::FLAGS, u32::from(test.is_negated));
                self.push(expression);
            }
        }
    }

    fn any_of(&mut self, bits: u32, is_negated: bool) {
        self.bits(&bits.to_ne_bytes(), &[0; 4]);
        self.compare(if is_negated { op::EQ } else { op::NEQ }, &[0; 4]);
    }

    fn lookup(&mut self, set: &'a SetRef) -> RawExpression {
        let expression = RawExpression::named("lookup");
        match set {
            SetRef::Named(name) => expression
                .text(lookup::SET, name.as_str())
                .u32(lookup::SREG, 1),
            SetRef::Anonymous(set) => {
                let id = self.first_id + u32::try_from(self.out.sets.len()).unwrap_or(0);
                self.out.sets.push(set);
                expression
                    .text(lookup::SET, ANONYMOUS)
                    .u32(lookup::SREG, 1)
                    .u32(lookup::SET_ID, id)
            }
        }
    }

    fn mark(&mut self, change: MarkChange) {
        if change.keep == 0 {
            let value = change.toggle.to_ne_bytes();
            self.push(
                RawExpression::named("immediate")
                    .u32(immediate::DREG, 1)
                    .data(immediate::DATA, &value),
            );
        } else {
            self.load(&[Field::Mark]);
            self.bits(&change.keep.to_ne_bytes(), &change.toggle.to_ne_bytes());
        }
        self.push(
            RawExpression::named("meta")
                .u32(meta::KEY, META_MARK)
                .u32(meta::SREG, 1),
        );
    }

    fn nat(&mut self, target: NatTarget, kind: u32) {
        let (family, address) = match target.address {
            IpAddr::V4(address) => (NFPROTO_IPV4, address.octets().to_vec()),
            IpAddr::V6(address) => (NFPROTO_IPV6, address.octets().to_vec()),
        };
        self.push(
            RawExpression::named("immediate")
                .u32(immediate::DREG, 1)
                .data(immediate::DATA, &address),
        );
        if let Some(port) = target.port {
            let port = port.to_be_bytes();
            self.push(
                RawExpression::named("immediate")
                    .u32(immediate::DREG, 2)
                    .data(immediate::DATA, &port),
            );
        }
        let mut expression = RawExpression::named("nat")
            .u32(nat::TYPE, kind)
            .u32(nat::FAMILY, u32::from(family))
            .u32(nat::ADDR_MIN, 1)
            .u32(nat::ADDR_MAX, 1);
        if target.port.is_some() {
            expression = expression.u32(nat::PROTO_MIN, 2).u32(nat::PROTO_MAX, 2);
        }
        self.push(expression);
    }
}

fn limit_expression(value: &Limit) -> RawExpression {
    RawExpression::named("limit")
        .u64(limit::RATE, value.rate)
        .u64(limit::UNIT, value.per.duration().as_secs())
        .u32(limit::BURST, value.burst)
        .u32(limit::TYPE, 0)
        .u32(limit::FLAGS, u32::from(value.is_over))
}

fn log_expression(value: &Log) -> RawExpression {
    let mut expression = RawExpression::named("log");
    if let Some(group) = value.group {
        expression = expression.bytes(log::GROUP, group.to_be_bytes());
    }
    if let Some(prefix) = &value.prefix {
        expression = expression.text(log::PREFIX, prefix.as_str());
    }
    if value.snaplen > 0 {
        expression = expression.u32(log::SNAPLEN, value.snaplen);
    }
    expression
}

/// `NF_NAT_RANGE_*` of `linux/netfilter/nf_nat.h`.
pub(super) const RANDOM: u32 = 4;
pub(super) const PERSISTENT: u32 = 8;
pub(super) const FULLY_RANDOM: u32 = 16;

fn nat_flags(flags: NatFlags) -> u32 {
    u32::from(flags.random) * RANDOM
        + u32::from(flags.persistent) * PERSISTENT
        + u32::from(flags.fully_random) * FULLY_RANDOM
}

/// The register for what begins `offset` bytes into a concatenation: the large registers (16 bytes,
/// from 1 on) where one begins, else the small ones (4 bytes, from 8 on).
pub(super) fn register_at(offset: u32) -> u32 {
    if offset.is_multiple_of(16) {
        1 + offset / 16
    } else {
        8 + offset / 4
    }
}

/// The inverse of [`register_at`]; nothing for the register of verdicts.
pub(super) fn offset_of(register: u32) -> Option<u32> {
    match register {
        1..=4 => Some((register - 1) * 16),
        8..=23 => Some((register - 8) * 4),
        _ => None,
    }
}

/// The kernel puts a number in place of `%d`.
pub(super) const ANONYMOUS: &str = "__set%d";
pub(super) const NAT_SNAT: u32 = 0;
pub(super) const NAT_DNAT: u32 = 1;
/// `NFT_META_MARK`.
pub(super) const META_MARK: u32 = 3;

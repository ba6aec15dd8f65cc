//! Rules from lists of kernel expressions: the inverse of [`encode`](super::encode).
//!
//! It reads what this crate writes and what the `nft` program, version 1.0.6, writes for the same
//! text (which shortens masks to whole bytes and swaps the byte order of one-byte values).
//!
//! Invariant: a list that means something that a [`Rule`] cannot say is never taken for another
//! rule; it gives nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::encode::{FULLY_RANDOM, META_MARK, NAT_DNAT, NAT_SNAT, PERSISTENT, RANDOM, offset_of};
use super::expr::{
    RawExpression, bitwise, cmp, data, immediate, limit, log, lookup, masq, meta, nat, op, range,
    reject, verdict_from,
};
use super::load::{Slice, field_of, if_name, slice, slice_of, value_of};
use crate::nfnetlink::wire::Attribute;
use crate::ruleset::{
    Comment, CtState, CtStatus, Field, Limit, Log, MarkChange, Match, NatFlags, NatTarget, Need,
    Operand, Reject, Rule, SetRef, Span, Statement, Type, Unit, Value,
};

/// Reads a rule; `set` gives the set of a name, so that a rule's own sets become part of it.
pub(super) fn lift(
    expressions: &[RawExpression],
    comment: Option<Comment>,
    set: impl Fn(&str) -> Option<SetRef>,
) -> Option<Rule> {
    let mut lifter = Lifter {
        rule: Rule::new(),
        loads: Vec::new(),
        bits: None,
        low: None,
        proto: None,
        is_arp: false,
        set,
    };
    for expression in expressions {
        lifter.expression(expression)?;
    }
    if lifter.has_open() {
        return None;
    }
    Some(match comment {
        Some(comment) => lifter.rule.comment(comment),
        None => lifter.rule,
    })
}

struct Lifter<F> {
    rule: Rule,
    /// What registers hold, by offset in bytes.
    loads: Vec<(u32, Held)>,
    /// A mask and what is turned over, of the value in the first register.
    bits: Option<(Vec<u8>, Vec<u8>)>,
    /// The lower end of a range whose upper end follows.
    low: Option<Vec<u8>>,
    /// The transport protocol, if the rule has tested for one.
    proto: Option<u8>,
    /// True if the rule has tested for ARP.
    is_arp: bool,
    set: F,
}

#[derive(Clone, Debug)]
enum Held {
    Field(Field),
    /// The first bytes of an address.
    Part(Field, u32),
    Bytes(Vec<u8>),
}

impl<F: Fn(&str) -> Option<SetRef>> Lifter<F> {
    fn has_open(&self) -> bool {
        !self.loads.is_empty() || self.bits.is_some() || self.low.is_some()
    }

    fn expression(&mut self, expression: &RawExpression) -> Option<()> {
        let number = |kind| expression.find(kind)?.u32();
        match expression.name() {
            "meta" if expression.find(meta::SREG).is_some() => self.set_mark(expression)?,
            "meta" | "ct" | "fib" | "payload" => self.hold(expression, number(DREG)?)?,
            // One-byte values of concatenations: nothing changes.
            "byteorder" => {}
            "bitwise" => self.mask(expression)?,
            "cmp" => self.compare(number(cmp::OP)?, expression.value(cmp::DATA)?)?,
            "range" => self.outside(expression)?,
            "lookup" => self.look_up(expression)?,
            "immediate" => match number(immediate::DREG)? {
                0 => self.verdict(expression)?,
                register => {
                    let bytes = expression.value(immediate::DATA)?.to_vec();
                    self.loads.push((offset_of(register)?, Held::Bytes(bytes)));
                }
            },
            "nat" => self.nat(expression)?,
            _ => self.effect(expression)?,
        }
        Some(())
    }

    fn add(&mut self, statement: Statement) {
        match statement.establishes() {
            Some(Need::L4(proto)) => self.proto = Some(proto),
            Some(Need::Arp) => self.is_arp = true,
            _ => {}
        }
        let rule = std::mem::take(&mut self.rule);
        self.rule = rule.then(statement);
        self.loads.clear();
    }

    // ===== what is loaded =====

    fn hold(&mut self, expression: &RawExpression, register: u32) -> Option<()> {
        let held = match field_of(expression, self.proto) {
            Some(field) if self.is_arp || !field.needs().contains(&Need::Arp) => Held::Field(field),
            Some(_) => part(slice_of(expression)?)?,
            None => part(slice_of(expression)?)?,
        };
        self.loads.push((offset_of(register)?, held));
        Some(())
    }

    fn mask(&mut self, expression: &RawExpression) -> Option<()> {
        let is_plain =
            expression.find(bitwise::SREG)?.u32()? == expression.find(bitwise::DREG)?.u32()?;
        let bits = (
            expression.value(bitwise::MASK)?.to_vec(),
            expression.value(bitwise::XOR)?.to_vec(),
        );
        (is_plain && self.bits.replace(bits).is_none()).then_some(())
    }

    /// The only thing loaded, at the first register.
    fn only(&self) -> Option<Held> {
        match self.loads.as_slice() {
            [(0, held)] => Some(held.clone()),
            _ => None,
        }
    }

    /// Fields one behind the other without gaps.
    fn fields(&self) -> Option<Vec<Field>> {
        let mut loads = self.loads.clone();
        loads.sort_by_key(|(offset, _)| *offset);
        let (mut fields, mut end) = (Vec::new(), 0);
        for (offset, held) in loads {
            let Held::Field(field) = held else {
                return None;
            };
            if offset != end {
                return None;
            }
            end += u32::try_from(field.kind().len().next_multiple_of(4)).ok()?;
            fields.push(field);
        }
        (!fields.is_empty()).then_some(fields)
    }

    // ===== conditions =====

    fn condition(&mut self, field: Field, is_negated: bool, operand: Operand) {
        self.add(Statement::Match(Match {
            fields: vec![field],
            is_negated,
            operand,
        }));
    }

    fn compare(&mut self, op: u32, bytes: &[u8]) -> Option<()> {
        if op == op::GTE && self.low.is_none() && self.bits.is_none() {
            self.low = Some(bytes.to_vec());
            return Some(());
        }
        let is_negated = op == op::NEQ;
        match (self.only()?, self.bits.take(), self.low.take()) {
            (Held::Field(field), None, Some(low)) if op == op::LTE => {
                let (low, high) = (
                    value_of(field.kind(), &low)?,
                    value_of(field.kind(), bytes)?,
                );
                self.condition(field, false, Operand::Range(Span::new(low, high)?));
            }
            _ if !matches!(op, op::EQ | op::NEQ) => return None,
            (Held::Field(field), Some((mask, toggle)), None) => {
                let (is_inverse, operand) = masked(field, &mask, &toggle, bytes)?;
                self.condition(field, is_negated != is_inverse, operand);
            }
            (Held::Field(field), None, None)
                if field.kind() == Type::IfName && bytes.len() < 16 =>
            {
                self.condition(field, is_negated, Operand::NameStart(if_name(bytes)?));
            }
            (Held::Field(field), None, None) if bytes.len() == field.kind().len() => {
                self.condition(
                    field,
                    is_negated,
                    Operand::Value(value_of(field.kind(), bytes)?),
                );
            }
            (Held::Part(field, len), None, None) if bytes.len() == usize::try_from(len).ok()? => {
                let mut padded = bytes.to_vec();
                padded.resize(field.kind().len(), 0);
                let net = network(
                    value_of(field.kind(), &padded)?,
                    u8::try_from(len * 8).ok()?,
                )?;
                self.condition(field, is_negated, Operand::Net(net));
            }
            _ => return None,
        }
        Some(())
    }

    fn outside(&mut self, expression: &RawExpression) -> Option<()> {
        let Held::Field(field) = self.only()? else {
            return None;
        };
        let end = |kind| value_of(field.kind(), expression.value(kind)?);
        let span = Span::new(end(range::FROM)?, end(range::TO)?)?;
        let is_negated = expression.find(range::OP)?.u32()? == op::NEQ;
        self.condition(field, is_negated, Operand::Range(span));
        Some(())
    }

    fn look_up(&mut self, expression: &RawExpression) -> Option<()> {
        let fields = self.fields()?;
        let set = (self.set)(expression.find(lookup::SET)?.text()?)?;
        let is_negated = expression
            .find(lookup::FLAGS)
            .and_then(Attribute::u32)
            .unwrap_or(0)
            & 1
            != 0;
        match expression.find(lookup::DREG) {
            Some(register) if register.u32()? == 0 => self.add(Statement::Vmap(fields, set)),
            Some(_) => return None,
            None => self.add(Statement::Match(Match {
                fields,
                is_negated,
                operand: Operand::Set(set),
            })),
        }
        Some(())
    }

    // ===== effects =====

    fn verdict(&mut self, expression: &RawExpression) -> Option<()> {
        if self.has_open() {
            return None;
        }
        let nested = expression.find(immediate::DATA)?.nested();
        let verdict = verdict_from(nested.find(data::VERDICT)?.nested())?;
        self.add(Statement::Verdict(verdict));
        Some(())
    }

    fn set_mark(&mut self, expression: &RawExpression) -> Option<()> {
        if expression.find(meta::KEY)?.u32()? != META_MARK
            || expression.find(meta::SREG)?.u32()? != 1
        {
            return None;
        }
        let number = |bytes: &[u8]| Some(u32::from_ne_bytes(*bytes.first_chunk()?));
        let change = match (self.only()?, self.bits.take()) {
            (Held::Bytes(value), None) => MarkChange::set(number(&value)?),
            (Held::Field(Field::Mark), Some((keep, toggle))) => MarkChange {
                keep: number(&keep)?,
                toggle: number(&toggle)?,
            },
            _ => return None,
        };
        self.add(Statement::SetMark(change));
        Some(())
    }

    fn nat(&mut self, expression: &RawExpression) -> Option<()> {
        let held = |kind| {
            let offset = offset_of(expression.find(kind)?.u32()?)?;
            self.loads.iter().find_map(|(at, held)| match held {
                Held::Bytes(bytes) if *at == offset => Some(bytes.as_slice()),
                _ => None,
            })
        };
        let address = held(nat::ADDR_MIN)?;
        let address = match address.len() {
            4 => IpAddr::from(Ipv4Addr::from(*address.first_chunk::<4>()?)),
            16 => IpAddr::from(Ipv6Addr::from(*address.first_chunk::<16>()?)),
            _ => return None,
        };
        let port = match expression.find(nat::PROTO_MIN) {
            Some(_) => Some(u16::from_be_bytes(*held(nat::PROTO_MIN)?.first_chunk()?)),
            None => None,
        };
        let number = |kind| expression.find(kind)?.u32();
        let is_one = number(nat::ADDR_MAX).is_none_or(|max| Some(max) == number(nat::ADDR_MIN))
            && number(nat::PROTO_MAX).is_none_or(|max| Some(max) == number(nat::PROTO_MIN));
        let target = NatTarget { address, port };
        let statement = match expression.find(nat::TYPE)?.u32()? {
            NAT_SNAT => Statement::Snat(target),
            NAT_DNAT => Statement::Dnat(target),
            _ => return None,
        };
        is_one.then(|| self.add(statement))
    }

    /// Statements that take nothing from registers.
    fn effect(&mut self, expression: &RawExpression) -> Option<()> {
        if self.has_open() {
            return None;
        }
        let number = |kind| expression.find(kind)?.u32();
        let statement = match expression.name() {
            "counter" => Statement::Counter,
            "notrack" => Statement::NoTrack,
            "limit" => Statement::Limit(limit_of(expression)?),
            "log" => Statement::Log(log_of(expression)?),
            "masq" => {
                let flags = number(masq::FLAGS).unwrap_or(0);
                Statement::Masquerade(NatFlags {
                    random: flags & RANDOM != 0,
                    fully_random: flags & FULLY_RANDOM != 0,
                    persistent: flags & PERSISTENT != 0,
                })
            }
            "reject" => Statement::Reject(
                match (
                    number(reject::TYPE)?,
                    expression.find(reject::CODE).and_then(Attribute::u8),
                ) {
                    (1, _) => Reject::TcpReset,
                    (2, Some(1)) => Reject::PortUnreachable,
                    (2, Some(3)) => Reject::AdminProhibited,
                    _ => return None,
                },
            ),
            _ => return None,
        };
        self.add(statement);
        Some(())
    }
}

/// The comparison that a mask makes; true if it holds when the bytes differ.
fn masked(field: Field, mask: &[u8], toggle: &[u8], bytes: &[u8]) -> Option<(bool, Operand)> {
    if toggle.iter().any(|&byte| byte != 0) {
        return None;
    }
    let number = |bytes: &[u8]| Some(u32::from_ne_bytes(*bytes.first_chunk()?));
    match field.kind() {
        Type::Mark => Some((
            false,
            Operand::Masked {
                mask: number(mask)?,
                value: number(bytes)?,
            },
        )),
        Type::CtState if number(bytes)? == 0 => {
            Some((true, Operand::States(CtState::from_bits(number(mask)?))))
        }
        Type::CtStatus if number(bytes)? == 0 => {
            Some((true, Operand::Statuses(CtStatus::from_bits(number(mask)?))))
        }
        kind @ (Type::Ipv4 | Type::Ipv6) if mask.len() == kind.len() => {
            let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
            let net = network(value_of(kind, bytes)?, u8::try_from(ones).ok()?)?;
            let netmask = match net {
                IpNet::V4(net) => net.netmask().octets().to_vec(),
                IpNet::V6(net) => net.netmask().octets().to_vec(),
            };
            (netmask == mask).then_some((false, Operand::Net(net)))
        }
        _ => None,
    }
}

fn network(value: Value, len: u8) -> Option<IpNet> {
    let address = match value {
        Value::Ipv4(address) => IpAddr::from(address),
        Value::Ipv6(address) => IpAddr::from(address),
        _ => return None,
    };
    IpNet::new(address, len)
        .ok()
        .filter(|net| net.trunc() == *net)
}

/// The first bytes of an address.
fn part(found: Slice) -> Option<Held> {
    [
        Field::Ip4Saddr,
        Field::Ip4Daddr,
        Field::Ip6Saddr,
        Field::Ip6Daddr,
    ]
    .into_iter()
    .find(|field| {
        slice(*field).is_some_and(|whole| {
            (whole.base, whole.offset) == (found.base, found.offset) && found.len < whole.len
        })
    })
    .map(|field| Held::Part(field, found.len))
}

fn limit_of(expression: &RawExpression) -> Option<Limit> {
    let per = match expression.find(limit::UNIT)?.u64()? {
        1 => Unit::Second,
        60 => Unit::Minute,
        3600 => Unit::Hour,
        _ => return None,
    };
    let number = |kind| expression.find(kind).and_then(Attribute::u32);
    if number(limit::TYPE).unwrap_or(0) != 0 {
        return None;
    }
    Some(Limit {
        rate: expression.find(limit::RATE)?.u64()?,
        per,
        burst: number(limit::BURST)?,
        is_over: number(limit::FLAGS).unwrap_or(0) & 1 != 0,
    })
}

fn log_of(expression: &RawExpression) -> Option<Log> {
    Some(Log {
        prefix: match expression.find(log::PREFIX) {
            Some(prefix) => Some(Comment::exact(prefix.text()?)?),
            None => None,
        },
        group: expression.find(log::GROUP).and_then(Attribute::u16),
        snaplen: expression
            .find(log::SNAPLEN)
            .and_then(Attribute::u32)
            .unwrap_or(0),
    })
}

/// The attribute that names the register a value goes to, in `meta`, `ct`, `fib` and `payload`.
const DREG: u16 = 1;

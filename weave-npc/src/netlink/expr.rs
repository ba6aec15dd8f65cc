//! Expressions of rules as the kernel knows them, one level below
//! [`Statement`](crate::ruleset::Statement)s: a name and attributes.
//!
//! Invariant: only shapes are made that the `nft` program, version 1.0.6, can list. Numbers of
//! attributes and keys are those of `linux/netfilter/nf_tables.h`.

use std::borrow::Cow;

use netlink_packet_core::NLA_F_NESTED;

use super::message::NFTA_LIST_ELEM;
use crate::nfnetlink::wire::{Attribute, Attributes, Writer, nested};
use crate::ruleset::Verdict;

/// One expression of a rule: its name and its attributes, not interpreted.
///
/// With it, rules of other programs can be looked at and rules be made that the typed values cannot
/// say, for example `match` expressions of iptables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawExpression {
    name: Cow<'static, str>,
    /// As they are sent, with the flags for nesting.
    attributes: Writer,
}

impl RawExpression {
    /// An expression whose attributes are encoded in `data`; what does not parse is left out, and
    /// what lies behind the first 16 KiB, which is more than any has.
    pub fn new(name: &str, data: &[u8]) -> Self {
        let mut expression = Self {
            name: Cow::Owned(name.to_owned()),
            attributes: Writer::default(),
        };
        for attribute in Attributes(data.get(..LONGEST).unwrap_or(data)) {
            expression = expression.bytes(attribute.kind, attribute.value);
        }
        expression
    }

    /// Its name, for example `payload`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its attributes, type and value; the types are without the flag for nesting.
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &[u8])> {
        Attributes(self.attributes.as_bytes()).map(|found| (found.kind, found.value))
    }

    pub(super) fn named(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            attributes: Writer::default(),
        }
    }

    pub(super) fn bytes(mut self, kind: u16, value: impl AsRef<[u8]>) -> Self {
        let flag = if self.is_nested(kind) {
            NLA_F_NESTED
        } else {
            0
        };
        self.attributes.put(kind | flag, value.as_ref());
        self
    }

    pub(super) fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, value.to_be_bytes())
    }

    pub(super) fn u64(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, value.to_be_bytes())
    }

    pub(super) fn text(mut self, kind: u16, value: &str) -> Self {
        self.attributes.text(kind, value);
        self
    }

    /// A value as `nft_data`.
    pub(super) fn data(self, kind: u16, value: &[u8]) -> Self {
        self.bytes(kind, nested(&[(data::VALUE, value)]))
    }

    pub(super) fn verdict(self, kind: u16, verdict: &Verdict) -> Self {
        let verdict = verdict_bytes(verdict);
        self.bytes(kind, nested(&[(data::VERDICT | NLA_F_NESTED, &verdict)]))
    }

    pub(super) fn find(&self, kind: u16) -> Option<Attribute<'_>> {
        Attributes(self.attributes.as_bytes()).find(kind)
    }

    /// The value of an attribute that is `nft_data`.
    pub(super) fn value(&self, kind: u16) -> Option<&[u8]> {
        let nested = Attributes(self.find(kind)?.value);
        nested.find(data::VALUE).map(|attribute| attribute.value)
    }

    /// Writes it as an element of a list of expressions.
    pub(super) fn write(&self, list: &mut Writer) {
        list.nest(NFTA_LIST_ELEM | NLA_F_NESTED, |list| {
            list.text(NFTA_EXPR_NAME, &self.name);
            list.put(NFTA_EXPR_DATA | NLA_F_NESTED, self.attributes.as_bytes());
        });
    }

    fn is_nested(&self, kind: u16) -> bool {
        matches!(
            (&*self.name, kind),
            ("cmp", cmp::DATA)
                | ("range", range::FROM | range::TO)
                | ("bitwise", bitwise::MASK | bitwise::XOR)
                | ("immediate", immediate::DATA)
        )
    }
}

/// The attributes of a verdict.
pub(super) fn verdict_bytes(verdict: &Verdict) -> Vec<u8> {
    let code = verdict_code(verdict).to_be_bytes();
    match verdict.target() {
        None => nested(&[(verdict::CODE, &code)]),
        Some(chain) => {
            let mut name = chain.as_str().as_bytes().to_vec();
            name.push(0);
            nested(&[(verdict::CODE, &code), (verdict::CHAIN, &name)])
        }
    }
}

/// The kernel's number of a verdict.
pub(super) fn verdict_code(verdict: &Verdict) -> u32 {
    let code: i32 = match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
        Verdict::Jump(_) => -3,
        Verdict::Goto(_) => -4,
        Verdict::Return => -5,
    };
    code.cast_unsigned()
}

/// The verdict in the attributes of `NFTA_DATA_VERDICT`.
pub(super) fn verdict_from(attributes: Attributes<'_>) -> Option<Verdict> {
    let code = attributes.find(verdict::CODE)?.u32()?.cast_signed();
    let chain = || attributes.find(verdict::CHAIN)?.text()?.parse().ok();
    Some(match code {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        _ => return None,
    })
}

/// Bytes of the attributes of an expression: a rule with several still fits into one attribute.
const LONGEST: usize = 16 << 10;
/// `enum nft_expr_attributes`
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;

macro_rules! numbers {
    ($($(#[$doc:meta])* $module:ident { $($name:ident = $value:expr),* $(,)? })*) => {$(
        $(#[$doc])*
        pub(super) mod $module {
            $(pub(in crate::netlink) const $name: u16 = $value;)*
        }
    )*};
}

numbers! {
    /// `enum nft_data_attributes`
    data { VALUE = 1, VERDICT = 2 }
    /// `enum nft_verdict_attributes`
    verdict { CODE = 1, CHAIN = 2 }
    /// `enum nft_meta_attributes`
    meta { DREG = 1, KEY = 2, SREG = 3 }
    /// `enum nft_ct_attributes`
    ct { DREG = 1, KEY = 2 }
    /// `enum nft_fib_attributes`
    fib { DREG = 1, RESULT = 2, FLAGS = 3 }
    /// `enum nft_payload_attributes`
    payload { DREG = 1, BASE = 2, OFFSET = 3, LEN = 4 }
    /// `enum nft_cmp_attributes`
    cmp { SREG = 1, OP = 2, DATA = 3 }
    /// `enum nft_range_attributes`
    range { SREG = 1, OP = 2, FROM = 3, TO = 4 }
    /// `enum nft_bitwise_attributes`
    bitwise { SREG = 1, DREG = 2, LEN = 3, MASK = 4, XOR = 5 }
    /// `enum nft_lookup_attributes`
    lookup { SET = 1, SREG = 2, DREG = 3, SET_ID = 4, FLAGS = 5 }
    /// `enum nft_immediate_attributes`
    immediate { DREG = 1, DATA = 2 }
    /// `enum nft_counter_attributes`
    counter { BYTES = 1, PACKETS = 2 }
    /// `enum nft_limit_attributes`
    limit { RATE = 1, UNIT = 2, BURST = 3, TYPE = 4, FLAGS = 5 }
    /// `enum nft_log_attributes`
    log { GROUP = 1, PREFIX = 2, SNAPLEN = 3 }
    /// `enum nft_nat_attributes`
    nat { TYPE = 1, FAMILY = 2, ADDR_MIN = 3, ADDR_MAX = 4, PROTO_MIN = 5, PROTO_MAX = 6 }
    /// `enum nft_masq_attributes`
    masq { FLAGS = 1 }
    /// `enum nft_reject_attributes`
    reject { TYPE = 1, CODE = 2 }
}

/// `enum nft_cmp_ops`.
pub(super) mod op {
    pub(in crate::netlink) const EQ: u32 = 0;
    pub(in crate::netlink) const NEQ: u32 = 1;
    pub(in crate::netlink) const LTE: u32 = 3;
    pub(in crate::netlink) const GTE: u32 = 5;
}

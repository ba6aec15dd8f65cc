//! Expressions of rules as the kernel knows them, one level below
//! [`Statement`](crate::ruleset::Statement)s: a name and attributes.
//!
//! Invariant: only shapes are made that the `nft` program, version 1.0.6, can list. Numbers of
//! attributes and keys are those of `linux/netfilter/nf_tables.h`.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::Expressions;

use crate::nfnetlink::wire::{Attribute, Attributes, nested};
use crate::ruleset::Verdict;

/// One expression of a rule: its name and its attributes, not interpreted.
///
/// With it, rules of other programs can be looked at and rules be made that the typed values cannot
/// say, for example `match` expressions of iptables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawExpression {
    name: String,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl RawExpression {
    /// An expression whose attributes are encoded in `data`; what does not parse is left out.
    pub fn new(name: &str, data: &[u8]) -> Self {
        let attributes = Attributes(data)
            .map(|attribute| (attribute.kind, attribute.value.to_vec()))
            .collect();
        Self {
            name: name.to_owned(),
            attributes,
        }
    }

    /// Its name, for example `payload`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its attributes, type and value; the types are without the flag for nesting.
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.attributes
            .iter()
            .map(|(kind, value)| (*kind, value.as_slice()))
    }

    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            attributes: Vec::new(),
        }
    }

    pub(super) fn bytes(mut self, kind: u16, value: impl AsRef<[u8]>) -> Self {
        self.attributes.push((kind, value.as_ref().to_vec()));
        self
    }

    pub(super) fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, value.to_be_bytes())
    }

    pub(super) fn u64(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, value.to_be_bytes())
    }

    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, bytes)
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
        self.attributes
            .iter()
            .find(|(found, _)| *found == kind)
            .map(|(kind, value)| Attribute { kind: *kind, value })
    }

    /// The value of an attribute that is `nft_data`.
    pub(super) fn value(&self, kind: u16) -> Option<&[u8]> {
        let mut nested = Attributes(&self.attributes.iter().find(|(found, _)| *found == kind)?.1);
        nested.find_map(|attribute| (attribute.kind == data::VALUE).then_some(attribute.value))
    }

    /// The message form.
    pub(super) fn into_message(self) -> Expressions {
        let attributes = self
            .attributes
            .into_iter()
            .map(|(kind, value)| {
                let is_nested = matches!(
                    (self.name.as_str(), kind),
                    ("cmp", cmp::DATA)
                        | ("range", range::FROM | range::TO)
                        | ("bitwise", bitwise::MASK | bitwise::XOR)
                        | ("immediate", immediate::DATA)
                );
                DefaultNla::new(if is_nested { kind | NLA_F_NESTED } else { kind }, value)
            })
            .collect();
        Expressions::Other {
            expression_type: self.name,
            attributes,
        }
    }
}

/// The attributes of a verdict.
fn verdict_bytes(verdict: &Verdict) -> Vec<u8> {
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

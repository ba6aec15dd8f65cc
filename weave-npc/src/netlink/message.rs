//! Changes as messages of `nf_tables`; elements are in a module of their own.
//!
//! Invariant: one change becomes consecutive messages.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook as HookAttribute, HookNumber, InetHookNumber,
    NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetFlags,
    SetMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;

use super::expr::RawExpression;
use super::load::type_id;
use crate::nfnetlink::Request;
use crate::nfnetlink::wire::{Writer, nested};
use crate::ruleset::{Base, Comment, DataType, Family, Hook, Name, Policy, Set, TableId, Type};

/// A message of `nf_tables`.
pub(super) fn request(family: Family, flags: u16, message: NfTablesMessage) -> Request {
    Request {
        message: message.into(),
        family: family_code(family),
        flags,
        resource: 0,
    }
}

/// Opens or closes a batch; `generation` makes the kernel refuse it if its own differs.
pub(super) fn batch(kind: u8, generation: Option<u32>) -> Request {
    let attributes = generation
        .map(|generation| DefaultNla::new(NFNL_BATCH_GENID, generation.to_be_bytes().to_vec()))
        .into_iter()
        .collect();
    let message = ControlMessage::Other {
        message_type: kind,
        attributes,
    };
    Request {
        message: message.into(),
        family: 0,
        flags: 0,
        resource: NFNL_SUBSYS_NFTABLES,
    }
}

/// `AF_*` and `NFPROTO_*` numbers of `linux/netfilter.h`.
pub(super) fn family_code(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Ip => 2,
        Family::Netdev => 5,
        Family::Bridge => 7,
        Family::Ip6 => 10,
    }
}

/// The inverse of [`family_code`].
pub(super) fn family_of(code: u8) -> Option<Family> {
    [
        Family::Inet,
        Family::Ip,
        Family::Netdev,
        Family::Bridge,
        Family::Ip6,
    ]
    .into_iter()
    .find(|family| family_code(*family) == code)
}

// ===== tables and chains =====

pub(super) fn table(id: &TableId) -> TableMessage {
    TableMessage {
        attributes: vec![TableAttribute::Name(id.name.to_string())],
    }
}

pub(super) fn chain(id: &TableId, name: &str, base: Option<&Base>) -> ChainMessage {
    let mut attributes = vec![
        ChainAttribute::Table(id.name.to_string()),
        ChainAttribute::Name(name.to_owned()),
    ];
    if let Some(base) = base {
        let mut hook = vec![
            HookAttribute::Number(HookNumber::Inet(InetHookNumber::from(hook_code(base.hook)))),
            HookAttribute::Priority(base.priority.cast_unsigned()),
        ];
        hook.extend(
            base.device
                .map(|device| HookAttribute::NetDeviceName(device.to_string())),
        );
        attributes.push(ChainAttribute::Hook(hook));
        attributes.push(ChainAttribute::Type(base.kind.as_str().to_owned()));
        attributes.push(ChainAttribute::Policy(policy_code(base.policy)));
    }
    ChainMessage { attributes }
}

pub(super) fn chain_name(table: &str, name: &str) -> ChainMessage {
    let (table, name) = (table.to_owned(), name.to_owned());
    ChainMessage {
        attributes: vec![ChainAttribute::Table(table), ChainAttribute::Name(name)],
    }
}

pub(super) fn policy(id: &TableId, name: &Name, policy: Policy) -> ChainMessage {
    ChainMessage {
        attributes: vec![
            ChainAttribute::Table(id.name.to_string()),
            ChainAttribute::Name(name.to_string()),
            ChainAttribute::Policy(policy_code(policy)),
        ],
    }
}

fn policy_code(policy: Policy) -> u32 {
    u32::from(policy == Policy::Accept)
}

/// `enum nf_inet_hooks`, and for netdev tables `enum nf_dev_hooks`.
pub(super) fn hook_code(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting | Hook::Ingress => 0,
        Hook::Input | Hook::Egress => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

// ===== rules =====

/// Where a rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In front of all.
    First,
    /// Behind all.
    Last,
    /// Behind the rule with this handle.
    Behind(u64),
    /// Behind the rule that has this number in the same batch.
    BehindNew(u32),
}

/// A rule that comes.
pub(super) fn rule(
    table: &str,
    chain: &str,
    expressions: &[RawExpression],
    userdata: Option<Vec<u8>>,
    place: Place,
    id: u32,
) -> NfTablesMessage {
    let mut list = Writer::default();
    for expression in expressions {
        expression.write(&mut list);
    }
    let text = |kind, text: &str| DefaultNla::new(kind, zeroed(text));
    let mut attributes = vec![
        text(NFTA_RULE_TABLE, table),
        text(NFTA_RULE_CHAIN, chain),
        DefaultNla::new(NFTA_RULE_EXPRESSIONS | NLA_F_NESTED, list.into_bytes()),
        DefaultNla::new(NFTA_RULE_ID, id.to_be_bytes().to_vec()),
    ];
    attributes.extend(
        match place {
            Place::First | Place::Last => None,
            Place::Behind(handle) => Some((NFTA_RULE_POSITION, handle.to_be_bytes().to_vec())),
            Place::BehindNew(id) => Some((NFTA_RULE_POSITION_ID, id.to_be_bytes().to_vec())),
        }
        .map(|(kind, value)| DefaultNla::new(kind, value)),
    );
    attributes.extend(userdata.map(|bytes| DefaultNla::new(NFTA_RULE_USERDATA, bytes)));
    NfTablesMessage::Other {
        message_type: NFT_MSG_NEWRULE,
        attributes,
    }
}

/// A text with its final zero.
pub(super) fn zeroed(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Names a rule, or with no handle all rules of the chain.
pub(super) fn rule_name(table: &str, chain: &str, handle: Option<u64>) -> RuleMessage {
    let mut attributes = vec![
        RuleAttribute::Table(table.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
    ];
    attributes.extend(handle.map(RuleAttribute::Handle));
    RuleMessage { attributes }
}

/// A comment as the `nft` program keeps it: type 0, length, text with its final zero.
pub(super) fn userdata(comment: &Comment) -> Vec<u8> {
    let text = comment.as_str().as_bytes();
    let len = u8::try_from(text.len() + 1).expect("invariant: comments have at most 127 bytes");
    let mut bytes = vec![UDATA_COMMENT, len];
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}

// ===== sets =====

/// What makes a set; `name` ends in `%d` for sets of rules.
pub(super) fn set(table: &TableId, name: &str, value: &Set, id: u32) -> SetMessage {
    let is_anonymous = name.ends_with("%d");
    let is_box = value.is_interval && value.key.len() > 1;
    let mut flags = SetFlags::empty();
    flags.set(SetFlags::Anonymous | SetFlags::Constant, is_anonymous);
    flags.set(SetFlags::Interval, value.is_interval);
    flags.set(SetFlags::Concat, is_box);
    flags.set(SetFlags::Map, value.data != DataType::None);
    flags.set(SetFlags::Timeout, value.has_timeout);

    let lens: Vec<usize> = value.key.iter().map(|kind| kind.len()).collect();
    let len = match lens.as_slice() {
        [one] => *one,
        several => several.iter().map(|len| len.next_multiple_of(4)).sum(),
    };
    let key = value
        .key
        .iter()
        .fold(0, |packed, kind| packed << TYPE_BITS | type_id(*kind));
    let mut attributes = vec![
        SetAttribute::Table(table.name.to_string()),
        SetAttribute::Name(name.to_owned()),
        SetAttribute::Flags(flags),
        SetAttribute::KeyType(key),
        SetAttribute::KeyLen(u32::try_from(len).unwrap_or(0)),
        SetAttribute::Id(id),
    ];
    match value.data {
        DataType::None => {}
        DataType::Verdict => {
            attributes.push(SetAttribute::DataType(NFT_DATA_VERDICT));
            attributes.push(SetAttribute::DataLen(0));
        }
        DataType::Value(kind) => {
            attributes.push(SetAttribute::DataType(type_id(kind)));
            attributes.push(SetAttribute::DataLen(
                u32::try_from(kind.len()).unwrap_or(0),
            ));
        }
    }
    if is_box {
        attributes.push(SetAttribute::Description(vec![field_lengths(&lens)]));
    } else if is_anonymous {
        let size = u32::try_from(elements_of(value)).unwrap_or(0);
        attributes.push(SetAttribute::Description(vec![SetDescription::Size(size)]));
    }
    attributes.push(SetAttribute::UserData(set_userdata(value)));
    SetMessage { attributes }
}

/// How many elements the kernel counts: the ends of ranges are elements, too.
fn elements_of(value: &Set) -> usize {
    value.elements.len() * if value.is_interval { 2 } else { 1 }
}

/// `NFTA_SET_DESC_CONCAT`: the length of each part.
fn field_lengths(lens: &[usize]) -> SetDescription {
    let fields = lens
        .iter()
        .map(|len| {
            let len = u32::try_from(*len).unwrap_or(0).to_be_bytes();
            DefaultNla::new(
                NFTA_LIST_ELEM | NLA_F_NESTED,
                nested(&[(NFTA_SET_FIELD_LEN, &len)]),
            )
        })
        .collect();
    SetDescription::Concat(fields)
}

/// The byte order of keys and data, which the `nft` program needs to print numbers.
fn set_userdata(value: &Set) -> Vec<u8> {
    let order = |kind: Type| -> u32 {
        match kind {
            Type::Mark | Type::CtState | Type::CtStatus | Type::FibType | Type::IfName => {
                HOST_ORDER
            }
            _ => NETWORK_ORDER,
        }
    };
    let key = match value.key.as_slice() {
        [one] => order(*one),
        _ => NO_ORDER,
    };
    let mut bytes = vec![UDATA_KEY_ORDER, 4];
    bytes.extend(key.to_ne_bytes());
    if let DataType::Value(kind) = value.data {
        bytes.extend([UDATA_DATA_ORDER, 4]);
        bytes.extend(order(kind).to_ne_bytes());
    }
    bytes
}

pub(super) fn set_name(table: &TableId, name: &Name) -> SetMessage {
    SetMessage {
        attributes: vec![
            SetAttribute::Table(table.name.to_string()),
            SetAttribute::Name(name.to_string()),
        ],
    }
}

/// `linux/netfilter/nfnetlink.h`.
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_BATCH_GENID: u16 = 1;
pub(super) const BATCH_BEGIN: u8 = 16;
pub(super) const BATCH_END: u8 = 17;
/// `linux/netfilter/nf_tables.h`.
const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
const NFT_MSG_NEWRULE: u8 = 6;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_POSITION: u16 = 6;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_RULE_ID: u16 = 9;
const NFTA_RULE_POSITION_ID: u16 = 10;
pub(super) const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_FIELD_LEN: u16 = 1;
/// Bits per type in the key type of a concatenation (`TYPE_BITS` of the `nft` program).
pub(super) const TYPE_BITS: u32 = 6;
/// `libnftnl/udata.h` and `enum byteorder` of the `nft` program.
pub(super) const UDATA_COMMENT: u8 = 0;
const UDATA_KEY_ORDER: u8 = 0;
const UDATA_DATA_ORDER: u8 = 1;
const NO_ORDER: u32 = 0;
const HOST_ORDER: u32 = 1;
const NETWORK_ORDER: u32 = 2;

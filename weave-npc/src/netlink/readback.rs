//! A table of the kernel as a value.
//!
//! Invariant: what is read is one state of the kernel, never a mix of two: the generation is the
//! same before and after. What cannot be said as a value is never silently left out: a rule becomes
//! an empty one whose comment says so, anything else is listed in [`Seen::strangers`].

use std::collections::BTreeMap;
use std::time::Duration;

use netlink_packet_netfilter::nftables::{
    ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementList,
    SetElementMessage, SetMessage,
};

use super::batch::{DUMP, Handle, Handles};
use super::expr::{RawExpression, counter, data, verdict_from};
use super::lift::lift;
use super::load::{if_name, largest, type_of, value_of};
use super::message::{TYPE_BITS, UDATA_COMMENT, hook_code, request};
use super::nft::{Count, Nft};
use crate::nfnetlink::NetlinkError;
use crate::nfnetlink::wire::{Attribute, Attributes};
use crate::ruleset::{
    Base, Chain, ChainType, Comment, DataType, Datum, Entry, Family, Hook, Key, Name, Policy, Rule,
    Set, SetRef, Span, Table, TableId, Type,
};

/// A table as the kernel has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// The table.
    pub table: Table,
    /// Objects of it that no value can say, by name. They go only with the whole table.
    pub strangers: Vec<String>,
    /// What each rule has counted, in order; nothing for rules that do not count.
    pub counts: BTreeMap<Name, Vec<Option<Count>>>,
    pub(super) handles: Handles,
}

/// Reads a table that exists.
pub(super) fn read(nft: &mut Nft, id: &TableId) -> Result<Seen, NetlinkError> {
    let mut seen = Seen {
        table: Table::new(),
        strangers: Vec::new(),
        counts: BTreeMap::new(),
        handles: Handles::new(),
    };
    let mut sets = read_sets(nft, id, &mut seen)?;
    read_chains(nft, id, &mut seen)?;
    read_rules(nft, id, &sets, &mut seen)?;
    sets.retain(|name, _| !is_anonymous(name));
    for (name, set) in sets {
        match Name::new(&name) {
            Ok(name) => seen.table.add_set(name, set),
            Err(_) => seen.strangers.push(format!("set {name}")),
        }
    }
    Ok(seen)
}

fn is_anonymous(name: &str) -> bool {
    name.starts_with("__")
}

/// True if a message of a dump belongs to the table.
fn is_of(attributes: Attributes<'_>, id: &TableId) -> bool {
    attributes.find(TABLE).and_then(Attribute::text) == Some(id.name.as_str())
}

// ===== chains =====

fn read_chains(nft: &mut Nft, id: &TableId, seen: &mut Seen) -> Result<(), NetlinkError> {
    let message = NfTablesMessage::GetChain(ChainMessage {
        attributes: Vec::new(),
    });
    nft.ask(request(id.family, DUMP, message), |_, attributes| {
        if !is_of(attributes, id) {
            return Ok(());
        }
        let text = attributes
            .find(CHAIN_NAME)
            .and_then(Attribute::text)
            .unwrap_or_default();
        let base = match attributes.find(CHAIN_HOOK) {
            Some(hook) => base(id.family, attributes, hook.nested()).map(Some),
            None => Some(None),
        };
        match (Name::new(text), base) {
            (Ok(name), Some(base)) => {
                seen.handles.insert((id.clone(), name.clone()), Vec::new());
                seen.counts.insert(name.clone(), Vec::new());
                seen.table.add_chain(
                    name,
                    Chain {
                        base,
                        rules: Vec::new(),
                    },
                );
            }
            _ => seen.strangers.push(format!("chain {text}")),
        }
        Ok(())
    })
}

/// Where the kernel enters a chain.
pub(super) fn base(family: Family, chain: Attributes<'_>, hook: Attributes<'_>) -> Option<Base> {
    let number = hook.find(HOOK_NUMBER)?.u32()?;
    let hooks = match family {
        Family::Netdev => [Hook::Ingress, Hook::Egress].as_slice(),
        _ => &[
            Hook::Prerouting,
            Hook::Input,
            Hook::Forward,
            Hook::Output,
            Hook::Postrouting,
        ],
    };
    let kind = chain.find(CHAIN_TYPE)?.text()?;
    Some(Base {
        kind: [ChainType::Filter, ChainType::Nat, ChainType::Route]
            .into_iter()
            .find(|known| known.as_str() == kind)?,
        hook: hooks
            .iter()
            .copied()
            .find(|hook| hook_code(*hook) == number)?,
        priority: hook.find(HOOK_PRIORITY)?.u32()?.cast_signed(),
        policy: match chain.find(CHAIN_POLICY).and_then(Attribute::u32) {
            Some(0) => Policy::Drop,
            _ => Policy::Accept,
        },
        device: match hook.find(HOOK_DEVICE) {
            Some(device) => Some(if_name(device.value)?),
            None => None,
        },
    })
}

// ===== rules =====

fn read_rules(
    nft: &mut Nft,
    id: &TableId,
    sets: &BTreeMap<String, Set>,
    seen: &mut Seen,
) -> Result<(), NetlinkError> {
    let attributes = vec![RuleAttribute::Table(id.name.to_string())];
    let message = NfTablesMessage::GetRule(RuleMessage { attributes });
    nft.ask(request(id.family, DUMP, message), |_, attributes| {
        let chain = attributes
            .find(RULE_CHAIN)
            .and_then(Attribute::text)
            .unwrap_or_default();
        if !is_of(attributes, id) || !seen.table.chains.contains_key(chain) {
            return Ok(());
        }
        let handle = attributes
            .find(RULE_HANDLE)
            .and_then(Attribute::u64)
            .ok_or(NetlinkError::Malformed("a rule"))?;
        let expressions = expressions(attributes);
        let resolve = |name: &str| match sets.get(name) {
            Some(set) if is_anonymous(name) => Some(SetRef::Anonymous(Box::new(set.clone()))),
            _ => Name::new(name).ok().map(SetRef::Named),
        };
        let comment = attributes
            .find(RULE_USERDATA)
            .and_then(|data| comment(data.value));
        let rule = lift(&expressions, comment, resolve).unwrap_or_else(|| {
            Rule::new().comment(Comment::lossy(&format!("not understood: handle {handle}")))
        });
        let name = Name::new(chain).map_err(|_| NetlinkError::Malformed("a chain"))?;
        seen.counts
            .entry(name.clone())
            .or_default()
            .push(count(&expressions));
        seen.handles
            .entry((id.clone(), name))
            .or_default()
            .push(Handle::Known(handle));
        if let Some(chain) = seen.table.chain_mut(chain) {
            chain.rules.push(rule);
        }
        Ok(())
    })
}

/// The expressions of a rule, not interpreted.
pub(super) fn expressions(rule: Attributes<'_>) -> Vec<RawExpression> {
    let list = rule.find(RULE_EXPRESSIONS).map(Attribute::nested);
    list.into_iter()
        .flatten()
        .filter_map(|element| {
            let expression = element.nested();
            let data = expression
                .find(EXPRESSION_DATA)
                .map_or(&[][..], |data| data.value);
            Some(RawExpression::new(
                expression.find(EXPRESSION_NAME)?.text()?,
                data,
            ))
        })
        .collect()
}

/// What the first counter of a rule says.
pub(super) fn count(expressions: &[RawExpression]) -> Option<Count> {
    let expression = expressions
        .iter()
        .find(|expression| expression.name() == "counter")?;
    Some(Count {
        packets: expression.find(counter::PACKETS)?.u64()?,
        bytes: expression.find(counter::BYTES)?.u64()?,
    })
}

/// The comment in the user data of a rule or an element.
pub(super) fn comment(mut userdata: &[u8]) -> Option<Comment> {
    while let [kind, len, rest @ ..] = userdata {
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        if *kind == UDATA_COMMENT {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Comment::exact(std::str::from_utf8(text).ok()?);
        }
        userdata = rest;
    }
    None
}

// ===== sets =====

fn read_sets(
    nft: &mut Nft,
    id: &TableId,
    seen: &mut Seen,
) -> Result<BTreeMap<String, Set>, NetlinkError> {
    let mut sets = BTreeMap::new();
    let attributes = vec![SetAttribute::Table(id.name.to_string())];
    let message = NfTablesMessage::GetSet(SetMessage { attributes });
    nft.ask(request(id.family, DUMP, message), |_, attributes| {
        if is_of(attributes, id) {
            let name = attributes
                .find(SET_NAME)
                .and_then(Attribute::text)
                .unwrap_or_default();
            match set(attributes) {
                Some(set) => drop(sets.insert(name.to_owned(), set)),
                None if is_anonymous(name) => {}
                None => seen.strangers.push(format!("set {name}")),
            }
        }
        Ok(())
    })?;
    for (name, set) in &mut sets {
        if read_elements(nft, id, name, set)?.is_none() {
            seen.strangers.push(format!("set {name}"));
        }
    }
    Ok(sets)
}

/// A set without its elements.
fn set(attributes: Attributes<'_>) -> Option<Set> {
    let flags = attributes
        .find(SET_FLAGS)
        .and_then(Attribute::u32)
        .unwrap_or(0);
    let mut packed = attributes.find(SET_KEY_TYPE)?.u32()?;
    let mut key = Vec::new();
    while packed != 0 {
        key.insert(0, type_of(packed & ((1 << TYPE_BITS) - 1))?);
        packed >>= TYPE_BITS;
    }
    let data = match attributes.find(SET_DATA_TYPE).and_then(Attribute::u32) {
        _ if flags & FLAG_MAP == 0 => DataType::None,
        Some(NFT_DATA_VERDICT) => DataType::Verdict,
        Some(id) => DataType::Value(type_of(id)?),
        None => return None,
    };
    let known =
        FLAG_ANONYMOUS | FLAG_CONSTANT | FLAG_INTERVAL | FLAG_MAP | FLAG_TIMEOUT | FLAG_CONCAT;
    (flags & !known == 0).then(|| Set {
        data,
        is_interval: flags & FLAG_INTERVAL != 0,
        has_timeout: flags & FLAG_TIMEOUT != 0,
        ..Set::of(key)
    })
}

/// One end of a range, or an element.
struct Piece {
    first: Vec<u8>,
    is_end: bool,
    last: Option<Vec<u8>>,
    entry: Entry,
}

/// Fills in the elements; nothing if one cannot be said.
fn read_elements(
    nft: &mut Nft,
    id: &TableId,
    name: &str,
    set: &mut Set,
) -> Result<Option<()>, NetlinkError> {
    let attributes = vec![
        SetElementList::Table(id.name.to_string()),
        SetElementList::Set(name.to_owned()),
    ];
    let message = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
    let mut pieces = Vec::new();
    let mut is_clear = true;
    nft.ask(request(id.family, DUMP, message), |_, attributes| {
        let list = attributes.find(ELEMENTS).map(Attribute::nested);
        for element in list.into_iter().flatten() {
            match piece(element.nested(), set.data) {
                Some(piece) => pieces.push(piece),
                None => is_clear = false,
            }
        }
        Ok(())
    })?;
    let is_range = set.is_interval && set.key.len() == 1;
    let filled = if is_range {
        ranges(set, pieces)
    } else {
        boxes(set, pieces)
    };
    Ok(filled.filter(|()| is_clear))
}

fn piece(element: Attributes<'_>, kind: DataType) -> Option<Piece> {
    let value = |kind| {
        Some(
            element
                .find(kind)?
                .nested()
                .find(data::VALUE)?
                .value
                .to_vec(),
        )
    };
    let flags = element
        .find(ELEMENT_FLAGS)
        .and_then(Attribute::u32)
        .unwrap_or(0);
    if flags & ELEMENT_CATCHALL != 0 {
        return None;
    }
    let is_end = flags & ELEMENT_END != 0;
    let data = match kind {
        _ if is_end => None,
        DataType::None => None,
        DataType::Verdict => {
            let verdict = element
                .find(ELEMENT_DATA)?
                .nested()
                .find(data::VERDICT)?
                .nested();
            Some(Datum::Verdict(verdict_from(verdict)?))
        }
        DataType::Value(kind) => Some(Datum::Value(value_of(kind, &value(ELEMENT_DATA)?)?)),
    };
    let entry = Entry {
        data,
        timeout: element
            .find(ELEMENT_TIMEOUT)
            .and_then(Attribute::u64)
            .filter(|millis| *millis > 0)
            .map(Duration::from_millis),
        comment: element
            .find(ELEMENT_USERDATA)
            .and_then(|data| comment(data.value)),
    };
    Some(Piece {
        first: value(ELEMENT_KEY)?,
        is_end,
        last: value(ELEMENT_KEY_END),
        entry,
    })
}

/// Keys of several parts, and single values.
fn boxes(set: &mut Set, pieces: Vec<Piece>) -> Option<()> {
    let kinds = set.key.clone();
    for piece in pieces {
        let last = piece.last.as_ref().unwrap_or(&piece.first);
        let mut at = 0;
        let mut parts = Vec::with_capacity(kinds.len());
        for kind in &kinds {
            let first = value_of(*kind, piece.first.get(at..)?)?;
            parts.push(Span::new(first, value_of(*kind, last.get(at..)?)?)?);
            at += kind.len().next_multiple_of(4);
        }
        set.elements.insert(Key::concat(parts), piece.entry);
    }
    Some(())
}

/// Ranges of one part: each begins with an element and ends before the next marked as an end.
fn ranges(set: &mut Set, mut pieces: Vec<Piece>) -> Option<()> {
    let kind = *set.key.first()?;
    pieces.sort_by(|a, b| a.first.cmp(&b.first).then(b.is_end.cmp(&a.is_end)));
    let mut open: Option<(Vec<u8>, Entry)> = None;
    for piece in pieces {
        if let Some((first, entry)) = open.take() {
            let last = before(piece.first.clone());
            insert(set, kind, &first, &last, entry)?;
        }
        if !piece.is_end {
            open = Some((piece.first, piece.entry));
        }
    }
    if let Some((first, entry)) = open {
        let span = Span::new(value_of(kind, &first)?, largest(kind)?)?;
        set.elements.insert(Key::from(span), entry);
    }
    Some(())
}

fn insert(set: &mut Set, kind: Type, first: &[u8], last: &[u8], entry: Entry) -> Option<()> {
    let span = Span::new(value_of(kind, first)?, value_of(kind, last)?)?;
    set.elements.insert(Key::from(span), entry);
    Some(())
}

/// The value in front.
fn before(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in bytes.iter_mut().rev() {
        let (next, is_borrowed) = byte.overflowing_sub(1);
        *byte = next;
        if !is_borrowed {
            break;
        }
    }
    bytes
}

/// `linux/netfilter/nf_tables.h`; the name of the table has the same number in all messages.
pub(super) const TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const HOOK_DEVICE: u16 = 3;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
pub(super) const RULE_USERDATA: u16 = 7;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_DATA_TYPE: u16 = 6;
const FLAG_ANONYMOUS: u32 = 0x1;
const FLAG_CONSTANT: u32 = 0x2;
const FLAG_INTERVAL: u32 = 0x4;
const FLAG_MAP: u32 = 0x8;
const FLAG_TIMEOUT: u32 = 0x10;
const FLAG_CONCAT: u32 = 0x80;
const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_FLAGS: u16 = 3;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_USERDATA: u16 = 6;
const ELEMENT_KEY_END: u16 = 10;
const ELEMENT_END: u32 = 1;
const ELEMENT_CATCHALL: u32 = 2;

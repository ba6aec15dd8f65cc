//! Elements of sets as messages of `nf_tables`.
//!
//! Invariant: no list is longer than an attribute can say (64 KiB): large ones are split between
//! messages, never between batches.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::NfTablesMessage;

use super::expr::{data, verdict_bytes};
use super::load::{largest, put};
use super::message::{NFTA_LIST_ELEM, userdata, zeroed};
use crate::nfnetlink::wire::Writer;
use crate::ruleset::{Datum, Entry, Key, Name, Span, TableId, Value};

/// A set that elements are for: one of the table, or one made in the same batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) table: &'a TableId,
    pub(super) name: &'a str,
    pub(super) id: Option<u32>,
    pub(super) is_interval: bool,
}

impl<'a> Target<'a> {
    /// A set of the table.
    pub(super) fn named(table: &'a TableId, set: &'a Name, is_interval: bool) -> Self {
        Self {
            table,
            name: set.as_str(),
            id: None,
            is_interval,
        }
    }

    fn message(self, kind: Move, list: Writer) -> NfTablesMessage {
        let table = self.table.name.as_str();
        let mut attributes = vec![
            DefaultNla::new(NFTA_LIST_TABLE, zeroed(table)),
            DefaultNla::new(NFTA_LIST_SET, zeroed(self.name)),
        ];
        let id = self.id.map(|id| id.to_be_bytes().to_vec());
        attributes.extend(id.map(|id| DefaultNla::new(NFTA_LIST_SET_ID, id)));
        let list = list.into_bytes();
        attributes.push(DefaultNla::new(NFTA_LIST_ELEMENTS | NLA_F_NESTED, list));
        NfTablesMessage::Other {
            message_type: kind as u8,
            attributes,
        }
    }
}

/// Whether elements come or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Move {
    /// `NFT_MSG_NEWSETELEM`
    In = 12,
    /// `NFT_MSG_DELSETELEM`
    Out = 14,
}

/// Messages with all elements.
pub(super) fn elements<'a>(
    target: Target<'_>,
    step: Move,
    elements: impl IntoIterator<Item = (&'a Key, Option<&'a Entry>)>,
) -> Vec<NfTablesMessage> {
    let (mut messages, mut list) = (Vec::new(), Writer::default());
    for (key, entry) in elements {
        let before = list.len();
        write(target.is_interval, key, entry, &mut list);
        if list.len() > MAX_LIST {
            let next = list.split_off(before);
            messages.push(target.message(step, std::mem::replace(&mut list, next)));
        }
    }
    if list.len() > 0 {
        messages.push(target.message(step, list));
    }
    messages
}

/// One element; a range of one part is two for the kernel, its beginning and what follows its end.
fn write(is_interval: bool, key: &Key, entry: Option<&Entry>, list: &mut Writer) {
    let parts = key.parts();
    list.nest(NFTA_LIST_ELEM | NLA_F_NESTED, |list| {
        value(NFTA_ELEM_KEY, &concat(parts, Span::first), list);
        if is_interval && parts.len() > 1 {
            value(NFTA_ELEM_KEY_END, &concat(parts, Span::last), list);
        }
        if let Some(entry) = entry {
            extras(entry, list);
        }
    });
    if let ([one], true) = (parts, is_interval)
        && let Some(end) = behind(one)
    {
        list.nest(NFTA_LIST_ELEM | NLA_F_NESTED, |list| {
            value(NFTA_ELEM_KEY, &end, list);
            list.put(NFTA_ELEM_FLAGS, &NFT_SET_ELEM_INTERVAL_END.to_be_bytes());
        });
    }
}

/// What an element has besides its key.
fn extras(entry: &Entry, list: &mut Writer) {
    match &entry.data {
        Some(Datum::Value(one)) => {
            let mut bytes = Vec::new();
            put(*one, &mut bytes);
            value(NFTA_ELEM_DATA, &bytes, list);
        }
        Some(Datum::Verdict(verdict)) => list.nest(NFTA_ELEM_DATA | NLA_F_NESTED, |list| {
            list.put(data::VERDICT | NLA_F_NESTED, &verdict_bytes(verdict));
        }),
        None => {}
    }
    if let Some(timeout) = entry.timeout {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        list.put(NFTA_ELEM_TIMEOUT, &millis.to_be_bytes());
    }
    if let Some(comment) = &entry.comment {
        list.put(NFTA_ELEM_USERDATA, &userdata(comment));
    }
}

/// Some `nft_data`.
fn value(kind: u16, bytes: &[u8], list: &mut Writer) {
    list.nest(kind | NLA_F_NESTED, |list| list.put(data::VALUE, bytes));
}

fn concat(parts: &[Span], end: impl Fn(&Span) -> Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    for part in parts {
        put(end(part), &mut bytes);
        if parts.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// The bytes of the value that follows a range; nothing if it ends with the largest one.
fn behind(span: &Span) -> Option<Vec<u8>> {
    if Some(span.last()) == largest(span.kind()) {
        return None;
    }
    let mut bytes = Vec::with_capacity(16);
    put(span.last(), &mut bytes);
    for byte in bytes.iter_mut().rev() {
        let (next, is_carried) = byte.overflowing_add(1);
        *byte = next;
        if !is_carried {
            break;
        }
    }
    Some(bytes)
}

/// `enum nft_set_elem_list_attributes` of `linux/netfilter/nf_tables.h`.
const NFTA_LIST_TABLE: u16 = 1;
const NFTA_LIST_SET: u16 = 2;
const NFTA_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_SET_ID: u16 = 4;
/// `enum nft_set_elem_attributes`.
const NFTA_ELEM_KEY: u16 = 1;
const NFTA_ELEM_DATA: u16 = 2;
const NFTA_ELEM_FLAGS: u16 = 3;
const NFTA_ELEM_TIMEOUT: u16 = 4;
const NFTA_ELEM_USERDATA: u16 = 6;
const NFTA_ELEM_KEY_END: u16 = 10;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
/// Below what the length of an attribute can say, with room for one more element.
const MAX_LIST: usize = 60_000;

//! Reading states of the usual shape: what Weave Net and this crate send, with ids of any kind.
//!
//! A message is read straight into entries and names, without values in between. Whatever is not
//! as usual (other fields, votes, lists beyond bounds, damage) is left to [`super::state`], which
//! finds the error or the meaning; so this reader gives a state only if that one gives the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use weave_mesh::gob::{Cursor, Decoder};

use super::schema;
use crate::message::State;
use crate::peer::PeerId;
use crate::ring::{Entry, MAX_ENTRIES, Ring};
use crate::span::{AddressRange, Family, Span};

/// The first value of a gob stream as a state, if all is as usual.
pub(super) fn decode(payload: &[u8]) -> Option<State> {
    [Family::V4, Family::V6].into_iter().find_map(|family| {
        let ty = schema::state(family);
        let mut cursor = Decoder::new(payload).next_shaped(ty).ok()??;
        match family {
            Family::V4 => state::<V4>(&mut cursor),
            Family::V6 => state::<V6>(&mut cursor),
        }
    })
}

/// How addresses of a family are sent.
trait Address {
    const FAMILY: Family;

    fn read(cursor: &mut Cursor<'_>) -> Option<u128>;
}

/// As numbers.
struct V4;

impl Address for V4 {
    const FAMILY: Family = Family::V4;

    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<u128> {
        narrow(cursor).map(u128::from)
    }
}

/// As byte strings of 16.
struct V6;

impl Address for V6 {
    const FAMILY: Family = Family::V6;

    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<u128> {
        let bytes = cursor.bytes().ok()?.try_into().ok()?;
        Some(u128::from_be_bytes(bytes))
    }
}

fn state<A: Address>(cursor: &mut Cursor<'_>) -> Option<State> {
    let mut state = State::default();
    fields(cursor, |field, cursor| {
        match field {
            1 => state.unix_seconds = cursor.int().ok()?,
            2 => state.nicknames = nicknames(cursor)?,
            4 => state.ring = Some(Arc::new(ring::<A>(cursor)?)),
            _ => return None,
        }
        Some(())
    })?;
    Some(state)
}

fn nicknames(cursor: &mut Cursor<'_>) -> Option<BTreeMap<PeerId, String>> {
    let count = count(cursor)?;
    let mut nicknames = Vec::with_capacity(count.min(4096));
    for _ in 0..count {
        let peer = PeerId(uint(cursor)?);
        let nickname = cursor.bytes().ok()?;
        let nickname = match str::from_utf8(nickname) {
            Ok(nickname) => nickname.to_owned(),
            Err(_) => String::from_utf8_lossy(nickname).into_owned(),
        };
        nicknames.push((peer, nickname));
    }
    Some(nicknames.into_iter().collect())
}

fn ring<A: Address>(cursor: &mut Cursor<'_>) -> Option<Ring> {
    let (mut start, mut end) = ((A::FAMILY == Family::V4).then_some(0), None);
    let mut peer = PeerId::NONE;
    let (mut entries, mut seeds) = (Vec::new(), Vec::new());
    fields(cursor, |field, cursor| {
        match field {
            1 => start = Some(A::read(cursor)?),
            2 => end = Some(A::read(cursor)?),
            3 => peer = PeerId(uint(cursor)?),
            4 => entries = list(cursor, entry::<A>)?,
            5 => seeds = list(cursor, |cursor| uint(cursor).map(PeerId))?,
            _ => return None,
        }
        Some(())
    })?;
    let universe = AddressRange {
        family: A::FAMILY,
        span: Span::new(start?, end?)?,
    };
    Some(Ring::from_parts(universe, peer, entries, seeds))
}

#[inline]
fn entry<A: Address>(cursor: &mut Cursor<'_>) -> Option<Entry> {
    if A::FAMILY == Family::V4
        && let Some(window) = cursor.peek()
        && let Some((entry, len)) = entry_in(window)
    {
        cursor.skip(len);
        return Some(entry);
    }
    let mut entry = Entry {
        token: 0,
        peer: PeerId::NONE,
        version: 0,
        free: 0,
    };
    fields(cursor, |field, cursor| {
        match field {
            1 => entry.token = A::read(cursor)?,
            2 => entry.peer = PeerId(uint(cursor)?),
            3 => entry.version = narrow(cursor)?,
            4 => entry.free = narrow(cursor)?,
            _ => return None,
        }
        Some(())
    })?;
    Some(entry)
}

/// The IPv4 entry at the start of a window, and how many bytes it takes. A window has room for the
/// longest: four fields of ten bytes and the end.
#[inline]
fn entry_in(window: &[u8; 48]) -> Option<(Entry, usize)> {
    let mut numbers = [0_u64; 4];
    let mut at = 0_usize;
    let mut is_sound = true;
    let mut delta = 1_u8;
    for number in &mut numbers {
        let [found, first, digits @ ..] = window.get(at..)?.first_chunk::<10>()?;
        if *found != delta {
            // This one is zero; the next that is present says that it is further on.
            delta += 1;
            continue;
        }
        delta = 1;
        // Both readings are made and one is taken: what a number is like cannot be foretold.
        let width = first.wrapping_neg();
        let is_short = *first < 0x80;
        is_sound &= is_short || width <= 8;
        let long = u64::from_be_bytes(*digits) >> (64_u8.wrapping_sub(8 * (width & 15)) & 63);
        *number = if is_short { u64::from(*first) } else { long };
        at += 2 + if is_short { 0 } else { usize::from(width & 15) };
    }
    if !is_sound || *window.get(at)? != 0 {
        return None;
    }
    let [token, peer, version, free] = numbers;
    let entry = Entry {
        token: u32::try_from(token).ok()?.into(),
        peer: PeerId(peer),
        version: u32::try_from(version).ok()?,
        free: u32::try_from(free).ok()?,
    };
    Some((entry, at + 1))
}

/// Calls `visit` with the position, from 1, of each field that is present.
#[inline]
fn fields<'a>(
    cursor: &mut Cursor<'a>,
    mut visit: impl FnMut(u64, &mut Cursor<'a>) -> Option<()>,
) -> Option<()> {
    let mut field = 0_u64;
    loop {
        let delta = uint(cursor)?;
        if delta == 0 {
            return Some(());
        }
        field = field.checked_add(delta)?;
        visit(field, cursor)?;
    }
}

fn list<'a, T>(
    cursor: &mut Cursor<'a>,
    read: impl Fn(&mut Cursor<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = count(cursor)?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(read(cursor)?);
    }
    Some(list)
}

/// How many elements follow. More than a ring may have entries is not usual.
fn count(cursor: &mut Cursor<'_>) -> Option<usize> {
    let count = cursor.count().ok()?;
    (count <= MAX_ENTRIES).then_some(count)
}

#[inline]
fn uint(cursor: &mut Cursor<'_>) -> Option<u64> {
    cursor.uint().ok()
}

#[inline]
fn narrow(cursor: &mut Cursor<'_>) -> Option<u32> {
    u32::try_from(uint(cursor)?).ok()
}

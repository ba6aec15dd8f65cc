//! Reading topology updates of any sender straight into records.
//!
//! The sender's definitions are matched by field name once per type; what is not known is skipped.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::gob::{
    BOOL, BYTES, Cursor, Decoder, Definition, Error, Registry, STRING, StructDefinition, TypeId,
    UINT,
};
use crate::peer::{
    Address, Link, Links, MAX_ADDRESS, MAX_NICKNAME, PeerName, PeerRecord, ShortId, Uid,
};

/// The most records accepted in one update. The largest full mesh whose complete state fits a
/// message has about 600 peers.
pub const MAX_RECORDS: usize = 16 * 1024;

/// Decodes an update, in the order of the stream.
///
/// A last record without connection list is dropped, as by Weave Net. A short id of more than 12
/// bits counts as none.
///
/// # Errors
/// An [`Error`]: the remote is at fault, nothing of the update may be used and the connection
/// has to end. Stricter than Weave Net: names have 6 bytes, and [`MAX_RECORDS`], [`MAX_NICKNAME`]
/// and [`MAX_ADDRESS`] hold.
pub fn decode(update: &[u8]) -> Result<Vec<PeerRecord>, Error> {
    decode_news(update, |_| true)
}

/// Decodes an update like [`decode`], but looks into the connections of those records only for
/// which `is_news` returns true; it is given the record without connections. The others come out
/// without connections, at a small part of the cost.
///
/// # Errors
/// As [`decode`].
pub fn decode_news(
    update: &[u8],
    mut is_news: impl FnMut(&PeerRecord) -> bool,
) -> Result<Vec<PeerRecord>, Error> {
    let mut decoder = Decoder::new(update);
    let mut summaries = Plan::new(SUMMARY);
    let mut links = Plan::new(LINK);
    let mut records = Vec::new();
    while let Some((id, mut cursor)) = decoder.next_raw()? {
        let mut record = summary(decoder.types(), &mut summaries, id, &mut cursor)?;
        let Some((id, mut cursor)) = decoder.next_raw()? else {
            break;
        };
        if is_news(&record) {
            record.connections = connections(decoder.types(), &mut links, id, &mut cursor)?;
        }
        if records.len() == MAX_RECORDS {
            return Err(Error::Limit("records in a topology update"));
        }
        records.push(record);
    }
    Ok(records)
}

fn summary<'a>(
    types: &Registry,
    plan: &mut Plan,
    id: TypeId,
    cursor: &mut Cursor<'a>,
) -> Result<PeerRecord, Error> {
    let (mut name, mut nickname) = (&[][..], &[][..]);
    let mut numbers = [0; 4];
    plan.read(types, id, cursor, true, |field, cursor: &mut Cursor<'a>| {
        match field {
            0 => name = cursor.bytes()?,
            1 => nickname = text(cursor, MAX_NICKNAME, "bytes in a nickname")?,
            _ => numbers[field - 2] = cursor.uint()?,
        }
        Ok(())
    })?;
    let [uid, version, short_id, has_short_id] = numbers;
    let short_id = u16::try_from(short_id).map_err(|_| Error::OutOfRange("ShortID"))?;
    Ok(PeerRecord {
        name: peer_name(name)?,
        nickname: String::from_utf8_lossy(nickname).into_owned(),
        uid: Uid(uid),
        version,
        short_id: ShortId::try_from(short_id)
            .ok()
            .filter(|_| has_short_id != 0),
        connections: Links::new(),
    })
}

fn connections<'a>(
    types: &Registry,
    plan: &mut Plan,
    id: TypeId,
    cursor: &mut Cursor<'a>,
) -> Result<Links, Error> {
    let definition = types.resolve(id)?;
    let &Definition::Slice(element) = definition else {
        return Err(Error::WrongKind {
            wanted: "slice",
            found: definition.kind(),
        });
    };
    let mut links = Vec::new();
    for _ in 0..cursor.count()? {
        let (mut name, mut address) = (&[][..], &[][..]);
        let mut flags = [false; 2];
        plan.read(
            types,
            element,
            cursor,
            false,
            |field, cursor: &mut Cursor<'a>| {
                match field {
                    0 => name = cursor.bytes()?,
                    1 => address = text(cursor, MAX_ADDRESS, "bytes in an address")?,
                    _ => flags[field - 2] = cursor.uint()? != 0,
                }
                Ok(())
            },
        )?;
        let [outbound, established] = flags;
        let address = Address::from(&*String::from_utf8_lossy(address));
        links.push((
            peer_name(name)?,
            Link {
                address,
                outbound,
                established,
            },
        ));
    }
    Ok(links.into_iter().collect())
}

fn text<'a>(cursor: &mut Cursor<'a>, limit: usize, what: &'static str) -> Result<&'a [u8], Error> {
    let bytes = cursor.bytes()?;
    if bytes.len() <= limit {
        Ok(bytes)
    } else {
        Err(Error::Limit(what))
    }
}

fn peer_name(bytes: &[u8]) -> Result<PeerName, Error> {
    PeerName::try_from(bytes).map_err(|_| Error::OutOfRange("NameByte"))
}

/// A struct as the reader knows it.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) fields: &'static [(&'static str, TypeId)],
}

/// How to read a struct of the sender's type: for each of its fields, the number of the known
/// field it is. Made at the first value of a type and kept for the others.
struct Plan {
    known: Known,
    made: BTreeMap<TypeId, Vec<Option<usize>>>,
}

impl Plan {
    fn new(known: Known) -> Self {
        Self {
            known,
            made: BTreeMap::new(),
        }
    }

    /// Reads a struct; `visit` gets the number of a known field and has to move past it, fields
    /// that are not known are skipped.
    fn read<'a>(
        &mut self,
        types: &Registry,
        id: TypeId,
        cursor: &mut Cursor<'a>,
        is_top: bool,
        mut visit: impl FnMut(usize, &mut Cursor<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let definition = match types.resolve(id)? {
            Definition::Struct(definition) => definition,
            other => {
                return Err(Error::WrongKind {
                    wanted: "struct",
                    found: other.kind(),
                });
            }
        };
        let plan = match self.made.entry(id) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(free) => free.insert(self.known.plan(types, definition)?),
        };
        definition.walk(cursor, is_top, |index, cursor| match plan[index] {
            Some(field) => visit(field, cursor),
            None => types.skip(definition.types[index], cursor, types.depth()),
        })
    }
}

impl Known {
    fn plan(self, types: &Registry, sent: &StructDefinition) -> Result<Vec<Option<usize>>, Error> {
        let mut plan = Vec::with_capacity(sent.types.len());
        for (name, id) in sent.names.iter().zip(&sent.types) {
            let field = self.fields.iter().position(|(known, _)| **known == **name);
            if let Some((_, wanted)) = field.map(|field| self.fields[field])
                && *id != wanted
            {
                let kind = |id| types.resolve(id).map(Definition::kind);
                return Err(Error::WrongKind {
                    wanted: kind(wanted)?,
                    found: kind(*id)?,
                });
            }
            plan.push(field);
        }
        if !plan.is_empty() && plan.iter().all(Option::is_none) {
            return Err(Error::NoCommonField(self.name));
        }
        Ok(plan)
    }
}

pub(super) const SUMMARY: Known = Known {
    name: "peerSummary",
    fields: &[
        ("NameByte", BYTES),
        ("NickName", STRING),
        ("UID", UINT),
        ("Version", UINT),
        ("ShortID", UINT),
        ("HasShortID", BOOL),
    ],
};
pub(super) const LINK: Known = Known {
    name: "connectionSummary",
    fields: &[
        ("NameByte", BYTES),
        ("RemoteTCPAddr", STRING),
        ("Outbound", BOOL),
        ("Established", BOOL),
    ],
};

//! Writing messages of the exchange.

use std::net::SocketAddr;

use super::{Body, RecordUpdate, Sync, flag, kind};
use crate::peer::{Address, Head, Link, PeerName};

impl Sync<'_> {
    /// The body of a message with tag 16.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Digest(digest) => {
                out.push(kind::DIGEST);
                out.extend_from_slice(&digest.to_be_bytes());
            }
            Self::Heads { is_complete, heads } => {
                out.extend([kind::HEADS, flags([(*is_complete, flag::COMPLETE)])]);
                put_count(&mut out, heads.len());
                for head in heads {
                    put_head(&mut out, *head);
                }
            }
            Self::Wants(wants) => {
                out.push(kind::WANTS);
                put_count(&mut out, wants.len());
                for (name, version) in wants {
                    out.extend_from_slice(&name.to_bytes());
                    put_number(&mut out, *version);
                }
            }
            Self::Records(records) => {
                out.push(kind::RECORDS);
                put_count(&mut out, records.len());
                for record in records {
                    record.put(&mut out);
                }
            }
            Self::Channel {
                channel,
                digest,
                is_answer_wanted,
            } => {
                out.extend([kind::CHANNEL, flags([(*is_answer_wanted, flag::ANSWER)])]);
                put_text(&mut out, channel);
                out.extend_from_slice(&digest.to_be_bytes());
            }
            Self::Unknown(kind) => out.push(*kind),
        }
        out
    }
}

impl RecordUpdate {
    /// How many bytes this adds to a message, about.
    #[must_use]
    pub fn size(&self) -> usize {
        const NAME: usize = 6;
        const LINK: usize = 14;
        let body = match &self.body {
            Body::Whole {
                nickname,
                connections,
            } => nickname.len() + LINK * connections.len(),
            Body::Since {
                changed, removed, ..
            } => LINK * changed.len() + NAME * removed.len(),
        };
        32 + body
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_head(out, self.head);
        if let Some(id) = self.short_id.filter(|_| self.head.has_short_id) {
            out.extend_from_slice(&u16::from(id).to_be_bytes());
        }
        match &self.body {
            Body::Whole {
                nickname,
                connections,
            } => {
                out.push(kind::WHOLE);
                put_text(out, nickname);
                put_count(out, connections.len());
                for (remote, link) in connections {
                    put_link(out, *remote, link);
                }
            }
            Body::Since {
                base,
                changed,
                removed,
            } => {
                out.push(kind::SINCE);
                put_number(out, *base);
                put_count(out, changed.len());
                for (remote, link) in changed {
                    put_link(out, *remote, link);
                }
                put_count(out, removed.len());
                for remote in removed {
                    out.extend_from_slice(&remote.to_bytes());
                }
            }
        }
    }
}

fn put_head(out: &mut Vec<u8>, head: Head) {
    out.extend_from_slice(&head.name.to_bytes());
    out.extend_from_slice(&head.uid.0.to_be_bytes());
    out.push(flags([(head.has_short_id, flag::SHORT_ID)]));
    put_number(out, head.version);
}

fn put_link(out: &mut Vec<u8>, remote: PeerName, link: &Link) {
    out.extend_from_slice(&remote.to_bytes());
    let own = flags([
        (link.outbound, flag::OUTBOUND),
        (link.established, flag::ESTABLISHED),
    ]);
    match numeric(&link.address) {
        Some(SocketAddr::V4(address)) => {
            out.push(own | flag::IPV4);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_be_bytes());
        }
        Some(SocketAddr::V6(address)) if address.scope_id() == 0 => {
            out.push(own | flag::IPV6);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_be_bytes());
        }
        _ => {
            out.push(own);
            link.address.with_text(|text| put_text(out, text));
        }
    }
}

/// The address if it is written the same way again: only then it may go as numbers.
fn numeric(address: &Address) -> Option<SocketAddr> {
    address
        .socket()
        .filter(|socket| Address::from(*socket) == *address)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put_number(out, count as u64);
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn flags<const N: usize>(bits: [(bool, u8); N]) -> u8 {
    bits.into_iter().fold(0, |flags, (is_set, bit)| {
        flags | if is_set { bit } else { 0 }
    })
}

//! Reading messages of the exchange. Counts are compared with what is left of the message before
//! anything is taken from it, and lists grow element by element.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use super::{Body, RecordUpdate, Sync, flag, kind};
use crate::peer::{Address, Head, Link, MAX_ADDRESS, MAX_NICKNAME, PeerName, ShortId, Uid};
use crate::wire::message::MAX_CHANNEL_NAME;

/// Why a message is refused. The remote is at fault: the connection has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The message ends in the middle of a value.
    #[error("sync message is cut off")]
    CutOff,
    /// A number has more than 64 bits.
    #[error("number in a sync message has more than 64 bits")]
    Number,
    /// There are more elements than the rest of the message has bytes.
    #[error("count of {0} in a sync message exceeds the message")]
    Count(u64),
    /// A text is longer than allowed.
    #[error("{what} of {length} bytes in a sync message is too long")]
    Length {
        /// What the text is.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A text is not UTF-8.
    #[error("{0} in a sync message is not text")]
    Text(&'static str),
    /// A short id does not fit 12 bits.
    #[error("short id {0} in a sync message does not fit 12 bits")]
    ShortId(u16),
    /// A record says in a way that is not known how it results.
    #[error("record of unknown kind {0} in a sync message")]
    Body(u8),
}

impl<'a> Sync<'a> {
    /// Parses the body of a message with tag 16. Bytes behind a complete message are ignored.
    ///
    /// # Errors
    /// A [`SyncError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, SyncError> {
        let mut from = Reader { rest: body };
        Ok(match from.byte()? {
            kind::DIGEST => Self::Digest(from.u64()?),
            kind::HEADS => Self::Heads {
                is_complete: from.byte()? & flag::COMPLETE != 0,
                heads: from.list(Reader::head)?,
            },
            kind::WANTS => Self::Wants(from.list(|from| Ok((from.name()?, from.number()?)))?),
            kind::RECORDS => Self::Records(from.list(Reader::record)?),
            kind::CHANNEL => Self::Channel {
                is_answer_wanted: from.byte()? & flag::ANSWER != 0,
                channel: from.text(MAX_CHANNEL_NAME, "channel name")?,
                digest: from.u64()?,
            },
            other => Self::Unknown(other),
        })
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], SyncError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(SyncError::CutOff)?;
        self.rest = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8, SyncError> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, SyncError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, SyncError> {
        self.array().map(u64::from_be_bytes)
    }

    fn number(&mut self) -> Result<u64, SyncError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(SyncError::Number);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(SyncError::Number)
    }

    fn list<T>(
        &mut self,
        mut next: impl FnMut(&mut Self) -> Result<T, SyncError>,
    ) -> Result<Vec<T>, SyncError> {
        let count = self.number()?;
        if usize::try_from(count).map_or(true, |count| count > self.rest.len()) {
            return Err(SyncError::Count(count));
        }
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(next(self)?);
        }
        Ok(list)
    }

    fn text(&mut self, limit: usize, what: &'static str) -> Result<&'a str, SyncError> {
        let count = self.number()?;
        let length = usize::try_from(count).map_err(|_| SyncError::Count(count))?;
        if length > limit {
            return Err(SyncError::Length { what, length });
        }
        let (text, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(SyncError::CutOff)?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| SyncError::Text(what))
    }

    fn name(&mut self) -> Result<PeerName, SyncError> {
        self.array().map(PeerName::from_bytes)
    }

    fn head(&mut self) -> Result<Head, SyncError> {
        Ok(Head {
            name: self.name()?,
            uid: Uid(self.u64()?),
            has_short_id: self.byte()? & flag::SHORT_ID != 0,
            version: self.number()?,
        })
    }

    fn record(&mut self) -> Result<RecordUpdate, SyncError> {
        let head = self.head()?;
        let short_id = if head.has_short_id {
            let id = self.u16()?;
            Some(ShortId::try_from(id).map_err(|_| SyncError::ShortId(id))?)
        } else {
            None
        };
        let body = match self.byte()? {
            kind::WHOLE => Body::Whole {
                nickname: self.text(MAX_NICKNAME, "nickname")?.to_owned(),
                connections: self.list(Self::link)?.into_iter().collect(),
            },
            kind::SINCE => Body::Since {
                base: self.number()?,
                changed: self.list(Self::link)?,
                removed: self.list(Self::name)?,
            },
            other => return Err(SyncError::Body(other)),
        };
        Ok(RecordUpdate {
            head,
            short_id,
            body,
        })
    }

    fn link(&mut self) -> Result<(PeerName, Link), SyncError> {
        let remote = self.name()?;
        let flags = self.byte()?;
        let address = if flags & flag::IPV4 != 0 {
            let ip = Ipv4Addr::from(self.array::<4>()?);
            Address::from(SocketAddrV4::new(ip, self.u16()?))
        } else if flags & flag::IPV6 != 0 {
            let ip = Ipv6Addr::from(self.array::<16>()?);
            Address::from(SocketAddr::from((ip, self.u16()?)))
        } else {
            Address::from(self.text(MAX_ADDRESS, "address")?)
        };
        let link = Link {
            address,
            outbound: flags & flag::OUTBOUND != 0,
            established: flags & flag::ESTABLISHED != 0,
        };
        Ok((remote, link))
    }
}

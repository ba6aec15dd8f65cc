//! Protocol messages: a tag, then what the tag says (mesh protocol, "protocol messages").
//!
//! ```text
//!  0     1
//! +-----+-----------------------------------------------------------------+
//! | 0   |                                                       heartbeat |
//! | 3   | u16 path MTU                              sleeve, compatibility |
//! | 4   | gob: channel string, sender uint, payload bytes          gossip |
//! | 5   | gob: channel, source, destination, payload              unicast |
//! | 6   | gob: channel, source, payload                         broadcast |
//! | 7   | overlay index, sub-tag, body                    overlay control |
//! | 16  | see `wire::sync`; only to peers that announced it          sync |
//! +-----+-----------------------------------------------------------------+
//! ```

use crate::gob::{self, Decoder};
use crate::peer::PeerName;

/// One message, borrowing what it carries from the frame it was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// A frame without content; to be ignored.
    Blank,
    /// The sender is alive.
    Heartbeat,
    /// Sleeve without negotiated overlays: the sender received our UDP heartbeat.
    LegacyEstablished,
    /// Sleeve without negotiated overlays: a large UDP packet arrived in fragments.
    LegacyFragmentation,
    /// Sleeve without negotiated overlays: the overlay MTU, in bytes, that got through.
    LegacyPmtu(u16),
    /// State of a channel, for the receiver and whom it chooses.
    Gossip {
        /// Name of the channel.
        channel: &'a str,
        /// The immediate sender.
        sender: PeerName,
        /// What the channel's users exchange.
        payload: &'a [u8],
    },
    /// A message for one peer, relayed unchanged.
    Unicast {
        /// Name of the channel.
        channel: &'a str,
        /// The originator.
        source: PeerName,
        /// The peer it is for.
        destination: PeerName,
        /// What the channel's users exchange.
        payload: &'a [u8],
    },
    /// State of a channel, relayed along the broadcast tree of its source.
    Broadcast {
        /// Name of the channel.
        channel: &'a str,
        /// The originator.
        source: PeerName,
        /// What the channel's users exchange.
        payload: &'a [u8],
    },
    /// For the data overlay of the connection.
    Control {
        /// Overlay index, sub-tag and what follows; of any length, even 0.
        body: &'a [u8],
    },
    /// Digests and deltas ([`super::sync`]), between peers that announced them.
    Sync {
        /// Kind and what follows; of any length, even 0.
        body: &'a [u8],
    },
    /// A tag of a later protocol; to be ignored.
    Unknown(u8),
}

impl<'a> Message<'a> {
    /// Parses the content of one frame. Bytes behind a complete message are ignored.
    ///
    /// # Errors
    /// A [`MessageError`] if the content does not fit its tag; the connection has to end.
    pub fn parse(frame: &'a [u8]) -> Result<Self, MessageError> {
        let Some((&tag, body)) = frame.split_first() else {
            return Ok(Self::Blank);
        };
        let envelope = |source| MessageError::Envelope { tag, source };
        Ok(match tag {
            tag::HEARTBEAT => Self::Heartbeat,
            tag::LEGACY_ESTABLISHED => Self::LegacyEstablished,
            tag::LEGACY_FRAGMENTATION => Self::LegacyFragmentation,
            tag::LEGACY_PMTU => {
                let mtu = body
                    .first_chunk()
                    .ok_or(MessageError::ShortPmtu(body.len()))?;
                Self::LegacyPmtu(u16::from_be_bytes(*mtu))
            }
            tag::GOSSIP => Self::parse_gossip(body).map_err(envelope)?,
            tag::UNICAST => Self::parse_unicast(body).map_err(envelope)?,
            tag::BROADCAST => Self::parse_broadcast(body).map_err(envelope)?,
            tag::CONTROL => Self::Control { body },
            tag::SYNC => Self::Sync { body },
            other => Self::Unknown(other),
        })
    }

    /// The content of a frame that carries this message.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        match *self {
            Self::Blank => Vec::new(),
            Self::Heartbeat => vec![tag::HEARTBEAT],
            Self::LegacyEstablished => vec![tag::LEGACY_ESTABLISHED],
            Self::LegacyFragmentation => vec![tag::LEGACY_FRAGMENTATION],
            Self::LegacyPmtu(mtu) => {
                let [high, low] = mtu.to_be_bytes();
                vec![tag::LEGACY_PMTU, high, low]
            }
            Self::Gossip {
                channel,
                sender,
                payload,
            } => emit_envelope(tag::GOSSIP, channel, &[sender], payload),
            Self::Unicast {
                channel,
                source,
                destination,
                payload,
            } => emit_envelope(tag::UNICAST, channel, &[source, destination], payload),
            Self::Broadcast {
                channel,
                source,
                payload,
            } => emit_envelope(tag::BROADCAST, channel, &[source], payload),
            Self::Control { body } => [&[tag::CONTROL], body].concat(),
            Self::Sync { body } => [&[tag::SYNC], body].concat(),
            Self::Unknown(tag) => vec![tag],
        }
    }

    fn parse_gossip(body: &'a [u8]) -> Result<Self, gob::Error> {
        let mut values = Decoder::new(body);
        Ok(Self::Gossip {
            channel: next_channel(&mut values)?,
            sender: next_name(&mut values, "sender")?,
            payload: values.next_bytes()?,
        })
    }

    fn parse_unicast(body: &'a [u8]) -> Result<Self, gob::Error> {
        let mut values = Decoder::new(body);
        Ok(Self::Unicast {
            channel: next_channel(&mut values)?,
            source: next_name(&mut values, "source")?,
            destination: next_name(&mut values, "destination")?,
            payload: values.next_bytes()?,
        })
    }

    fn parse_broadcast(body: &'a [u8]) -> Result<Self, gob::Error> {
        let mut values = Decoder::new(body);
        Ok(Self::Broadcast {
            channel: next_channel(&mut values)?,
            source: next_name(&mut values, "source")?,
            payload: values.next_bytes()?,
        })
    }
}

/// A message that does not fit its tag. The remote is at fault; the connection has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The envelope of a gossip, unicast or broadcast message cannot be decoded.
    #[error("message with tag {tag}: {source}")]
    Envelope {
        /// The message's tag.
        tag: u8,
        /// What is wrong with the envelope.
        source: gob::Error,
    },
    /// The path MTU is missing or cut off.
    #[error("path MTU message of {0} bytes instead of 2")]
    ShortPmtu(usize),
}

/// The longest name of a channel, in bytes.
pub const MAX_CHANNEL_NAME: usize = 255;

mod tag {
    pub(super) const HEARTBEAT: u8 = 0;
    pub(super) const LEGACY_ESTABLISHED: u8 = 1;
    pub(super) const LEGACY_FRAGMENTATION: u8 = 2;
    pub(super) const LEGACY_PMTU: u8 = 3;
    pub(super) const GOSSIP: u8 = 4;
    pub(super) const UNICAST: u8 = 5;
    pub(super) const BROADCAST: u8 = 6;
    pub(super) const CONTROL: u8 = 7;
    /// Far from 8, the first tag that is free in Weave Net.
    pub(super) const SYNC: u8 = 16;
}

fn next_channel<'a>(values: &mut Decoder<'a>) -> Result<&'a str, gob::Error> {
    let channel = values.next_str()?;
    if channel.len() <= MAX_CHANNEL_NAME {
        Ok(channel)
    } else {
        Err(gob::Error::Limit("bytes in the name of a channel"))
    }
}

fn next_name(values: &mut Decoder<'_>, field: &'static str) -> Result<PeerName, gob::Error> {
    PeerName::try_from(values.next_uint()?).map_err(|_| gob::Error::OutOfRange(field))
}

fn emit_envelope(tag: u8, channel: &str, names: &[PeerName], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENVELOPE_OVERHEAD + channel.len() + payload.len());
    out.push(tag);
    gob::put_top_str(&mut out, channel);
    for name in names {
        gob::put_top_uint(&mut out, (*name).into());
    }
    gob::put_top_bytes(&mut out, payload);
    out
}

/// Tag, two names and the heads of the channel's name and of the payload.
const ENVELOPE_OVERHEAD: usize = 64;

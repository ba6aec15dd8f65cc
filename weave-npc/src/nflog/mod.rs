//! Packets that rules have logged to a group (`log group 86`).
//!
//! [`parse`] reads what the kernel sends, without I/O; [`Reader`] is the socket. A packet that comes
//! is data of strangers: everything about it is bounded, and what does not parse is left out.
//!
//! Invariant: a [`Logged`] holds at most [`MAX_PAYLOAD`] bytes of packet and [`MAX_HEADER`] of frame,
//! whatever arrives.

mod flow;
mod reader;

use std::time::Duration;

use crate::nfnetlink::wire::{Attribute, Message, Messages};

pub use crate::nfnetlink::NetlinkError;
pub use flow::{Flow, Transport};
pub use reader::{Reader, Received};

/// A packet that was logged, with what the kernel said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logged {
    /// The group it was logged to.
    pub group: u16,
    /// The text of the rule that logged it; at most 127 bytes.
    pub prefix: String,
    /// The point of its path (`enum nf_inet_hooks`: 2 is forward).
    pub hook: u8,
    /// Its Ethernet protocol.
    pub ether_type: u16,
    /// When it came, since 1970, if its device keeps times.
    pub time: Option<Duration>,
    /// Its mark, if it has one.
    pub mark: Option<u32>,
    /// Number of the device it came by.
    pub iif: Option<u32>,
    /// Number of the device it would have left by.
    pub oif: Option<u32>,
    /// Number of the bridge port it came by, if it came by one.
    pub port: Option<u32>,
    /// Who sent the frame, as far as the link layer says.
    pub source: Option<[u8; 6]>,
    /// The header of the frame.
    pub header: Vec<u8>,
    /// The packet from its network header on, cut to what was asked for.
    pub payload: Vec<u8>,
    /// How many packets were logged to the group before, if the kernel counts; a gap means that
    /// packets were lost.
    pub sequence: Option<u32>,
}

/// The logged packets of a datagram of netlink.
///
/// Anything else in it is left out.
pub fn parse(datagram: &[u8]) -> impl Iterator<Item = Logged> {
    Messages(datagram).filter_map(|message| read(&message))
}

fn read(message: &Message<'_>) -> Option<Logged> {
    if message.kind != PACKET {
        return None;
    }
    let group = u16::from_be_bytes(*message.payload.get(2..)?.first_chunk()?);
    let (_, attributes) = message.netfilter()?;
    let mut logged = Logged {
        group,
        ..Logged::default()
    };
    for attribute in attributes {
        fill(&mut logged, attribute);
    }
    Some(logged)
}

fn fill(logged: &mut Logged, attribute: Attribute<'_>) {
    let value = attribute.value;
    match attribute.kind {
        PACKET_HDR => {
            logged.ether_type = attribute.u16().unwrap_or(0);
            logged.hook = value.get(2).copied().unwrap_or(0);
        }
        MARK => logged.mark = attribute.u32(),
        TIMESTAMP => logged.time = timestamp(value),
        INDEV => logged.iif = attribute.u32(),
        OUTDEV => logged.oif = attribute.u32(),
        PHYSINDEV => logged.port = attribute.u32(),
        HWADDR => logged.source = address(value),
        PAYLOAD => logged.payload = value[..value.len().min(MAX_PAYLOAD)].to_vec(),
        PREFIX => {
            let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
            let text = &text[..text.len().min(MAX_PREFIX)];
            logged.prefix = String::from_utf8_lossy(text).into_owned();
        }
        SEQ => logged.sequence = attribute.u32(),
        HWHEADER => logged.header = value[..value.len().min(MAX_HEADER)].to_vec(),
        _ => {}
    }
}

/// Seconds and microseconds, both of eight bytes.
fn timestamp(value: &[u8]) -> Option<Duration> {
    let (seconds, micros) = value.split_first_chunk::<8>()?;
    let micros = u64::from_be_bytes(*micros.first_chunk()?);
    let seconds = Duration::from_secs(u64::from_be_bytes(*seconds));
    seconds.checked_add(Duration::from_micros(micros))
}

/// Length, padding, address.
fn address(value: &[u8]) -> Option<[u8; 6]> {
    let len = u16::from_be_bytes(*value.first_chunk()?);
    if len != 6 {
        return None;
    }
    value.get(4..)?.first_chunk().copied()
}

/// Bytes of a packet that are kept.
pub const MAX_PAYLOAD: usize = 2048;
/// Bytes of a frame's header that are kept.
pub const MAX_HEADER: usize = 64;
const MAX_PREFIX: usize = 127;

/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET`.
const PACKET: u16 = 0x0400;
/// `enum nfulnl_attr_type`, `linux/netfilter/nfnetlink_log.h`.
const PACKET_HDR: u16 = 1;
const MARK: u16 = 2;
const TIMESTAMP: u16 = 3;
const INDEV: u16 = 4;
const OUTDEV: u16 = 5;
const PHYSINDEV: u16 = 6;
const HWADDR: u16 = 8;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
const SEQ: u16 = 12;
const HWHEADER: u16 = 16;

#[cfg(test)]
mod tests;

//! The connections of one network namespace.
//!
//! Invariant: a call reads or deletes what it was asked for, no more; a connection that ended
//! meanwhile is no error.

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::conntrack::ConntrackMessageType;
use netlink_packet_netfilter::{NetfilterMessageInner, NetfilterSubsystem};

use super::codec::{connection, filter, name};
use super::{Connection, Filter};
use crate::nfnetlink::{NetlinkError, Request, Socket};

/// A connection to the kernel's table of connections.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Opens the table of the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Io`] without the right to or without netfilter.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::open(&[])?,
        })
    }

    /// Hands over the connections that are wanted, one at a time. One that begins or ends meanwhile
    /// may or may not be among them.
    ///
    /// # Errors
    ///
    /// [`NetlinkError`] if the kernel does not answer or refuses.
    pub fn each(
        &mut self,
        wanted: Filter,
        mut each: impl FnMut(Connection),
    ) -> Result<(), NetlinkError> {
        let is_v4 = match wanted {
            Filter::Ipv4 => true,
            Filter::Ipv6 => false,
            Filter::From(address) | Filter::To(address) => address.is_ipv4(),
        };
        let message = message(ConntrackMessageType::Get, filter(wanted));
        let family = if is_v4 { AF_INET } else { AF_INET6 };
        let request = Request {
            message,
            family,
            flags: DUMP,
            resource: 0,
        };
        let sent = self.socket.send(vec![request])?;
        let refusals = self.socket.answers(sent, |_, message| {
            let found = message
                .netfilter()
                .and_then(|(_, attributes)| connection(attributes));
            found
                .filter(|found| wanted.takes(found))
                .into_iter()
                .for_each(&mut each);
            Ok(())
        })?;
        match refusals.into_iter().next() {
            Some(refusal) => Err(NetlinkError::Refused {
                object: "the list of connections".to_owned(),
                source: refusal.source,
                reason: refusal.reason,
            }),
            None => Ok(()),
        }
    }

    /// Deletes a connection, so that its next packet is judged as a new one's; false if it had ended.
    ///
    /// # Errors
    ///
    /// [`NetlinkError`] if the kernel does not answer or refuses.
    pub fn delete(&mut self, connection: &Connection) -> Result<bool, NetlinkError> {
        let message = message(ConntrackMessageType::Delete, name(connection));
        let family = if connection.client().is_ipv4() {
            AF_INET
        } else {
            AF_INET6
        };
        let request = Request {
            message,
            family,
            flags: ACK,
            resource: 0,
        };
        let sent = self.socket.send(vec![request])?;
        let refusals = self.socket.answers(sent, |_, _| Ok(()))?;
        let Some(refusal) = refusals.into_iter().next() else {
            return Ok(true);
        };
        let error = NetlinkError::Refused {
            object: format!(
                "the connection from {} to {}",
                connection.client(),
                connection.server()
            ),
            source: refusal.source,
            reason: refusal.reason,
        };
        if error.is_missing() {
            Ok(false)
        } else {
            Err(error)
        }
    }
}

/// The typed messages of the crate lose the mark of nested attributes, without which the kernel
/// refuses a filter.
fn message(kind: ConntrackMessageType, attributes: Vec<(u16, Vec<u8>)>) -> NetfilterMessageInner {
    let attributes = attributes
        .into_iter()
        .map(|(kind, value)| DefaultNla::new(kind, value));
    NetfilterMessageInner::Other {
        subsys: NetfilterSubsystem::Conntrack,
        message_type: kind.into(),
        attributes: attributes.collect(),
    }
}

/// `linux/netlink.h`, `sys/socket.h`.
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

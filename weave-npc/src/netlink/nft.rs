//! The kernel's `nf_tables` in one network namespace: read a table, commit a transaction.
//!
//! Invariant: the handles it keeps are those of the rules in the kernel at the generation it keeps;
//! whenever that is in doubt both are forgotten and the next read gets them anew. What a rule that
//! was made is called is asked for when it is to be named: the kernel could tell at once, but that
//! takes as long as making it, and most chains go as a whole.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_netfilter::nftables::{GenMessage, NfTablesMessage};

use super::batch::{ACK, Batch, DUMP, Handle, Handles, unasked};
use super::message::{request, rule_name, table};
use super::readback::{self, RULE_HANDLE, Seen};
use crate::nfnetlink::wire::{Attribute, Attributes};
use crate::nfnetlink::{NetlinkError, Refusal, Request, Socket};
use crate::ruleset::{Family, Name, TableId, Transaction};

/// A connection to `nf_tables` of one network namespace. Calls block, for microseconds as a rule.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
    handles: Handles,
    generation: Option<u32>,
}

/// What a rule has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, with network headers.
    pub bytes: u64,
}

impl AsFd for Nft {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Nft {
    /// Opens a connection to the network namespace of the calling thread; it stays there when the
    /// thread moves on.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Io`] without the right to (`CAP_NET_ADMIN`) or without netfilter.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::open(&[])?,
            handles: Handles::new(),
            generation: None,
        })
    }

    /// What the kernel calls this connection in [`Touch::by`](super::Touch::by).
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// The generation of the rulesets: it grows with every change by anybody.
    ///
    /// # Errors
    ///
    /// [`NetlinkError`] if the kernel does not answer.
    pub fn generation(&mut self) -> Result<u32, NetlinkError> {
        let message = NfTablesMessage::GetGen(GenMessage {
            attributes: Vec::new(),
        });
        let mut generation = None;
        self.ask(request(Family::Inet, ACK, message), |_, attributes| {
            generation = attributes.find(GENERATION).and_then(Attribute::u32);
            Ok(())
        })?;
        generation.ok_or(NetlinkError::Malformed("the generation"))
    }

    /// Reads a table; nothing if it is not there.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Stale`] if others kept changing it meanwhile.
    pub fn read(&mut self, id: &TableId) -> Result<Option<Seen>, NetlinkError> {
        for _ in 0..READ_ATTEMPTS {
            let before = self.generation()?;
            let seen = match self.read_once(id) {
                Err(error) if error.is_stale() => continue,
                other => other?,
            };
            if self.generation()? != before {
                continue;
            }
            if self.generation != Some(before) {
                // What is known of other tables is of another time.
                self.handles.clear();
                self.generation = Some(before);
            }
            self.handles.retain(|(table, _), _| table != id);
            if let Some(seen) = &seen {
                self.handles.extend(seen.handles.clone());
            }
            return Ok(seen);
        }
        Err(NetlinkError::Stale)
    }

    fn read_once(&mut self, id: &TableId) -> Result<Option<Seen>, NetlinkError> {
        let message = NfTablesMessage::GetTable(table(id));
        match self.ask(request(id.family, ACK, message), |_, _| Ok(())) {
            Ok(()) => readback::read(self, id).map(Some),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Carries out a transaction, all or nothing.
    ///
    /// The tables it changes must have been read before, or made by this connection; if anybody has
    /// changed anything since, the kernel refuses.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Stale`], or [`NetlinkError::Refused`] with the object that did not fit. The
    /// kernel is unchanged then; the tables have to be read again.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<(), NetlinkError> {
        if transaction.is_empty() {
            return Ok(());
        }
        for (table, chain) in unasked(transaction, &self.handles) {
            self.learn(table, chain)?;
        }
        let generation = self.generation.take();
        let mut batch = Batch::new(transaction, generation, std::mem::take(&mut self.handles))?;
        let requests = std::mem::take(&mut batch.requests);
        let object = |index: usize| match batch
            .changes
            .get(index)
            .map(|change| &transaction.changes[*change])
        {
            Some(change) if index > 0 => change.to_string(),
            _ => format!("a batch of {} changes", transaction.changes.len()),
        };
        let sent = self.socket.send(requests)?;
        let refusals = self.socket.answers(sent, |_, _| Ok(()))?;
        if let Some(refusal) = refusals.into_iter().next() {
            return Err(refused(refusal, object));
        }
        self.handles = batch.into_handles();
        // The kernel leaves out 0.
        self.generation = generation.map(|generation| generation.checked_add(1).unwrap_or(1));
        Ok(())
    }

    /// Asks what the rules of a chain are called. If somebody has changed the chain the batch that
    /// follows is refused, for it carries the generation.
    fn learn(&mut self, table: &TableId, chain: &Name) -> Result<(), NetlinkError> {
        let name = rule_name(table.name.as_str(), chain.as_str(), None);
        let mut found = Vec::new();
        let message = NfTablesMessage::GetRule(name);
        self.ask(request(table.family, DUMP, message), |_, rule| {
            let handle = rule.find(RULE_HANDLE).and_then(Attribute::u64);
            let handle = handle.ok_or(NetlinkError::Malformed("a rule"))?;
            found.push(Handle::Known(handle));
            Ok(())
        })?;
        let key = (table.clone(), chain.clone());
        let known = self.handles.get_mut(&key);
        match known.filter(|known| known.len() == found.len()) {
            Some(known) => {
                *known = found;
                Ok(())
            }
            None => Err(NetlinkError::Stale),
        }
    }

    /// Sends a request and hands over what comes, one message at a time.
    pub(super) fn ask(
        &mut self,
        request: Request,
        mut each: impl FnMut(u8, Attributes<'_>) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        let sent = self.socket.send(vec![request])?;
        let refusals = self
            .socket
            .answers(sent, |_, message| match message.netfilter() {
                Some((family, attributes)) => each(family, attributes),
                None => Err(NetlinkError::Malformed("an object")),
            })?;
        match refusals.into_iter().next() {
            Some(refusal) => Err(refused(refusal, |_| "a request".to_owned())),
            None => Ok(()),
        }
    }

    /// Sends messages as one batch; `object` names the one that was refused.
    pub(super) fn batch(
        &mut self,
        requests: Vec<Request>,
        object: impl Fn(usize) -> String,
    ) -> Result<(), NetlinkError> {
        self.generation = None;
        self.handles.clear();
        let sent = self.socket.send(requests)?;
        let refusals = self.socket.answers(sent, |_, _| Ok(()))?;
        refusals
            .into_iter()
            .next()
            .map_or(Ok(()), |refusal| Err(refused(refusal, object)))
    }
}

fn refused(refusal: Refusal, object: impl Fn(usize) -> String) -> NetlinkError {
    if refusal.source.raw_os_error() == Some(ERESTART) {
        return NetlinkError::Stale;
    }
    NetlinkError::Refused {
        object: object(refusal.index),
        source: refusal.source,
        reason: refusal.reason,
    }
}

/// `NFTA_GEN_ID`.
pub(super) const GENERATION: u16 = 1;
/// `asm-generic/errno.h`; the kernel's answer to a batch for another generation.
const ERESTART: i32 = 85;
const READ_ATTEMPTS: usize = 8;

//! Sending frames on, to neighbours by sleeve or by the tunnel.

use std::{collections::HashMap, net::SocketAddrV4, sync::Arc};

use super::{
    Event, Shared,
    counters::Counter,
    forwarding::{Carrier, Forwarding, Hop},
    link::Link,
    outlet::{self, Inlet},
    pack::{Envelope, Packer, Run},
    udp::SendError,
};
use crate::{
    fastdp::PeerName,
    gso::{Offload, split::Split},
    sleeve::{
        fragment::fragment,
        icmp,
        packet::{RECORD_HEADER_LEN, header},
        seal::Stream,
        stream::{Choice, choose},
    },
    tap::Queue,
};

/// A frame on its way, cut if need be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parcel<'a> {
    /// Who took it off its bridge.
    pub(super) origin: PeerName,
    /// Whom it is for; in a flood the next hop.
    pub(super) destination: PeerName,
    /// The frame as it came.
    pub(super) frame: &'a [u8],
    /// How it is cut.
    pub(super) split: &'a Split<'a>,
    /// Whether it is for everyone.
    pub(super) flood: bool,
}

/// What one thread has packed and not yet sent. Everything leaves with [`flush`](Self::flush).
pub(super) struct Outbox {
    shared: Arc<Shared>,
    packers: HashMap<(u64, Stream), Entry>,
    used: Vec<(u64, Stream)>,
    scratch: Vec<u8>,
    queue: Queue,
}

struct Entry {
    link: Arc<Link>,
    packer: Packer,
}

impl Outbox {
    pub(super) fn new(shared: Arc<Shared>, queue: Queue) -> Self {
        Self {
            shared,
            queue,
            packers: HashMap::new(),
            used: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Sends a parcel to a hop. A frame that answers it, if it is too large for the path.
    pub(super) fn send(
        &mut self,
        forwarding: &Forwarding,
        links: &HashMap<u64, Arc<Link>>,
        hop: Hop,
        parcel: Parcel<'_>,
    ) -> Option<Vec<u8>> {
        match hop.carrier {
            Carrier::Sleeve(id) => match links.get(&id) {
                Some(link) => return self.send_by_link(link, parcel),
                None => self.shared.count(Counter::DropNoRoute),
            },
            Carrier::Fastdp => self.send_by_tunnel(forwarding, parcel),
        }
        None
    }

    /// Gives a parcel to the kernel, which reaches its destination by the tunnel.
    fn send_by_tunnel(&mut self, forwarding: &Forwarding, parcel: Parcel<'_>) {
        let id = |peer| forwarding.ids.get(&peer).copied();
        let (Some(origin), Some(destination)) = (id(parcel.origin), id(parcel.destination)) else {
            return self.shared.count(Counter::DropUnknownPeer);
        };
        let inlet = Inlet::Relay {
            origin,
            destination,
        };
        for index in 0..parcel.split.count() {
            self.scratch.clear();
            self.scratch.extend_from_slice(&Offload::NONE.emit(0));
            parcel.split.write(index, &mut self.scratch);
            let written = match outlet::put(inlet, &self.scratch) {
                Some((head, rest)) => self.queue.write_parts(head.as_bytes(), rest),
                None => return self.shared.count(Counter::DropMalformed),
            };
            if written.is_err() {
                self.shared.count(Counter::DropBridge);
            }
        }
    }

    fn send_by_link(&mut self, link: &Arc<Link>, parcel: Parcel<'_>) -> Option<Vec<u8>> {
        if link.address().is_none() {
            self.shared.count(Counter::DropNoContact);
            return None;
        }
        let path = link.path();
        let longest = parcel.split.len_of(0);
        match choose(parcel.frame, longest, path, parcel.flood) {
            Choice::Send(stream) => {
                for index in 0..parcel.split.count() {
                    let len = parcel.split.len_of(index);
                    self.pack(link, stream, parcel, len, |out| {
                        parcel.split.write(index, out);
                    });
                }
            }
            Choice::Cut => {
                for index in 0..parcel.split.count() {
                    let mut packet = Vec::new();
                    parcel.split.write(index, &mut packet);
                    for piece in fragment(&packet, path.mtu.into()) {
                        self.pack(link, Stream::Whole, parcel, piece.len(), |out| {
                            out.extend_from_slice(&piece);
                        });
                    }
                }
            }
            Choice::Answer => {
                let mut packet = Vec::new();
                parcel.split.write(0, &mut packet);
                let answer = icmp::too_big(&packet, path.mtu);
                self.shared.count(if answer.is_some() {
                    Counter::AnsweredTooBig
                } else {
                    Counter::DropTooBig
                });
                return answer;
            }
            Choice::TooBig => self.shared.count(Counter::DropTooBig),
        }
        None
    }

    fn pack(
        &mut self,
        link: &Arc<Link>,
        stream: Stream,
        parcel: Parcel<'_>,
        len: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(header) = header(parcel.origin, parcel.destination, len) else {
            self.shared.count(Counter::DropTooBig);
            return;
        };
        let key = (link.id, stream);
        if !self.used.contains(&key) {
            self.used.push(key);
        }
        let entry = self.packers.entry(key).or_insert_with(|| Entry {
            link: Arc::clone(link),
            packer: Packer::new(),
        });
        let shared = &self.shared;
        let envelope = envelope(shared, link, stream);
        let mut send = |run: Run<'_>| transmit(shared, link, stream, run);
        entry.packer.push(&envelope, header, len, write, &mut send);
    }

    /// Sends all that was packed.
    pub(super) fn flush(&mut self) {
        for key in self.used.drain(..) {
            let Some(Entry { link, packer }) = self.packers.get_mut(&key) else {
                continue;
            };
            let envelope = envelope(&self.shared, link, key.1);
            packer.flush(&envelope, &mut |run| {
                transmit(&self.shared, link, key.1, run);
            });
        }
    }

    /// Lets go of links that are no more. Call it after a flush.
    pub(super) fn retain(&mut self, links: &HashMap<u64, Arc<Link>>) {
        self.packers.retain(|(id, _), _| links.contains_key(id));
    }
}

fn envelope<'a>(shared: &Shared, link: &'a Link, stream: Stream) -> Envelope<'a, Link> {
    Envelope {
        us: shared.us,
        stream,
        limit: link.max_payload(),
        seal: link,
        runs: shared.socket(stream).takes_runs(),
    }
}

fn transmit(shared: &Shared, link: &Link, stream: Stream, run: Run<'_>) {
    if let Some(to) = link.address() {
        send_run(shared, link, to, stream, run);
    }
}

fn send_run(shared: &Shared, link: &Link, to: SocketAddrV4, stream: Stream, run: Run<'_>) {
    match shared.socket(stream).send(to, run) {
        Ok(()) => {
            let count = run.bytes.len().div_ceil(run.payload.max(1));
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            shared.counters.add(Counter::PayloadsSent, count);
        }
        Err(error) => note(shared, Some(link), &error),
    }
}

/// Sends one frame alone in a packet.
pub(super) fn send_alone(
    shared: &Shared,
    link: &Link,
    to: SocketAddrV4,
    stream: Stream,
    header: [u8; RECORD_HEADER_LEN],
    frame: &[u8],
) {
    let envelope = Envelope {
        us: shared.us,
        stream,
        limit: 0,
        seal: link,
        runs: false,
    };
    let mut send = |run: Run<'_>| send_run(shared, link, to, stream, run);
    let mut packer = Packer::new();
    let write = |out: &mut Vec<u8>| out.extend_from_slice(frame);
    packer.push(&envelope, header, frame.len(), write, &mut send);
    packer.flush(&envelope, &mut send);
}

/// Counts what was not sent. A packet that is too large is news for the control plane.
fn note(shared: &Shared, link: Option<&Link>, error: &SendError) {
    match error {
        SendError::Full => shared.count(Counter::DropSocketFull),
        SendError::TooBig => {
            shared.count(Counter::DropTooBig);
            if let Some(link) = link
                && !link
                    .too_big
                    .swap(true, std::sync::atomic::Ordering::Relaxed)
            {
                shared.report(Event::TooBig { link: link.id });
            }
        }
        SendError::Refused(error) => {
            shared.count(Counter::DropSendError);
            tracing::trace!(%error, "the kernel refuses to send");
        }
    }
}

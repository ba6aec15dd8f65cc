//! From the peers to the bridge: the thread of one socket.

use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    net::{SocketAddr, SocketAddrV4},
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn_udp::RecvMeta;

use super::{
    Event, Links, Macs, Shared, Switching,
    counters::Counter,
    forwarding::Forwarding,
    link::Link,
    outbox::{Outbox, Parcel},
    sys,
    udp::BATCH,
};
use crate::{
    fastdp::{PeerName, ShortId},
    gso::{Offload, coalesce::Coalescer, split::Split},
    packet::ethernet::{Frame, Mac},
    sleeve::{
        packet::{Record, records, split_sender},
        seal::{self, Stream},
        special::Special,
    },
    switch::Owner,
    tap::Queue,
};

/// Bytes that one receive can give: payloads of one flow, put together by the kernel.
const BUFFER: usize = 65_535;
/// How often the table of hardware addresses is told of an address that is in use.
const REFRESH: Duration = Duration::from_millis(250);
/// Addresses whose last refresh a thread remembers.
const REMEMBERED: usize = 4096;

pub(super) struct Thread {
    shared: Arc<Shared>,
    stream: Stream,
    stop: UnixStream,
    outbox: Outbox,
    inbox: Inbox,
    body: Vec<u8>,
    learned: HashMap<Mac, (PeerName, Instant)>,
}

/// Frames on their way into the bridge.
struct Inbox {
    coalescer: Coalescer,
    queue: Queue,
    shared: Arc<Shared>,
}

/// Mark of frames whose origin has no short id: no short id is as large.
const NO_ID: u16 = u16::MAX;

impl Inbox {
    fn push(&mut self, origin: Option<ShortId>, frame: &[u8]) {
        let mark = origin.map_or(NO_ID, u16::from);
        self.coalescer.push(mark, frame, &mut |mark, bytes| {
            let origin = ShortId::try_from(mark).ok();
            self.shared.deliver(&self.queue, origin, bytes);
        });
    }

    fn flush(&mut self) {
        self.coalescer.flush(&mut |mark, bytes| {
            let origin = ShortId::try_from(mark).ok();
            self.shared.deliver(&self.queue, origin, bytes);
        });
    }
}

/// What a batch of packets is handled with.
struct Batch {
    forwarding: Arc<Forwarding>,
    links: Arc<Links>,
    now: Instant,
}

impl Thread {
    pub(super) fn new(shared: Arc<Shared>, stream: Stream, queue: Queue, stop: UnixStream) -> Self {
        Self {
            outbox: Outbox::new(Arc::clone(&shared), queue.clone()),
            inbox: Inbox {
                coalescer: Coalescer::new(),
                queue,
                shared: Arc::clone(&shared),
            },
            shared,
            stream,
            stop,
            body: Vec::new(),
            learned: HashMap::new(),
        }
    }

    /// Runs until the plane stops.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let socket = shared.socket(self.stream);
        let mut memory: Vec<_> = (0..BATCH).map(|_| vec![0; BUFFER]).collect();
        let mut metas = [RecvMeta::default(); BATCH];
        while sys::wait(socket, &self.stop) {
            let mut buffers: Vec<_> = memory
                .iter_mut()
                .map(|bytes| IoSliceMut::new(bytes))
                .collect();
            let received = match socket.receive(&mut buffers, &mut metas) {
                Ok(received) => received,
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::debug!(%error, "cannot receive");
                        sys::pause();
                    }
                    continue;
                }
            };
            let batch = Batch {
                forwarding: self.shared.forwarding(),
                links: self.shared.links(),
                now: Instant::now(),
            };
            for (bytes, meta) in memory.iter().zip(&metas).take(received) {
                let SocketAddr::V4(from) = meta.addr else {
                    continue;
                };
                for payload in bytes[..meta.len].chunks(meta.stride.max(1)) {
                    self.handle(&batch, payload, from);
                }
            }
            self.inbox.flush();
            self.outbox.flush();
            self.outbox.retain(&batch.links.by_id);
        }
    }

    /// One UDP payload.
    fn handle(&mut self, batch: &Batch, payload: &[u8], from: SocketAddrV4) {
        self.shared.count(Counter::PayloadsReceived);
        let link = split_sender(payload)
            .and_then(|(sender, rest)| Some((batch.links.by_peer.get(&sender)?, rest)));
        let Some((link, rest)) = link else {
            return self.shared.count(Counter::DropUnknownSender);
        };
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        match link.open(rest, &mut body) {
            Ok(()) => {
                for record in records(&body) {
                    match record {
                        Ok(record) => self.handle_record(batch, link, record, from),
                        Err(_) => self.shared.count(Counter::DropMalformed),
                    }
                }
            }
            Err(seal::Error::Replayed) => self.shared.count(Counter::DropReplayed),
            Err(_) => self.shared.count(Counter::DropForged),
        }
        self.body = body;
    }

    fn handle_record(
        &mut self,
        batch: &Batch,
        link: &Link,
        record: Record<'_>,
        from: SocketAddrV4,
    ) {
        let us = self.shared.us;
        let Ok(frame) = Frame::new_checked(record.frame) else {
            return self.shared.count(Counter::DropMalformed);
        };
        if frame.is_special() {
            if record.origin == link.remote
                && record.destination == us
                && let Some(special) = Special::parse(record.frame)
            {
                self.shared.report(Event::Special {
                    link: link.id,
                    special,
                    from,
                });
            }
            return;
        }
        let forwarding = &batch.forwarding;
        if record.origin == us {
            return self.shared.count(Counter::DropOwn);
        }
        if !forwarding.knows(record.origin)
            || record.destination != us && !forwarding.knows(record.destination)
        {
            return self.shared.count(Counter::DropUnknownPeer);
        }
        let Ok(split) = Split::new(Offload::NONE, record.frame) else {
            return self.shared.count(Counter::DropMalformed);
        };
        if record.destination != us {
            return self.relay(batch, link, record, &split);
        }
        if let Switching::Plane(macs) = &self.shared.switch {
            let macs = Arc::clone(macs);
            self.learn(&*macs, batch.now, frame.source(), record.origin);
            self.spread(&*macs, batch, link, record, frame.destination(), &split);
        }
        let origin = forwarding.ids.get(&record.origin).copied();
        self.inbox.push(origin, record.frame);
        self.shared.count(Counter::Delivered);
    }

    /// A frame of one peer for another.
    fn relay(&mut self, batch: &Batch, link: &Link, record: Record<'_>, split: &Split<'_>) {
        let Some(hop) = batch.forwarding.unicast.get(&record.destination) else {
            return self.shared.count(Counter::DropNoRoute);
        };
        if hop.peer == link.remote {
            return self.shared.count(Counter::DropBounce);
        }
        let parcel = Parcel {
            origin: record.origin,
            destination: record.destination,
            frame: record.frame,
            split,
            flood: false,
        };
        let answer = self
            .outbox
            .send(&batch.forwarding, &batch.links.by_id, *hop, parcel);
        self.shared.count(Counter::Relayed);
        let Some(answer) = answer else { return };
        let Some(back) = batch.forwarding.unicast.get(&record.origin) else {
            return;
        };
        let Ok(split) = Split::new(Offload::NONE, &answer) else {
            return;
        };
        let parcel = Parcel {
            origin: record.destination,
            destination: record.origin,
            frame: &answer,
            split: &split,
            flood: false,
        };
        // An answer is small; should it be too large all the same, nobody answers an answer.
        self.outbox
            .send(&batch.forwarding, &batch.links.by_id, *back, parcel);
    }

    /// Passes a frame on along the tree of its origin, unless we know that it is for us alone.
    fn spread(
        &mut self,
        macs: &dyn Macs,
        batch: &Batch,
        link: &Link,
        record: Record<'_>,
        to: Mac,
        split: &Split<'_>,
    ) {
        let tree = batch.forwarding.tree(record.origin);
        if tree.is_empty() || !to.is_group() && macs.owner(to) == Some(Owner::Local) {
            return;
        }
        for hop in tree.iter().filter(|hop| hop.peer != link.remote) {
            let parcel = Parcel {
                origin: record.origin,
                destination: hop.peer,
                frame: record.frame,
                split,
                flood: true,
            };
            self.outbox
                .send(&batch.forwarding, &batch.links.by_id, *hop, parcel);
            self.shared.count(Counter::Copied);
        }
    }

    /// Tells the table who is behind an address: at once if that is news, else now and then.
    fn learn(&mut self, macs: &dyn Macs, now: Instant, source: Mac, origin: PeerName) {
        if source.is_group() {
            return;
        }
        if let Some((owner, told)) = self.learned.get(&source)
            && *owner == origin
            && now.duration_since(*told) < REFRESH
        {
            return;
        }
        if self.learned.len() >= REMEMBERED {
            self.learned.clear();
        }
        self.learned.insert(source, (origin, now));
        macs.learn_remote(source, origin);
    }
}

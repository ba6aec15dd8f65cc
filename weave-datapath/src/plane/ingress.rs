//! From the bridge to the peers: the thread of one queue of the TAP device.

use std::{io, os::unix::net::UnixStream, sync::Arc};

use super::{
    Shared, Switching,
    counters::Counter,
    forwarding::{Carrier, Forwarding, Hop},
    outbox::{Outbox, Parcel},
    outlet::{self, Outlet},
    sys,
};
use crate::{
    fastdp::{PeerName, ShortId},
    gso::{Offload, split::Split},
    packet::ethernet::{Frame, Mac},
    switch::Owner,
    tap::{MAX_READ, Queue},
};

/// Frames taken from the queue before what was packed is sent.
const BATCH: usize = 32;
const STP: Mac = Mac([0x01, 0x80, 0xc2, 0, 0, 0]);
const TYPE_ARP: u16 = 0x0806;

pub(super) struct Thread {
    shared: Arc<Shared>,
    queue: Queue,
    stop: UnixStream,
    outbox: Outbox,
}

impl Thread {
    pub(super) fn new(shared: Arc<Shared>, queue: Queue, stop: UnixStream) -> Self {
        Self {
            outbox: Outbox::new(Arc::clone(&shared), queue.clone()),
            shared,
            queue,
            stop,
        }
    }

    /// Runs until the plane stops.
    pub(super) fn run(mut self) {
        let mut buffer = vec![0; MAX_READ];
        while sys::wait(&self.queue, &self.stop) {
            for _ in 0..BATCH {
                match self.queue.read(&mut buffer) {
                    Ok(len) => self.handle(&mut buffer[..len]),
                    Err(error) => {
                        if error.kind() != io::ErrorKind::WouldBlock {
                            tracing::debug!(%error, "cannot read from the TAP device");
                            sys::pause();
                        }
                        break;
                    }
                }
            }
            self.outbox.flush();
            self.outbox.retain(&self.shared.links().by_id);
        }
    }

    /// A frame of the bridge, behind its offload header.
    fn handle(&mut self, buffer: &mut [u8]) {
        let Ok((outlet, offload, at)) = outlet::take(buffer) else {
            return self.shared.count(Counter::DropMalformed);
        };
        let frame = &buffer[at..];
        let Ok(split) = Split::new(offload, frame) else {
            return self.shared.count(Counter::DropMalformed);
        };
        let forwarding = self.shared.forwarding();
        let us = self.shared.us;
        let name = |id| forwarding.names.get(&id).copied();
        let (origin, destination) = match outlet {
            Outlet::Unicast(id) => (Some(us), Some(name(id))),
            Outlet::Relay {
                origin,
                destination,
            } => (name(origin), Some(name(destination))),
            Outlet::Flood(origin) => (name(origin), None),
            Outlet::Undecided => match self.decide(frame) {
                Some(Decision::Peer(peer)) => (Some(us), Some(Some(peer))),
                Some(Decision::Everyone) => (Some(us), None),
                None => return,
            },
        };
        let Some(origin) = origin else {
            return self.shared.count(Counter::DropUnknownPeer);
        };
        match destination {
            None => self.flood(&forwarding, origin, frame, &split),
            Some(None) => self.shared.count(Counter::DropUnknownPeer),
            Some(Some(destination)) => {
                self.unicast(&forwarding, origin, destination, frame, &split);
            }
        }
    }

    /// Learns and looks up, where no program of the kernel has. `None`: the frame is dropped.
    fn decide(&self, frame: &[u8]) -> Option<Decision> {
        let Switching::Plane(macs) = &self.shared.switch else {
            self.shared.count(Counter::DropUntagged);
            return None;
        };
        let Ok(view) = Frame::new_checked(frame) else {
            self.shared.count(Counter::DropMalformed);
            return None;
        };
        let drop = |counter| {
            self.shared.count(counter);
            None
        };
        let (source, destination) = (view.source(), view.destination());
        if source == Mac::ZERO && destination == Mac::ZERO {
            return drop(Counter::DropMalformed);
        }
        if !macs.learn_local(source, announces(&view)) {
            return drop(Counter::DropConflict);
        }
        if destination == STP {
            return drop(Counter::DropStp);
        }
        match macs.owner(destination) {
            Some(Owner::Local) => drop(Counter::DropConflict),
            Some(Owner::Peer(peer)) => Some(Decision::Peer(peer)),
            None => Some(Decision::Everyone),
        }
    }

    fn unicast(
        &mut self,
        forwarding: &Forwarding,
        origin: PeerName,
        destination: PeerName,
        frame: &[u8],
        split: &Split<'_>,
    ) {
        let Some(hop) = forwarding.unicast.get(&destination) else {
            return self.shared.count(Counter::DropNoRoute);
        };
        let links = self.shared.links();
        let parcel = Parcel {
            origin,
            destination,
            frame,
            split,
            flood: false,
        };
        let answer = self.outbox.send(forwarding, &links.by_id, *hop, parcel);
        let ours = origin == self.shared.us;
        self.shared.count(if ours {
            Counter::Sent
        } else {
            Counter::Relayed
        });
        let Some(answer) = answer else { return };
        if ours {
            let id = forwarding.ids.get(&destination).copied();
            self.deliver(id, &answer);
        } else if let Some(hop) = forwarding.unicast.get(&origin) {
            self.answer(forwarding, *hop, destination, origin, &answer);
        }
    }

    /// Sends an answer that seems to come from `from` back to the origin of what it answers.
    fn answer(
        &mut self,
        forwarding: &Forwarding,
        hop: Hop,
        from: PeerName,
        to: PeerName,
        frame: &[u8],
    ) {
        let Ok(split) = Split::new(Offload::NONE, frame) else {
            return;
        };
        let links = self.shared.links();
        let parcel = Parcel {
            origin: from,
            destination: to,
            frame,
            split: &split,
            flood: false,
        };
        // An answer is small; should it be too large all the same, nobody answers an answer.
        self.outbox.send(forwarding, &links.by_id, hop, parcel);
    }

    fn flood(
        &mut self,
        forwarding: &Forwarding,
        origin: PeerName,
        frame: &[u8],
        split: &Split<'_>,
    ) {
        let links = self.shared.links();
        for hop in forwarding.tree(origin) {
            if hop.carrier == Carrier::Fastdp {
                continue; // the kernel has sent this copy
            }
            let parcel = Parcel {
                origin,
                destination: hop.peer,
                frame,
                split,
                flood: true,
            };
            self.outbox.send(forwarding, &links.by_id, *hop, parcel);
            self.shared.count(Counter::Copied);
        }
    }

    /// Gives a frame that seems to come from the peer with the short id `origin` to the bridge.
    fn deliver(&self, origin: Option<ShortId>, frame: &[u8]) {
        let mut bytes = Offload::NONE.emit(0).to_vec();
        bytes.extend_from_slice(frame);
        self.shared.deliver(&self.queue, origin, &bytes);
    }
}

/// Where a frame of the bridge is to go.
enum Decision {
    Peer(PeerName),
    Everyone,
}

/// An ARP packet in which the source of the frame states an address of its own to everyone.
fn announces(frame: &Frame<&[u8]>) -> bool {
    let arp = frame.payload();
    frame.ethertype() == TYPE_ARP
        && arp.len() >= 28
        && arp[8..14] == frame.source().0
        && arp[14..18] == arp[24..28]
}

//! Life of one sleeve connection: where the peer is, whether it hears us, how large packets may be.
//!
//! ```text
//!            confirm, address known          heartbeat heard (answer Ack once)
//!   prepared ----------------------> calling ---------------------------------> heard
//!                                       |                                         |
//!                                       | Ack received: Established               |
//!                                       v                                         |
//!                                    established <--------------------------------+
//!                                       |  ^
//!             nothing heard in time     v  |  heartbeat heard
//!                                    unhealthy
//! ```
//!
//! Hearing the peer and being heard are separate facts: the first is known from its heartbeats, the
//! second from its Ack over TCP. The invariants: nothing is sent before `confirm`; Ack is sent once;
//! only a heartbeat with our uid moves the address of the peer; an unhealthy link is never the end
//! of it (Weave Net sleeve overlay, life cycle section; there one lost minute or one failed send
//! ends the overlay for good).

use std::{collections::VecDeque, net::SocketAddrV4, time::Duration};

use super::{pmtu::Pmtu, seal::Stream, special::Special};
use crate::overlay::pace::{self, Note, PACE, Silence};

/// Bytes around an inner IP packet: outer IPv4 and UDP headers, name, record and Ethernet headers.
const OVERHEAD: u16 = 62;
/// Further bytes when packets are sealed.
const SEALED_OVERHEAD: u16 = 24;

const FAST: Duration = Duration::from_millis(500);
const SLOW: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
const LARGE_PROBE_EVERY: Duration = Duration::from_secs(300);
/// How long the answer to a large probe may take.
const LARGE_PROBE_ANSWER: Duration = Duration::from_secs(5);

/// Tags of control messages inside the slot of the overlay.
mod tag {
    pub(super) const ACK: u8 = 1;
    pub(super) const LARGE_PROBE_ARRIVED: u8 = 2;
    pub(super) const SIZE_ARRIVED: u8 = 3;
}

/// What a link is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Uid of the mesh connection, equal at both ends.
    pub uid: u64,
    /// Where the peer listens, if we dialled it; an acceptor waits for its first heartbeat.
    pub remote: Option<SocketAddrV4>,
    /// Whether packets are sealed.
    pub sealed: bool,
}

/// Something to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transmit {
    /// A special frame, alone in its packet.
    Special {
        /// Where to.
        to: SocketAddrV4,
        /// By which stream.
        stream: Stream,
        /// The frame.
        special: Special,
    },
    /// A control message over the mesh connection: tag and payload, without the slot.
    Control(Vec<u8>),
    /// The shell is to ask the kernel for the path MTU to the peer and to tell it with
    /// [`Link::handle_path_mtu`].
    AskPathMtu {
        /// The peer.
        to: SocketAddrV4,
    },
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer hears us; once in the life of a link.
    Established,
    /// The path does not work any more.
    Unhealthy(Silence),
    /// It works again.
    Healthy,
    /// The peer is somewhere else now.
    Moved {
        /// Before; `None`: it was not known.
        from: Option<SocketAddrV4>,
        /// Now.
        to: SocketAddrV4,
    },
    /// Size or kind of packets that the path carries has changed; ask [`Link::mtu`] and
    /// [`Link::fragments_arrive`].
    Path,
}

/// The state machine of one connection.
#[derive(Debug)]
pub struct Link {
    config: Config,
    remote: Option<SocketAddrV4>,
    confirmed: bool,
    heard: bool,
    established: bool,
    /// Heartbeats of the peer arrive.
    hears: bool,
    /// The peer says that ours do not.
    deaf: bool,
    /// The peer has told its pace.
    paced: bool,
    fragments_arrive: bool,
    pmtu: Pmtu,
    interval: Duration,
    patience: Duration,
    next_heartbeat: Option<Duration>,
    deadline: Option<Duration>,
    next_large_probe: Option<Duration>,
    large_probe_ends: Option<Duration>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Link {
    /// A prepared link; it is silent until [`confirm`](Self::confirm).
    #[must_use]
    pub fn new(config: Config) -> Self {
        let sealed = if config.sealed { SEALED_OVERHEAD } else { 0 };
        Self {
            remote: config.remote,
            confirmed: false,
            heard: false,
            established: false,
            hears: true,
            deaf: false,
            paced: false,
            fragments_arrive: false,
            pmtu: Pmtu::new(OVERHEAD + sealed),
            interval: FAST,
            patience: PATIENCE,
            next_heartbeat: None,
            deadline: None,
            next_large_probe: None,
            large_probe_ends: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            config,
        }
    }

    /// The mesh keeps this connection: start.
    pub fn confirm(&mut self, now: Duration) {
        if self.confirmed {
            return;
        }
        self.confirmed = true;
        self.deadline = Some(now + self.patience);
        self.next_heartbeat = Some(now);
        self.control(Note::ours().emit());
        self.send_heartbeat(now);
    }

    /// Where the peer is; `None`: frames for it are dropped, it has not called yet.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddrV4> {
        self.remote
    }

    /// MTU in force, bytes of inner IP packet.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.pmtu.mtu()
    }

    /// Largest UDP payload that goes whole, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.pmtu.max_payload()
    }

    /// Whether fragments of outer packets reach the peer.
    #[must_use]
    pub fn fragments_arrive(&self) -> bool {
        self.fragments_arrive
    }

    /// Whether the peer has heard us and we have heard it lately.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.established && self.is_healthy()
    }

    fn is_healthy(&self) -> bool {
        self.hears && !self.deaf
    }

    /// A special frame of the peer arrived in a packet from `from`.
    pub fn handle_special(&mut self, now: Duration, special: Special, from: SocketAddrV4) {
        if !self.confirmed {
            return;
        }
        match special {
            Special::Heartbeat { uid } if uid == self.config.uid => self.heard(now, from),
            Special::Heartbeat { .. } => {}
            Special::LargeProbe => self.control(vec![tag::LARGE_PROBE_ARRIVED]),
            Special::SizeProbe { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                self.control(vec![tag::SIZE_ARRIVED, high, low]);
            }
        }
    }

    fn heard(&mut self, now: Duration, from: SocketAddrV4) {
        if self.remote != Some(from) {
            let before = self.remote.replace(from);
            self.events.push_back(Event::Moved {
                from: before,
                to: from,
            });
            self.send_heartbeat(now);
            if self.established {
                self.probe_path(now);
            }
        }
        if !self.heard {
            self.heard = true;
            self.control(vec![tag::ACK]);
            // Told at the beginning, too; but the peer may not have taken messages yet.
            self.control(Note::ours().emit());
        }
        self.deadline = Some(now + self.patience);
        if !self.hears {
            self.hears = true;
            self.tell(Note::Hears);
            if self.is_healthy() {
                self.events.push_back(Event::Healthy);
            }
        }
    }

    /// Tells a peer of ours whether it is heard.
    fn tell(&mut self, note: Note) {
        if self.paced {
            self.control(note.emit());
        }
    }

    /// The peer says whether it hears us.
    fn handle_deaf(&mut self, deaf: bool) {
        let before = self.is_healthy();
        self.deaf = deaf;
        match (before, self.is_healthy()) {
            (true, false) => self.events.push_back(Event::Unhealthy(Silence::There)),
            (false, true) => self.events.push_back(Event::Healthy),
            _ => {}
        }
    }

    /// A control message for this overlay: tag and payload. Unknown and broken ones are ignored.
    pub fn handle_control(&mut self, now: Duration, message: &[u8]) {
        match message {
            [tag::ACK, ..] if !self.established => {
                self.established = true;
                self.interval = self.interval_of_health();
                self.next_heartbeat = Some(now + self.interval);
                self.events.push_back(Event::Established);
                self.probe_path(now);
            }
            [tag::LARGE_PROBE_ARRIVED, ..] => {
                self.large_probe_ends = None;
                self.note_fragments(true);
            }
            [tag::SIZE_ARRIVED, high, low, ..] => {
                let size = u16::from_be_bytes([*high, *low]);
                self.watch_path(|pmtu| pmtu.handle_ack(now, size));
            }
            _ => match Note::parse(message) {
                Some(Note::Pace(pace)) => self.handle_pace(now, pace),
                Some(Note::Deaf) => self.handle_deaf(true),
                Some(Note::Hears) => self.handle_deaf(false),
                None => {}
            },
        }
    }

    /// The peer calls at a steady pace: be as quick to notice when it stops, and call as often.
    fn handle_pace(&mut self, now: Duration, pace: Duration) {
        let before = std::mem::replace(&mut self.patience, pace::patience(pace).min(PATIENCE));
        if std::mem::replace(&mut self.paced, true) && before == self.patience {
            return;
        }
        if self.established {
            self.interval = self.interval_of_health();
            self.next_heartbeat = Some(now);
            self.send_heartbeat(now);
        }
        self.deadline = self.deadline.map(|at| at.min(now + self.patience));
    }

    fn interval_of_health(&self) -> Duration {
        if self.paced { PACE } else { SLOW }
    }

    /// The kernel says that IP packets to the peer may have `path` bytes; or refused a larger one.
    pub fn handle_path_mtu(&mut self, now: Duration, path: u16) {
        self.watch_path(|pmtu| {
            if pmtu.mtu() == super::pmtu::UNKNOWN || path < pmtu.path() {
                pmtu.handle_too_big(now, path);
            } else {
                pmtu.raise(now, path);
            }
        });
    }

    fn note_fragments(&mut self, arrive: bool) {
        if self.fragments_arrive != arrive {
            self.fragments_arrive = arrive;
            self.events.push_back(Event::Path);
        }
    }

    fn watch_path(&mut self, change: impl FnOnce(&mut Pmtu)) {
        let before = self.pmtu.mtu();
        change(&mut self.pmtu);
        if self.pmtu.mtu() != before {
            self.events.push_back(Event::Path);
        }
        self.flush_probes();
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.next_heartbeat.is_some_and(|at| at <= now) {
            self.send_heartbeat(now);
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            if self.hears {
                let why = Silence::Here(self.patience);
                let before = self.is_healthy();
                self.hears = false;
                self.tell(Note::Deaf);
                if before {
                    self.events.push_back(Event::Unhealthy(why));
                }
            }
        }
        if self.next_large_probe.is_some_and(|at| at <= now) {
            self.probe_path(now);
        }
        if self.large_probe_ends.is_some_and(|at| at <= now) {
            self.large_probe_ends = None;
            self.note_fragments(false);
        }
        self.watch_path(|pmtu| pmtu.handle_timeout(now));
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        [
            self.next_heartbeat,
            self.deadline,
            self.next_large_probe,
            self.large_probe_ends,
            self.pmtu.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn send_heartbeat(&mut self, now: Duration) {
        if !self.confirmed {
            return;
        }
        self.next_heartbeat = Some(now + self.interval);
        let uid = self.config.uid;
        self.special(Stream::Whole, Special::Heartbeat { uid });
    }

    /// Asks again what the path carries: fragments, and how large packets.
    fn probe_path(&mut self, now: Duration) {
        self.next_large_probe = Some(now + LARGE_PROBE_EVERY);
        self.large_probe_ends = Some(now + LARGE_PROBE_ANSWER);
        self.special(Stream::Fragmented, Special::LargeProbe);
        if let Some(to) = self.remote {
            self.transmits.push_back(Transmit::AskPathMtu { to });
        }
    }

    fn flush_probes(&mut self) {
        while let Some(mtu) = self.pmtu.poll_probe() {
            self.special(Stream::Whole, Special::SizeProbe { mtu });
        }
    }

    fn special(&mut self, stream: Stream, special: Special) {
        if let Some(to) = self.remote {
            self.transmits.push_back(Transmit::Special {
                to,
                stream,
                special,
            });
        }
    }

    fn control(&mut self, message: Vec<u8>) {
        self.transmits.push_back(Transmit::Control(message));
    }
}

#[cfg(test)]
mod tests;

//! Finding how large a packet the path to a peer carries whole.
//!
//! Probes are frames of zeros sent with "don't fragment"; the peer answers over TCP with the size
//! of each that arrived. The peer answers any size, so that a search need not try one size at a
//! time, as Weave Net does (25 s on a path that swallows what is too large): a round sends several
//! sizes between the largest that is known to arrive and the smallest that is known not to, three
//! times within 150 ms, and ends after 400 ms.
//!
//! The invariants: `good < bad`; the MTU in force never exceeds what was refused by our own host;
//! after the first round of a search it is a size that arrived, or the floor.

use std::time::Duration;

/// Smallest MTU that is ever used, in bytes: an IPv4 path that carries less breaks RFC 791.
pub const FLOOR: u16 = 552;
/// MTU while nothing is known, in bytes.
pub const UNKNOWN: u16 = u16::MAX;

const SIZES: u16 = 8;
const RESEND: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];
const ROUND: Duration = Duration::from_millis(400);

/// The search for the MTU of one connection. All sizes are bytes of inner IP packet.
#[derive(Debug, Clone)]
pub struct Pmtu {
    /// Bytes around an inner IP packet: outer IPv4 and UDP, sleeve, inner Ethernet.
    overhead: u16,
    mtu: u16,
    /// What the kernel last said to be the most it would send, less the overhead.
    ceiling: u16,
    verified: bool,
    search: Option<Search>,
    outbox: Vec<u16>,
}

#[derive(Debug, Clone)]
struct Search {
    /// Largest size that arrived; the floor until one did.
    good: u16,
    /// Smallest size taken for too large.
    bad: u16,
    sizes: Vec<u16>,
    started: Duration,
    sent: usize,
}

impl Pmtu {
    /// Nothing is known yet. `overhead`: bytes from the outer IPv4 header to the inner one.
    #[must_use]
    pub fn new(overhead: u16) -> Self {
        Self {
            overhead,
            mtu: UNKNOWN,
            ceiling: UNKNOWN,
            verified: false,
            search: None,
            outbox: Vec::new(),
        }
    }

    /// The MTU in force.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Whether a packet of the MTU in force is known to have arrived.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.verified
    }

    /// Largest UDP payload for the "don't fragment" stream, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        let outer = u32::from(self.mtu) + u32::from(self.overhead) - 28;
        usize::try_from(outer).map_or(super::packet::MAX_PAYLOAD, |payload| {
            payload.min(super::packet::MAX_PAYLOAD)
        })
    }

    /// The most our own host would send, in bytes of IP packet, as last told.
    #[must_use]
    pub fn path(&self) -> u16 {
        self.ceiling.saturating_add(self.overhead)
    }

    /// Our own host refuses to send more than `path` bytes of IP packet to the peer.
    pub fn handle_too_big(&mut self, now: Duration, path: u16) {
        let limit = path.saturating_sub(self.overhead).max(FLOOR);
        let searching = self.search.is_some();
        if searching && self.ceiling <= limit {
            return;
        }
        self.ceiling = limit;
        self.mtu = self.mtu.min(limit);
        self.start(now, FLOOR, limit);
    }

    /// Looks whether the path carries more by now. `path`: what our own host would send, in bytes
    /// of IP packet. The MTU in force stays until a larger probe arrives.
    pub fn raise(&mut self, now: Duration, path: u16) {
        let limit = path.saturating_sub(self.overhead).max(FLOOR);
        if self.search.is_none() && self.mtu != UNKNOWN && limit > self.mtu {
            self.ceiling = limit;
            self.start(now, self.mtu, limit);
        }
    }

    fn start(&mut self, now: Duration, good: u16, limit: u16) {
        self.search = Some(Search {
            good,
            bad: limit.saturating_add(1),
            sizes: Vec::new(),
            started: now,
            sent: 0,
        });
        self.round(now);
    }

    /// The peer received a probe of `size`.
    pub fn handle_ack(&mut self, now: Duration, size: u16) {
        let Some(search) = &mut self.search else {
            return;
        };
        if size <= search.good && (self.verified || size < search.good) || size > self.ceiling {
            return;
        }
        search.good = size;
        search.bad = search.bad.max(size.saturating_add(1));
        self.verified = true;
        if size > self.mtu {
            self.mtu = size;
        }
        if search.sizes.iter().all(|tried| *tried <= size) {
            self.conclude(now);
        }
    }

    /// Sends what is due and ends rounds.
    pub fn handle_timeout(&mut self, now: Duration) {
        let Some(search) = &mut self.search else {
            return;
        };
        let age = now.saturating_sub(search.started);
        if age >= ROUND {
            if let Some(failed) = search.sizes.iter().find(|size| **size > search.good) {
                search.bad = *failed;
            }
            self.conclude(now);
            return;
        }
        while let Some(due) = RESEND.get(search.sent).filter(|due| age >= **due) {
            tracing::trace!(?due, "probes are sent again");
            search.sent += 1;
            let good = search.good;
            self.outbox
                .extend(search.sizes.iter().filter(|size| **size > good));
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let search = self.search.as_ref()?;
        Some(search.started + RESEND.get(search.sent).copied().unwrap_or(ROUND))
    }

    /// The next probe to send: an MTU; the frame is 14 bytes longer.
    pub fn poll_probe(&mut self) -> Option<u16> {
        if self.outbox.is_empty() {
            None
        } else {
            Some(self.outbox.remove(0))
        }
    }

    /// A round has told what it can: settle, or go on between the new bounds.
    fn conclude(&mut self, now: Duration) {
        let Some(search) = &self.search else { return };
        self.mtu = search.good;
        if search.good + 1 >= search.bad {
            self.search = None;
            self.outbox.clear();
        } else {
            self.round(now);
        }
    }

    fn round(&mut self, now: Duration) {
        let verified = self.verified;
        let Some(search) = &mut self.search else {
            return;
        };
        // The largest first: most paths carry it. The floor is tried too until something arrived.
        let (low, high) = (search.good, search.bad - 1);
        let span = u32::from(high - low);
        let count = span.min(u32::from(SIZES));
        search.sizes = (1..=count)
            .map(|step| low + u16::try_from(span * step / count).unwrap_or(0))
            .collect();
        if !verified {
            search.sizes.insert(0, low);
        }
        search.started = now;
        search.sent = 0;
        self.outbox.clear();
        self.outbox.extend(search.sizes.iter().rev());
    }
}

//! The data plane in user space: frames between the TAP device and UDP.
//!
//! ```text
//!   bridge -> TAP queue -> [thread of the queue]  look up, cut, pack, seal, send -> UDP
//!   UDP -> [thread of the socket]  open, look up -> put together -> TAP queue -> bridge
//!                                            \-> pack, seal, send -> UDP          (relay)
//! ```
//!
//! Every thread runs each frame to its end and never waits for a peer: what a socket does not take
//! is dropped and counted. So no peer can hold up another, and there are no queues to bound. All
//! threads read one [`Forwarding`] snapshot and one table of [`Link`]s, both replaced whole by the
//! control plane; heartbeats and probes go to it as [`Event`]s.

pub mod counters;
mod egress;
pub mod forwarding;
mod ingress;
pub mod link;
pub mod macs;
mod outbox;
pub mod outlet;
pub mod pack;
mod sys;
mod udp;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::net::UnixStream,
    sync::{Arc, RwLock},
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc;

pub use self::{
    counters::Counter,
    forwarding::{Carrier, Forwarding, Hop},
    link::{Link, LinkPath},
    macs::{Macs, SharedTable},
    outlet::Inlet,
    udp::path_mtu,
};
use self::{counters::Counters, udp::Udp};
use crate::{
    fastdp::{PeerName, ShortId},
    sleeve::{packet, seal::Stream, special::Special},
    tap::{Queue, Tap},
};

/// Special frames that may wait for the control plane; further ones are dropped, as by the network.
const EVENTS: usize = 1024;

/// What a plane is made with.
#[derive(Clone)]
pub struct Config {
    /// Our name.
    pub us: PeerName,
    /// Address to listen on; unspecified for all.
    pub host: Ipv4Addr,
    /// UDP port of sleeve; the one of the mesh.
    pub port: u16,
    /// Who switches frames.
    pub switch: Switching,
}

/// Who decides where frames of the bridge go, and who learns from what arrives.
#[derive(Clone)]
pub enum Switching {
    /// The kernel programs of the fast path: frames carry the tags of [`outlet`].
    Kernel,
    /// The plane itself, with this table; the TAP device is a port of the bridge.
    Plane(Arc<dyn Macs>),
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("us", &self.us)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Something for the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A neighbour sent a special frame.
    Special {
        /// Id of the link.
        link: u64,
        /// The frame.
        special: Special,
        /// Where its packet came from.
        from: SocketAddrV4,
    },
    /// A packet was larger than the path to the neighbour; [`path_mtu`] tells what it carries. Once
    /// until the link is updated.
    TooBig {
        /// Id of the link.
        link: u64,
    },
}

/// The links, by id and by neighbour.
#[derive(Debug, Default, Clone)]
struct Links {
    by_id: HashMap<u64, Arc<Link>>,
    by_peer: HashMap<PeerName, Arc<Link>>,
}

/// What all threads share.
struct Shared {
    us: PeerName,
    forwarding: RwLock<Arc<Forwarding>>,
    links: RwLock<Arc<Links>>,
    switch: Switching,
    whole: Udp,
    fragmented: Udp,
    counters: Counters,
    events: mpsc::Sender<Event>,
}

impl Shared {
    fn forwarding(&self) -> Arc<Forwarding> {
        Arc::clone(&self.forwarding.read().expect("no writer panics"))
    }

    fn links(&self) -> Arc<Links> {
        Arc::clone(&self.links.read().expect("no writer panics"))
    }

    fn socket(&self, stream: Stream) -> &Udp {
        match stream {
            Stream::Whole => &self.whole,
            Stream::Fragmented => &self.fragmented,
        }
    }

    fn count(&self, counter: Counter) {
        self.counters.count(counter);
    }

    /// Gives a frame behind its offload header to the bridge, as one of the peer `origin`.
    fn deliver(&self, queue: &Queue, origin: Option<ShortId>, bytes: &[u8]) {
        let written = match &self.switch {
            Switching::Plane(_) => queue.write(bytes),
            Switching::Kernel => {
                let tagged = origin.and_then(|id| outlet::put(Inlet::Deliver(id), bytes));
                let Some((head, rest)) = tagged else {
                    return self.count(Counter::DropUnknownPeer);
                };
                queue.write_parts(head.as_bytes(), rest)
            }
        };
        if let Err(error) = written {
            tracing::trace!(%error, "the TAP device refuses a frame");
            self.count(Counter::DropBridge);
        }
    }

    fn report(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.count(Counter::DropControl);
        }
    }
}

/// The running data plane. Dropping it stops its threads and closes its sockets.
pub struct Plane {
    shared: Arc<Shared>,
    stop: Option<UnixStream>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane")
            .field("us", &self.shared.us)
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl Plane {
    /// Opens the sockets and starts a thread for each queue of `tap` and each socket, in the
    /// network namespace of the caller.
    ///
    /// # Errors
    /// If a socket cannot be opened (`AddrInUse`: something else has the port), or a thread.
    pub fn start(config: Config, tap: &Tap) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let address = SocketAddrV4::new(config.host, config.port);
        let (events, inbox) = mpsc::channel(EVENTS);
        let shared = Arc::new(Shared {
            us: config.us,
            forwarding: RwLock::default(),
            links: RwLock::default(),
            switch: config.switch,
            whole: Udp::bind(address, Stream::Whole)?,
            fragmented: Udp::bind(address, Stream::Fragmented)?,
            counters: Counters::default(),
            events,
        });
        let mut plane = Self {
            shared,
            stop: None,
            threads: Vec::new(),
        };
        plane.run(tap)?;
        Ok((plane, inbox))
    }

    /// Goes on with another TAP device: links, ways, sockets and counters stay.
    ///
    /// # Errors
    /// A thread cannot be started; frames stand still until another call succeeds.
    pub fn restart(&mut self, tap: &Tap) -> io::Result<()> {
        self.halt();
        self.run(tap)
    }

    fn run(&mut self, tap: &Tap) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        self.stop = Some(ours);
        for (index, queue) in tap.queues().iter().enumerate() {
            let thread =
                ingress::Thread::new(Arc::clone(&self.shared), queue.clone(), theirs.try_clone()?);
            self.spawn(format!("sleeve-tap-{index}"), move || thread.run())?;
        }
        let queues = tap.queues().iter().cycle();
        for (stream, queue) in [Stream::Whole, Stream::Fragmented].into_iter().zip(queues) {
            let thread = egress::Thread::new(
                Arc::clone(&self.shared),
                stream,
                queue.clone(),
                theirs.try_clone()?,
            );
            let name = match stream {
                Stream::Whole => "sleeve-udp-df",
                Stream::Fragmented => "sleeve-udp",
            };
            self.spawn(name.to_owned(), move || thread.run())?;
        }
        Ok(())
    }

    fn halt(&mut self) {
        self.stop = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the data plane has panicked");
            }
        }
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads
            .push(thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }

    /// Replaces what is known about ways.
    pub fn set_forwarding(&self, forwarding: Forwarding) {
        let mut slot = self.shared.forwarding.write().expect("no writer panics");
        *slot = Arc::new(forwarding);
    }

    /// Adds a link; frames of its neighbour are taken from now on. A link of the same neighbour is
    /// replaced for what arrives.
    pub fn add_link(&self, link: Arc<Link>) {
        self.change_links(|links| {
            links.by_peer.insert(link.remote, Arc::clone(&link));
            links.by_id.insert(link.id, link);
        });
    }

    /// Takes a link away. If it had been replaced for what arrives, the other one stays.
    pub fn remove_link(&self, id: u64) {
        self.change_links(|links| {
            if let Some(link) = links.by_id.remove(&id)
                && links
                    .by_peer
                    .get(&link.remote)
                    .is_some_and(|of| of.id == id)
            {
                links.by_peer.remove(&link.remote);
            }
        });
    }

    fn change_links(&self, change: impl FnOnce(&mut Links)) {
        let mut slot = self.shared.links.write().expect("no writer panics");
        let mut links = Links::clone(&slot);
        change(&mut links);
        *slot = Arc::new(links);
    }

    /// Sends a special frame to `to`, alone in its packet. Frames that are too large for the path
    /// are reported as [`Event::TooBig`]; other refusals are counted.
    pub fn send_special(&self, link: u64, to: SocketAddrV4, stream: Stream, special: Special) {
        let links = self.shared.links();
        let Some(link) = links.by_id.get(&link) else {
            return;
        };
        let frame = special.frame();
        let Some(header) = packet::header(self.shared.us, link.remote, frame.len()) else {
            return;
        };
        outbox::send_alone(&self.shared, link, to, stream, header, &frame);
    }

    /// What became of frames and packets so far.
    #[must_use]
    pub fn counters(&self) -> Vec<(Counter, u64)> {
        self.shared.counters.read()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.halt();
    }
}

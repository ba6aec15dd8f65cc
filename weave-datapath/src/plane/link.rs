//! A sleeve link as the threads see it: where to send, how much fits, and the keys.
//!
//! Everything is read and counted without a lock, except the replay windows. The invariant: a link
//! that was made with a key never emits a payload that is not sealed under it, and never accepts
//! one; there is no way to take the key away.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use super::pack::Seal;
use crate::{
    fastdp::PeerName,
    sleeve::{
        seal::{self, Opener, Sealer, SessionKey, Side, Stream},
        stream::Path,
    },
};

/// A sleeve connection to a neighbour.
#[derive(Debug)]
pub struct Link {
    /// Id of the mesh connection.
    pub id: u64,
    /// The neighbour.
    pub remote: PeerName,
    keys: Option<Keys>,
    address: AtomicU64,
    mtu: AtomicU16,
    max_payload: AtomicU32,
    fragments_arrive: AtomicBool,
    /// A packet was too large and nobody has looked at the path since.
    pub(super) too_big: AtomicBool,
}

#[derive(Debug)]
struct Keys {
    sealer: Sealer,
    whole: AtomicU64,
    fragmented: AtomicU64,
    opener: Mutex<Opener>,
}

/// What the control plane knows of the path of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkPath {
    /// Where the peer is; `None`: it has not called yet.
    pub address: Option<SocketAddrV4>,
    /// How frames are to be sent.
    pub path: Path,
    /// Largest UDP payload that goes whole, in bytes.
    pub max_payload: usize,
}

impl Link {
    /// A link that nothing is sent by before [`update`](Self::update). With a key, `side` is our
    /// side of the mesh connection.
    #[must_use]
    pub fn new(id: u64, remote: PeerName, key: Option<(SessionKey, Side)>) -> Self {
        Self {
            id,
            remote,
            keys: key.map(|(key, side)| Keys {
                sealer: Sealer::new(key.clone(), side),
                whole: AtomicU64::new(0),
                fragmented: AtomicU64::new(0),
                opener: Mutex::new(Opener::new(key, side.other())),
            }),
            address: AtomicU64::new(0),
            mtu: AtomicU16::new(u16::MAX),
            max_payload: AtomicU32::new(0),
            fragments_arrive: AtomicBool::new(false),
            too_big: AtomicBool::new(false),
        }
    }

    /// Takes over what is known of the path by now.
    pub fn update(&self, path: LinkPath) {
        let address = path.address.map_or(0, |address| {
            (u64::from(address.ip().to_bits()) << 16) | u64::from(address.port())
        });
        self.mtu.store(path.path.mtu, Relaxed);
        self.max_payload
            .store(u32::try_from(path.max_payload).unwrap_or(u32::MAX), Relaxed);
        self.fragments_arrive
            .store(path.path.fragments_arrive, Relaxed);
        self.too_big.store(false, Relaxed);
        self.address.store(address, Relaxed);
    }

    /// Where the peer is.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddrV4> {
        let word = self.address.load(Relaxed);
        let ip = u32::try_from(word >> 16).expect("an address is stored in 48 bits");
        let port = u16::try_from(word & 0xffff).expect("sixteen bits are a port");
        (word != 0).then(|| SocketAddrV4::new(Ipv4Addr::from_bits(ip), port))
    }

    /// How frames are to be sent.
    #[must_use]
    pub fn path(&self) -> Path {
        Path {
            mtu: self.mtu.load(Relaxed),
            fragments_arrive: self.fragments_arrive.load(Relaxed),
        }
    }

    /// Largest UDP payload that goes whole, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        usize::try_from(self.max_payload.load(Relaxed)).unwrap_or(usize::MAX)
    }

    /// Opens what follows the sender's name in a payload from this neighbour; the records are
    /// appended to `body`.
    ///
    /// # Errors
    /// As [`Opener::open`]; a payload in clear on a sealed link is [`seal::Error::Forged`].
    pub(super) fn open(&self, rest: &[u8], body: &mut Vec<u8>) -> Result<(), seal::Error> {
        match &self.keys {
            None => body.extend_from_slice(rest),
            Some(keys) => {
                let mut opener = keys.opener.lock().expect("no thread panics while opening");
                opener.open(rest, body)?;
            }
        }
        Ok(())
    }
}

impl Seal for Link {
    fn is_sealed(&self) -> bool {
        self.keys.is_some()
    }

    fn next(&self, stream: Stream) -> Option<(&Sealer, u64)> {
        let keys = self.keys.as_ref()?;
        let counter = match stream {
            Stream::Whole => &keys.whole,
            Stream::Fragmented => &keys.fragmented,
        };
        Some((&keys.sealer, counter.fetch_add(1, Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sleeve::seal::Error;

    fn link(key: Option<Side>) -> Link {
        let key = key.map(|side| (SessionKey::new([1; 32]), side));
        Link::new(1, PeerName(2), key)
    }

    #[test]
    fn a_path_is_kept_in_full() {
        let link = link(None);
        assert_eq!(link.address(), None);
        let address = SocketAddrV4::new(Ipv4Addr::new(255, 254, 253, 252), 65_535);
        let path = Path {
            mtu: 1414,
            fragments_arrive: true,
        };
        link.update(LinkPath {
            address: Some(address),
            path,
            max_payload: 1472,
        });
        assert_eq!(link.address(), Some(address));
        assert_eq!((link.path(), link.max_payload()), (path, 1472));
    }

    #[test]
    fn every_number_is_used_once_in_each_stream() {
        let link = link(Some(Side::Dialler));
        let numbers = || {
            let whole = link.next(Stream::Whole).unwrap().1;
            (whole, link.next(Stream::Fragmented).unwrap().1)
        };
        assert_eq!([numbers(), numbers()], [(0, 0), (1, 1)]);
    }

    #[test]
    fn a_sealed_link_refuses_clear_payloads() {
        let (ours, theirs) = (link(Some(Side::Dialler)), link(Some(Side::Acceptor)));
        let clear = [0; 60];
        assert_eq!(ours.open(&clear, &mut Vec::new()), Err(Error::Forged));
        let mut sealed = Vec::new();
        let (sealer, number) = theirs.next(Stream::Whole).unwrap();
        sealer.seal(&clear, Stream::Whole, number, &mut sealed);
        let mut body = Vec::new();
        ours.open(&sealed, &mut body).unwrap();
        assert_eq!(body, clear);
    }
}

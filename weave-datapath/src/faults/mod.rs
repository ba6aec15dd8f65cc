//! Faults of a network, for experiments: loss, packets that vanish because they are too large, UDP
//! ports that are blocked.
//!
//! A program at the ingress of an interface drops IPv4 packets. What is to be dropped is constant in
//! the program: [`Faults::put`] replaces program and faults in one step, and they stay until the
//! interface goes or [`Faults::put`] is called with none. The invariant: a packet that is dropped
//! leaves no answer behind, so that whoever sent it learns nothing.
//!
//! Needs `CAP_NET_ADMIN` and `CAP_BPF`. Packets are judged one by one: switch segmentation by the
//! device off at the sending end ([`Netlink::set_gso_max_segs`](crate::netlink::Netlink)).

use std::net::Ipv4Addr;

use aya::{
    EbpfLoader, Pod,
    programs::{
        SchedClassifier, TcAttachType,
        tc::{
            NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
        },
    },
};

use crate::bpf::Error;

/// Rules for blocked ports that fit.
pub const BLOCKS: usize = 8;

/// What is wrong with the packets that an interface gets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    loss: f64,
    longest: Option<u16>,
    blocked: Vec<Blocked>,
}

/// A UDP port that nothing comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// Packets from or to this address; `None`: any.
    pub address: Option<Ipv4Addr>,
    /// The port, at either end.
    pub port: u16,
}

impl Faults {
    /// A sound network.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Loses this share of the packets, from 0 to 1.
    #[must_use]
    pub fn loss(mut self, share: f64) -> Self {
        self.loss = share.clamp(0.0, 1.0);
        self
    }

    /// Swallows IPv4 packets of more than `bytes`.
    #[must_use]
    pub fn longest(mut self, bytes: u16) -> Self {
        self.longest = Some(bytes);
        self
    }

    /// Blocks a port; of more than [`BLOCKS`] the first count.
    #[must_use]
    pub fn block(mut self, blocked: Blocked) -> Self {
        self.blocked.push(blocked);
        self
    }

    /// Puts these faults on what the interface `device` of this network namespace gets, in the place
    /// of others that were there.
    ///
    /// # Errors
    /// [`Error::Kernel`]: the kernel refused, nothing has changed.
    pub fn put(&self, device: &str) -> Result<(), Error> {
        let operation = || format!("put faults on {device}");
        let place = || {
            let side = TcAttachType::Ingress;
            SchedClassifierLink::attached(device, side, PRIORITY, HANDLE, None)
        };
        if *self == Self::none() {
            // Dropping the link removes the filter; without one there is nothing to remove.
            drop(place());
            return Ok(());
        }
        let constants = self.constants();
        let mut loader = EbpfLoader::new();
        let loaded = loader
            .override_global("faults", &constants, true)
            .load(OBJECT);
        let mut object = loaded.map_err(|source| Error::kernel(operation(), source))?;
        let missing = || Error::Object { what: PROGRAM };
        let program: &mut SchedClassifier = object
            .program_mut(PROGRAM)
            .ok_or_else(missing)?
            .try_into()
            .map_err(|_| missing())?;
        let loaded = program.load();
        loaded.map_err(|source| Error::kernel(operation(), source))?;
        match qdisc_add_clsact(device) {
            Ok(()) | Err(TcError::AlreadyAttached) => {}
            // It may be there already; if not, attaching the filter tells why.
            Err(error) => tracing::debug!(device, %error, "clsact not added"),
        }
        let old = place().map_err(|source| Error::kernel(operation(), source))?;
        let attached = program.attach_to_link(old).or_else(|_| {
            let options = TcAttachOptions::Netlink(NlOptions {
                priority: PRIORITY,
                handle: HANDLE,
                ..NlOptions::default()
            });
            program.attach_with_options(device, TcAttachType::Ingress, options)
        });
        let link = attached
            .and_then(|id| program.take_link(id))
            .map_err(|source| Error::kernel(operation(), source))?;
        // Dropping the link would remove the filter, which is to outlive this process.
        std::mem::forget(link);
        Ok(())
    }

    fn constants(&self) -> Constants {
        let mut words = [0; WORDS];
        words[0] = chance(self.loss);
        words[1] = self.longest.map_or(0, u32::from);
        for (rule, blocked) in words[2..].chunks_mut(2).zip(&self.blocked) {
            let address = blocked.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
            rule[0] = u32::from_ne_bytes(address.octets());
            rule[1] = blocked.port.into();
        }
        words
    }
}

/// The share of 2^32 that a share of 1 is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a product with a share from 0 to 1 is in range"
)]
fn chance(share: f64) -> u32 {
    (share * f64::from(u32::MAX)) as u32
}

const WORDS: usize = 2 + 2 * BLOCKS;
/// The object `faults` of `bpf/faults.bpf.c`: chance of loss, longest packet, then address and port
/// of each rule.
type Constants = [u32; WORDS];

const fn is_plain<T: Pod>() {}
const _: () = is_plain::<Constants>();

/// The compiled program, for little-endian machines.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/faults.bpf.o"));
const PROGRAM: &str = "weave_faults";
/// Place of the filter; others may be before and after it.
const PRIORITY: u16 = 0xfa;
const HANDLE: TcHandle = TcHandle::new(0, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_laid_out_as_the_program_reads_them() {
        let faults = Faults::none().loss(0.5).longest(1300).block(Blocked {
            address: Some(Ipv4Addr::new(10, 0, 0, 1)),
            port: 6784,
        });

        let words = faults.constants();

        assert_eq!(words[..2], [0x7fff_ffff, 1300]);
        assert_eq!(words[2].to_ne_bytes(), [10, 0, 0, 1]);
        assert_eq!(words[3], 6784);
        assert!(words[4..].iter().all(|word| *word == 0));
    }

    #[test]
    fn shares_stay_within_their_range() {
        assert_eq!(Faults::none().loss(7.0).constants()[0], u32::MAX);
        assert_eq!(Faults::none().loss(-1.0), Faults::none());
    }

    #[test]
    fn rules_beyond_the_room_for_them_are_left_out() {
        let many = (1..=20).fold(Faults::none(), |faults, port| {
            faults.block(Blocked {
                address: None,
                port,
            })
        });
        assert_eq!(many.constants()[WORDS - 1], 8);
    }
}

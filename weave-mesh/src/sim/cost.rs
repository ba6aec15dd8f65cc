//! What work costs: the processor time that a host is charged.
//!
//! The charge is computed from counts (inputs, bytes, edges of the graph), never measured, so that
//! a run does not depend on the machine. The constants of this crate's peers are such that all
//! hosts of a mesh of 60 that forms are together charged about the processor time that the run
//! takes, simulator included, on a machine that also does other things. Those of old peers come
//! from the reference: table 9.1 of the protocol text (decode, merge and route times of its own
//! code).

use std::time::Duration;

/// Work done by a peer between two looks at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Inputs handled and timers that fired.
    pub(super) inputs: u64,
    /// Bytes read and decoded.
    pub(super) bytes_in: u64,
    /// Bytes encoded and written.
    pub(super) bytes_out: u64,
    /// Route calculations.
    pub(super) routes: u64,
    /// Directed connections that each of them walked.
    pub(super) edges: u64,
}

/// Prices of one kind of peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prices {
    input: Duration,
    /// Nanoseconds.
    byte_in: u64,
    byte_out: u64,
    edge: u64,
}

impl Prices {
    /// A peer of this crate.
    pub(super) const OURS: Self = Self {
        input: Duration::from_micros(8),
        byte_in: 25,
        byte_out: 20,
        edge: 25,
    };

    /// A router of Weave Net 2.x: every update is decoded and merged whole (10 ns a byte, and as
    /// much to encode), a route calculation walks all connections (170 ns each).
    pub(super) const OLD: Self = Self {
        input: Duration::from_micros(15),
        byte_in: 10,
        byte_out: 10,
        edge: 170,
    };

    /// The processor time of some work.
    pub(super) fn of(&self, work: &Work) -> Duration {
        let inputs = self
            .input
            .saturating_mul(u32::try_from(work.inputs).unwrap_or(u32::MAX));
        let nanos = work
            .bytes_in
            .saturating_mul(self.byte_in)
            .saturating_add(work.bytes_out.saturating_mul(self.byte_out))
            .saturating_add(
                work.routes
                    .saturating_mul(work.edges)
                    .saturating_mul(self.edge),
            );
        inputs + Duration::from_nanos(nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_peer_pays_what_was_measured() {
        let update = Work {
            inputs: 1,
            bytes_in: 1_170_000,
            ..Work::default()
        };
        let routes = Work {
            routes: 1,
            edges: 300 * 299,
            ..Work::default()
        };

        let (update, routes) = (Prices::OLD.of(&update), Prices::OLD.of(&routes));

        assert!((8..15).contains(&update.as_millis()), "200 peers: 10 ms");
        assert!((12..18).contains(&routes.as_millis()), "300 peers: 15 ms");
    }
}

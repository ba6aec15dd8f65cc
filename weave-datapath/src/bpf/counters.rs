//! What became of the frames the kernel programs saw.

use std::fmt;

/// Frames by outcome since the programs were first attached, all CPUs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Counters {
    /// Counters from values in the order of [`Counter::ALL`].
    pub(super) fn new(values: [u64; Counter::ALL.len()]) -> Self {
        Self(values)
    }

    /// The value of one counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        Counter::ALL
            .iter()
            .zip(self.0)
            .find(|(each, _)| **each == counter)
            .map_or(0, |(_, value)| value)
    }

    /// Every counter with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.into_iter().zip(self.0)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What became of a frame. The order is that of `enum weave_counter` in `bpf/weave.h`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Counter { $($(#[$doc])* $variant,)* }

        impl Counter {
            /// All counters.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name in status output and metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counters! {
    /// From the bridge, to one peer.
    Sent = "sent",
    /// From the bridge, along our tree.
    Flooded = "flooded",
    /// From the tunnel, into the bridge.
    Delivered = "delivered",
    /// From the tunnel, to the next hop of its peer.
    Relayed = "relayed",
    /// Copies made for trees.
    Copied = "copied",
    /// To user space, which sends it on by sleeve.
    Handed = "handed",
    /// From user space, which received it by sleeve.
    Taken = "taken",
    /// Special frames handed to user space.
    Special = "special",
    /// Answers that tell a sender how much the path carries: it had sent more.
    TooBig = "too_big",
    /// An address changed its owner.
    MacMoved = "mac_moved",
    /// Dropped: no complete Ethernet header.
    DropShort = "drop_short",
    /// Dropped: from the bridge with zero addresses.
    DropZero = "drop_zero",
    /// Dropped: spanning tree stays on its host.
    DropStp = "drop_stp",
    /// Dropped: from the bridge, but a peer uses the source address.
    DropConflict = "drop_conflict",
    /// Dropped: from the bridge, but the destination is local.
    DropLocal = "drop_local",
    /// Dropped: no table has been written.
    DropNoTable = "drop_no_table",
    /// Dropped: no way to the peer.
    DropNoRoute = "drop_no_route",
    /// Dropped: nobody to flood to.
    DropNoHops = "drop_no_hops",
    /// Dropped: no tunnel metadata.
    DropNoKey = "drop_no_key",
    /// Dropped: origin or destination is nobody's short id.
    DropUnknown = "drop_unknown",
    /// Dropped: a frame of ours came back.
    DropOwn = "drop_own",
    /// Not sent back to where it came from.
    DropBounce = "drop_bounce",
    /// Dropped: special frame, but the ring is full.
    DropRing = "drop_ring",
    /// Dropped: special frame for another peer.
    DropAlien = "drop_alien",
    /// A broadcast that did not get to all hops of its tree: too many for one program run.
    DropTree = "drop_tree",
    /// Dropped: answers of [`Counter::TooBig`] beyond what is given at a time.
    DropAnswer = "drop_answer",
    /// Dropped: a kernel helper refused.
    DropError = "drop_error",
}

impl Counter {
    /// Whether frames counted here were lost.
    #[must_use]
    pub fn is_drop(self) -> bool {
        self >= Self::DropShort
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_are_those_of_the_kernel_programs_in_their_order() {
        let header = include_str!("../../bpf/weave.h");
        let body = header.split("enum weave_counter {").nth(1).unwrap();
        let body = body.split("WEAVE_COUNTERS").next().unwrap();
        let names: Vec<String> = body
            .lines()
            .filter_map(|line| line.trim().split_once(','))
            .map(|(name, _)| name.trim_start_matches("WEAVE_").to_lowercase())
            .collect();

        let ours: Vec<String> = Counter::ALL.iter().map(|c| c.name().to_owned()).collect();
        assert_eq!(ours, names);
    }

    #[test]
    fn a_counter_is_found_by_its_name() {
        let mut values = [0; Counter::ALL.len()];
        values[3] = 9;
        let counters = Counters::new(values);

        assert_eq!(counters.get(Counter::Relayed), 9);
        assert_eq!(counters.iter().map(|(_, value)| value).sum::<u64>(), 9);
        assert!(Counter::DropShort.is_drop() && !Counter::MacMoved.is_drop());
    }
}

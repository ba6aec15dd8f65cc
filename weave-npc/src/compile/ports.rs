//! Sets of destination ports.
//!
//! Invariant: ranges of one protocol are sorted, disjoint and not adjacent, so equal sets of ports
//! are equal values.

use crate::model::Protocol;

/// Destination ports of any protocols.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PortSet {
    /// True if everything is meant, also protocols without ports.
    pub(super) is_all: bool,
    ranges: [Vec<(u16, u16)>; 3],
}

impl PortSet {
    /// Everything, also protocols without ports.
    pub(super) fn all() -> Self {
        Self {
            is_all: true,
            ..Self::default()
        }
    }

    /// Adds `first..=last` of a protocol.
    pub(super) fn add(&mut self, protocol: Protocol, first: u16, last: u16) {
        if self.is_all {
            return;
        }
        let ranges = &mut self.ranges[position(protocol)];
        let mut merged = (first, last);
        ranges.retain(|&(from, to)| {
            let is_apart = to.checked_add(1).is_some_and(|next| next < merged.0)
                || merged.1.checked_add(1).is_some_and(|next| next < from);
            if !is_apart {
                merged = (merged.0.min(from), merged.1.max(to));
            }
            is_apart
        });
        let at = ranges.partition_point(|&(from, _)| from < merged.0);
        ranges.insert(at, merged);
    }

    /// Adds every port of a protocol.
    pub(super) fn add_protocol(&mut self, protocol: Protocol) {
        self.add(protocol, 0, u16::MAX);
    }

    /// Adds all of `other`.
    pub(super) fn join(&mut self, other: &Self) {
        if other.is_all {
            *self = Self::all();
            return;
        }
        for (protocol, ranges) in other.by_protocol() {
            for &(first, last) in ranges {
                self.add(protocol, first, last);
            }
        }
    }

    /// True if nothing is meant.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_all && self.ranges.iter().all(Vec::is_empty)
    }

    /// The ranges of each protocol that has some.
    pub(super) fn by_protocol(&self) -> impl Iterator<Item = (Protocol, &[(u16, u16)])> {
        Protocol::ALL
            .into_iter()
            .map(|protocol| (protocol, self.ranges[position(protocol)].as_slice()))
            .filter(|(_, ranges)| !ranges.is_empty())
    }
}

fn position(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1,
        Protocol::Sctp => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ranges: &[(u16, u16)]) -> PortSet {
        let mut set = PortSet::default();
        for &(first, last) in ranges {
            set.add(Protocol::Tcp, first, last);
        }
        set
    }

    fn ranges(set: &PortSet) -> Vec<(u16, u16)> {
        set.by_protocol()
            .flat_map(|(_, ranges)| ranges.to_vec())
            .collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(ranges(&tcp(&[(80, 80), (82, 90), (81, 81)])), [(80, 90)]);
        assert_eq!(
            ranges(&tcp(&[(9, 9), (1, 2), (5, 6)])),
            [(1, 2), (5, 6), (9, 9)]
        );
        assert_eq!(ranges(&tcp(&[(0, 65535), (5, 6)])), [(0, 65535)]);
        assert_eq!(tcp(&[(1, 5), (6, 9)]), tcp(&[(3, 9), (1, 4)]));
    }

    #[test]
    fn everything_swallows_the_rest() {
        let mut set = tcp(&[(80, 80)]);
        set.join(&PortSet::all());
        set.add(Protocol::Udp, 1, 1);

        assert_eq!(set, PortSet::all());
        assert!(!set.is_empty() && PortSet::default().is_empty());
    }
}

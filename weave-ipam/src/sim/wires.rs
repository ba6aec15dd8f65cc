//! Who hears whom.
//!
//! Hosts are joined pairwise by links. A link is up while both ends run, are in one part of the
//! network, and the link is not cut. Messages go along links; a message to one peer, and a
//! broadcast, are relayed by others where there is no direct link. Invariant: two hosts of one name
//! are never in one connected part (peers refuse the second); the clone stays out.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::message::{Message, State};
use crate::peer::PeerId;

/// A message under way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) from: usize,
    /// The neighbour it comes from in the end.
    pub(super) hop: usize,
    pub(super) to: usize,
    pub(super) kind: Kind,
    pub(super) body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gossip,
    /// A broadcast, and who began it.
    Broadcast(usize),
    Unicast,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    State(State),
    Message(Message),
    #[cfg(feature = "mesh")]
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Wires {
    group: Vec<usize>,
    /// Bit `b` of `cut[a]`: the link between `a` and `b` is down.
    cut: Vec<u32>,
    /// Bit `b` of `mute[a]`: what `a` says does not reach `b`.
    mute: Vec<u32>,
    up: Vec<u32>,
    /// `parent[s][h]`: the neighbour from which `h` gets what `s` broadcasts; `h` itself if none.
    parent: Vec<Vec<usize>>,
    /// When the latest message from `a` to `b` arrives.
    last: Vec<Vec<Duration>>,
}

impl Wires {
    pub(super) fn add_host(&mut self) {
        let count = self.group.len() + 1;
        self.group.push(0);
        self.cut.push(0);
        self.mute.push(0);
        self.up.push(0);
        for row in &mut self.last {
            row.push(Duration::ZERO);
        }
        self.last.push(vec![Duration::ZERO; count]);
    }

    pub(super) fn set_group(&mut self, host: usize, group: usize) {
        self.group[host] = group;
    }

    pub(super) fn set_cut(&mut self, a: usize, b: usize, is_cut: bool) {
        set(&mut self.cut[a], b, is_cut);
        set(&mut self.cut[b], a, is_cut);
    }

    pub(super) fn set_mute(&mut self, from: usize, to: usize, is_mute: bool) {
        set(&mut self.mute[from], to, is_mute);
    }

    pub(super) fn is_mute(&self, from: usize, to: usize) -> bool {
        self.mute[from] & 1 << to != 0
    }

    pub(super) fn is_up(&self, a: usize, b: usize) -> bool {
        self.up[a] & 1 << b != 0
    }

    /// All links as good as they get.
    pub(super) fn mend(&mut self) {
        self.group.fill(0);
        self.cut.fill(0);
        self.mute.fill(0);
    }

    /// Works out links and ways. `present` gives the name of each host that runs. Returns the
    /// links that have come up.
    pub(super) fn connect(&mut self, present: &[Option<PeerId>]) -> Vec<(usize, usize)> {
        let before = self.up.clone();
        let count = present.len();
        let admitted: Vec<bool> = (0..count)
            .map(|b| {
                let rival =
                    (0..b).any(|a| present[a] == present[b] && self.group[a] == self.group[b]);
                present[b].is_some() && !rival
            })
            .collect();
        for a in 0..count {
            for b in 0..count {
                let is_up = a != b
                    && admitted[a]
                    && admitted[b]
                    && self.group[a] == self.group[b]
                    && self.cut[a] & 1 << b == 0;
                set(&mut self.up[a], b, is_up);
            }
        }
        self.parent = (0..count).map(|source| self.tree(source)).collect();
        let pairs = (0..count).flat_map(|a| (0..a).map(move |b| (a, b)));
        pairs
            .filter(|(a, b)| self.is_up(*a, *b) && before[*a] & 1 << *b == 0)
            .collect()
    }

    /// Whether there is a way.
    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        from != to && self.parent.get(from).is_some_and(|tree| tree[to] != to)
    }

    /// The neighbour of `to` on the way.
    pub(super) fn hop(&self, from: usize, to: usize) -> usize {
        self.parent[from][to]
    }

    pub(super) fn neighbours(&self, host: usize) -> Vec<usize> {
        (0..self.group.len())
            .filter(|other| self.is_up(host, *other))
            .collect()
    }

    /// To whom `relay` passes on what `source` broadcasts.
    pub(super) fn children(&self, source: usize, relay: usize) -> Vec<usize> {
        (0..self.group.len())
            .filter(|host| *host != relay && self.reaches(source, *host))
            .filter(|host| self.parent[source][*host] == relay)
            .collect()
    }

    pub(super) fn reachable(&self, host: usize, names: &[Option<PeerId>]) -> BTreeSet<PeerId> {
        (0..names.len())
            .filter(|other| self.reaches(host, *other))
            .filter_map(|other| names[other])
            .collect()
    }

    /// Notes an arrival; whether it overtakes an earlier message.
    pub(super) fn overtakes(&self, from: usize, to: usize, at: Duration) -> bool {
        at < self.last[from][to]
    }

    pub(super) fn last_arrival(&self, from: usize, to: usize) -> Duration {
        self.last[from][to]
    }

    pub(super) fn note_arrival(&mut self, from: usize, to: usize, at: Duration) {
        let last = &mut self.last[from][to];
        *last = at.max(*last);
    }

    /// Breadth first from `source`.
    fn tree(&self, source: usize) -> Vec<usize> {
        let count = self.group.len();
        let mut parent: Vec<usize> = (0..count).collect();
        let mut seen = 1_u32 << source;
        let mut edge = vec![source];
        while !edge.is_empty() {
            let mut next = Vec::new();
            for relay in edge {
                for host in (0..count).filter(|host| self.is_up(relay, *host)) {
                    if seen & 1 << host == 0 {
                        seen |= 1 << host;
                        parent[host] = relay;
                        next.push(host);
                    }
                }
            }
            edge = next;
        }
        parent
    }
}

fn set(mask: &mut u32, bit: usize, is_set: bool) {
    if is_set {
        *mask |= 1 << bit;
    } else {
        *mask &= !(1 << bit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Wires {
        let mut wires = Wires::default();
        for _ in 0..3 {
            wires.add_host();
        }
        wires.set_cut(0, 2, true);
        wires
    }

    #[test]
    fn what_a_host_says_reaches_others_by_relays() {
        let mut wires = line();
        let names = [Some(PeerId(1)), Some(PeerId(2)), Some(PeerId(3))];

        let news = wires.connect(&names);

        assert_eq!(news, [(1, 0), (2, 1)]);
        assert!(wires.reaches(0, 2) && !wires.is_up(0, 2));
        assert_eq!(wires.hop(0, 2), 1);
        assert_eq!(wires.children(0, 0), [1]);
        assert_eq!(wires.children(0, 1), [2]);
        assert_eq!(wires.reachable(0, &names), [PeerId(2), PeerId(3)].into());
    }

    #[test]
    fn a_clone_is_kept_out_until_the_first_is_gone() {
        let mut wires = line();
        wires.set_cut(0, 2, false);

        wires.connect(&[Some(PeerId(1)), Some(PeerId(2)), Some(PeerId(1))]);
        assert!(wires.is_up(0, 1) && !wires.is_up(2, 1));

        wires.connect(&[None, Some(PeerId(2)), Some(PeerId(1))]);
        assert!(wires.is_up(2, 1));
    }
}

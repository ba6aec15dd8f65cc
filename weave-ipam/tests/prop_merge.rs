//! The algebra of merging (`ALGORITHM.md`, section "merge"), over histories in which only owners
//! edit: they grant, report free addresses and gossip, with any message late or out of order.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use weave_ipam::ring::Entry;
use weave_ipam::{AddressRange, PeerId, Ring, Space, Span};

/// A peer as far as merging is concerned.
#[derive(Clone)]
struct Owner {
    ring: Ring,
    space: Space,
}

#[derive(Clone, Debug)]
enum Step {
    Take(Index),
    Release(Index, Index),
    Grant(Index, Index),
    /// A peer hears a state that was current at some time.
    Hear(Index, Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<Index>().prop_map(Step::Take),
        any::<(Index, Index)>().prop_map(|(peer, which)| Step::Release(peer, which)),
        any::<(Index, Index)>().prop_map(|(from, to)| Step::Grant(from, to)),
        any::<(Index, Index)>().prop_map(|(peer, state)| Step::Hear(peer, state)),
    ]
}

fn universe(is_v6: bool) -> AddressRange {
    AddressRange::of(
        if is_v6 { "fd00::/120" } else { "10.0.0.0/24" }
            .parse()
            .unwrap(),
    )
}

/// Plays the steps; every state a peer ever had.
fn history(is_v6: bool, peers: u64, steps: &[Step]) -> Vec<Arc<Ring>> {
    let names: Vec<PeerId> = (1..=peers).map(PeerId).collect();
    let range = universe(is_v6);
    let mut owners: Vec<Owner> = names
        .iter()
        .map(|name| {
            let mut ring = Ring::new(range, *name);
            ring.form(&names[..2]);
            let mut space = Space::new(range.family);
            space.add_all(ring.ranges_of(*name));
            Owner { ring, space }
        })
        .collect();
    let mut states: Vec<Arc<Ring>> = vec![Arc::new(Ring::new(range, PeerId(99)))];
    states.extend(owners.iter().map(|owner| Arc::new(owner.ring.clone())));
    for step in steps {
        let index = match step {
            Step::Take(peer)
            | Step::Release(peer, _)
            | Step::Grant(peer, _)
            | Step::Hear(peer, _) => peer.index(owners.len()),
        };
        let to = names[match step {
            Step::Grant(_, to) => to.index(names.len()),
            _ => index,
        }];
        play(&mut owners[index], step, to, range.span, &states);
        states.push(Arc::new(owners[index].ring.clone()));
    }
    states
}

fn play(owner: &mut Owner, step: &Step, to: PeerId, all: Span, states: &[Arc<Ring>]) {
    let Owner { ring, space } = owner;
    match step {
        Step::Take(_) => {
            space.allocate(all);
        }
        Step::Release(_, which) => {
            let taken: Vec<u128> = (all.start()..all.end())
                .filter(|number| space.is_in_use(*number))
                .collect();
            if !taken.is_empty() {
                space.free(taken[which.index(taken.len())]).unwrap();
            }
        }
        Step::Grant(..) if to != ring.peer() => {
            if let Some(range) = space.donate(all) {
                ring.grant(range, to).unwrap();
            }
        }
        Step::Grant(..) => {}
        Step::Hear(_, state) => {
            let heard = &states[state.index(states.len())];
            let merged = ring.merge_confined(heard, |span| space.uses(span)).unwrap();
            assert!(merged.conflicts.is_empty(), "{:?}", merged.conflicts);
            let (_, lost) =
                space.resize(&weave_ipam::address::coalesce(ring.ranges_of(ring.peer())));
            assert!(lost.is_empty());
        }
    }
    ring.report_free(|span| space.count_free(span));
    assert_eq!(ring.check(), Ok(()));
}

/// What `a` becomes when someone who owns nothing merges `b` into it.
fn join(a: &Ring, b: &Ring) -> Ring {
    let holder = PeerId(1000);
    let seeds = a.seeds().to_vec();
    let mut ring = Ring::from_parts(a.universe(), holder, a.entries().to_vec(), seeds);
    let merged = ring.merge_confined(b, |_| false).unwrap();
    assert!(merged.conflicts.is_empty());
    ring
}

fn owners_of(ring: &Ring) -> Vec<(u128, PeerId, u32)> {
    ring.entries()
        .iter()
        .map(|entry| (entry.token, entry.peer, entry.version))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        is_v6: bool,
        steps in vec(step(), 1..80),
        picks in vec(any::<Index>(), 3),
    ) {
        let states = history(is_v6, 4, &steps);
        let [a, b, c] = [0, 1, 2].map(|i: usize| &states[picks[i].index(states.len())]);

        prop_assert_eq!(join(a, b), join(b, a));
        prop_assert_eq!(join(&join(a, b), c), join(a, &join(b, c)));
        prop_assert_eq!(join(&join(a, b), b), join(a, b));
        prop_assert_eq!(owners_of(&join(a, a)), owners_of(a));
    }

    #[test]
    fn hearing_an_older_state_of_the_same_peer_changes_nothing(
        steps in vec(step(), 1..60),
        peer: Index,
    ) {
        let states = history(false, 4, &steps);
        let name = PeerId(1 + u64::try_from(peer.index(4)).unwrap());
        let own: Vec<_> = states.iter().filter(|ring| ring.peer() == name).collect();
        let last = own.last().unwrap();

        for older in &own {
            prop_assert_eq!(owners_of(&join(last, older)), owners_of(last));
        }
    }

    #[test]
    fn owners_and_versions_do_not_depend_on_hints(
        steps in vec(step(), 1..60),
        picks in vec(any::<Index>(), 2),
        hints in vec(any::<u32>(), 1..20),
    ) {
        let states = history(false, 4, &steps);
        let [a, b] = [0, 1].map(|i: usize| &states[picks[i].index(states.len())]);
        let entries: Vec<Entry> = (0..b.entries().len())
            .map(|index| {
                let limit = u32::try_from(b.size_at(index)).unwrap();
                Entry { free: hints[index % hints.len()] % (limit + 1), ..b.entries()[index] }
            })
            .collect();
        let other = Ring::from_parts(b.universe(), b.peer(), entries, b.seeds().to_vec());

        prop_assert_eq!(owners_of(&join(a, b)), owners_of(&join(a, &other)));
    }

    #[test]
    fn no_space_is_lost_or_owned_twice(steps in vec(step(), 1..80), is_v6: bool) {
        let states = history(is_v6, 4, &steps);
        let mut last: Vec<Arc<Ring>> = Vec::new();
        for name in (1..=4).map(PeerId) {
            last.extend(states.iter().rfind(|ring| ring.peer() == name).cloned());
        }
        let mut owned: Vec<Span> =
            last.iter().flat_map(|ring| ring.ranges_of(ring.peer())).collect();
        owned.sort_unstable();
        for pair in owned.windows(2) {
            prop_assert!(pair[0].end() <= pair[1].start(), "{:?}", pair);
        }

        let whole = last.iter().fold(last[0].as_ref().clone(), |all, ring| join(&all, ring));
        let total: u128 =
            whole.peers().into_iter().flat_map(|peer| whole.ranges_of(peer)).map(Span::size).sum();
        prop_assert_eq!(total, universe(is_v6).span.size());
    }

    /// Whatever a peer sends, the result is sound and nothing in use is given away.
    #[test]
    fn any_ring_from_anyone_is_survived(
        steps in vec(step(), 1..40),
        foreign in vec((0_u128..256, 1_u64..6, any::<u32>(), 0_u32..300), 0..12),
        taken in vec(any::<Index>(), 0..10),
        state: Index,
    ) {
        let states = history(false, 4, &steps);
        let range = universe(false);
        let mut ring = states[state.index(states.len())].as_ref().clone();
        let us = ring.peer();
        let owned: Vec<u128> =
            ring.ranges_of(us).into_iter().flat_map(|span| span.start()..span.end()).collect();
        let taken: Vec<u128> = taken
            .iter()
            .filter(|_| !owned.is_empty())
            .map(|index| owned[index.index(owned.len())])
            .collect();
        let entries = foreign
            .into_iter()
            .map(|(offset, peer, version, free)| Entry {
                token: range.span.start() + offset,
                peer: PeerId(peer),
                version,
                free,
            })
            .collect();
        let theirs = Ring::from_parts(range, PeerId(5), entries, Vec::new());

        let uses = |span: Span| taken.iter().any(|number| span.contains(*number));
        let before = ring.clone();
        let result = ring.merge_confined(&theirs, uses);

        if result.is_err() {
            prop_assert_eq!(&ring, &before);
        }
        prop_assert_eq!(ring.check(), Ok(()));
        for number in &taken {
            prop_assert_eq!(ring.owner(*number), Some(us));
        }
        let mut strict = before.clone();
        if strict.merge(&theirs, uses).is_err() {
            prop_assert_eq!(strict, before);
        }
    }
}

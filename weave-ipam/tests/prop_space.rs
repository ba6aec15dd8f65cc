//! The space against a plain set of numbers (`ALGORITHM.md`, section "space").
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use weave_ipam::address::coalesce;
use weave_ipam::{Family, Space, Span};

/// One entry an owned address: is it taken?
#[derive(Default)]
struct Model {
    owned: BTreeMap<u128, bool>,
    cooling: BTreeMap<u128, Duration>,
}

#[derive(Clone, Debug)]
enum Act {
    Add(Span),
    Remove(Span),
    Resize(Vec<Span>),
    Allocate(Span),
    Claim(u128),
    Free(u128),
    FreeAfter(u128, u64),
    Thaw(u64),
    Donate(Span),
    Look(Span),
    AllocateCooling(Span),
}

/// Before this number lies an edge of every block of the bitmap, and blocks of every size: 2^20,
/// 2^14 and 2^8. Offsets reach to both sides, so that searches cross them.
const BASE: u128 = (1 << 64) - 50;

fn number() -> impl Strategy<Value = u128> {
    prop_oneof![
        9 => (0_u128..100).prop_map(|offset| BASE + offset),
        1 => (0_u128..100).prop_map(|offset| BASE + (1 << 14) + offset),
        1 => (0_u128..100).prop_map(|offset| BASE + (1 << 22) + offset),
    ]
}

fn span() -> impl Strategy<Value = Span> {
    (number(), 0_u128..60).prop_map(|(start, size)| Span::new(start, start + size).unwrap())
}

/// What to look at, and with other ends than those of what is owned.
fn view() -> impl Strategy<Value = Span> {
    let ends = (number(), number());
    ends.prop_map(|(a, b)| Span::new(a.min(b), a.max(b)).unwrap())
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => span().prop_map(Act::Add),
        1 => span().prop_map(Act::Remove),
        1 => vec(span(), 0..4).prop_map(|mut spans| { spans.sort(); Act::Resize(coalesce(spans)) }),
        6 => span().prop_map(Act::Allocate),
        2 => number().prop_map(Act::Claim),
        3 => number().prop_map(Act::Free),
        2 => (number(), 0_u64..20).prop_map(|(number, until)| Act::FreeAfter(number, until)),
        1 => (0_u64..20).prop_map(Act::Thaw),
        1 => span().prop_map(Act::Donate),
        1 => view().prop_map(Act::Look),
        1 => span().prop_map(Act::AllocateCooling),
    ]
}

fn numbers(span: Span) -> std::ops::Range<u128> {
    span.start()..span.end()
}

impl Model {
    fn in_use(&self, number: u128) -> bool {
        self.owned.get(&number) == Some(&true) && !self.cooling.contains_key(&number)
    }

    fn remove(&mut self, number: u128) -> bool {
        let was_cooling = self.cooling.remove(&number).is_some();
        self.owned.remove(&number) == Some(true) && !was_cooling
    }

    fn free_in(&self, span: Span) -> impl Iterator<Item = u128> {
        self.owned
            .range(numbers(span))
            .filter(|(_, taken)| !**taken)
            .map(|(number, _)| *number)
    }

    fn apply(&mut self, act: &Act, space: &mut Space) {
        match act {
            Act::Add(span) => {
                let is_new = numbers(*span).any(|number| !self.owned.contains_key(&number));
                assert_eq!(space.add(*span), is_new);
                numbers(*span).for_each(|number| {
                    self.owned.entry(number).or_insert(false);
                });
            }
            Act::Remove(span) => {
                let used: Vec<u128> = numbers(*span)
                    .filter(|number| self.remove(*number))
                    .collect();
                assert_eq!(space.remove(*span), used);
            }
            Act::Resize(spans) => {
                let kept: BTreeSet<u128> = spans.iter().flat_map(|span| numbers(*span)).collect();
                let gone: Vec<u128> = self
                    .owned
                    .keys()
                    .copied()
                    .filter(|number| !kept.contains(number))
                    .collect();
                let used: Vec<u128> = gone
                    .into_iter()
                    .filter(|number| self.remove(*number))
                    .collect();
                let is_larger = kept.iter().any(|number| !self.owned.contains_key(number));
                assert_eq!(space.resize(spans), (is_larger, used));
                for number in kept {
                    self.owned.entry(number).or_insert(false);
                }
            }
            Act::Allocate(span) => {
                let lowest = self.free_in(*span).next();
                assert_eq!(space.allocate(*span), lowest);
                self.owned.extend(lowest.map(|number| (number, true)));
            }
            Act::Claim(number) => {
                let is_free = self.owned.get(number) == Some(&false);
                let is_allowed = is_free || self.cooling.remove(number).is_some();
                assert_eq!(space.claim(*number).is_ok(), is_allowed);
                if is_allowed {
                    self.owned.insert(*number, true);
                }
            }
            Act::Free(number) => {
                let is_allowed = self.in_use(*number);
                assert_eq!(space.free(*number).is_ok(), is_allowed);
                if is_allowed {
                    self.owned.insert(*number, false);
                }
            }
            Act::FreeAfter(number, until) => {
                let (is_allowed, until) = (self.in_use(*number), Duration::from_secs(*until));
                assert_eq!(space.free_after(*number, until).is_ok(), is_allowed);
                if is_allowed {
                    self.cooling.insert(*number, until);
                }
            }
            Act::Thaw(now) => {
                let now = Duration::from_secs(*now);
                let due: Vec<u128> = self
                    .cooling
                    .iter()
                    .filter(|(_, at)| **at <= now)
                    .map(|(n, _)| *n)
                    .collect();
                assert_eq!(space.thaw(now), due);
                for number in due {
                    self.cooling.remove(&number);
                    self.owned.insert(number, false);
                }
            }
            Act::Donate(span) => self.donate(*span, space),
            Act::Look(span) => self.look(*span, space),
            Act::AllocateCooling(span) => {
                let longest = self.cooling.iter().filter(|(at, _)| span.contains(**at));
                let longest = longest.min_by_key(|(at, until)| (**until, **at));
                let longest = longest.map(|(number, _)| *number);
                assert_eq!(space.allocate_cooling(*span), longest);
                longest.map(|number| self.cooling.remove(&number));
            }
        }
    }

    fn look(&self, span: Span, space: &Space) {
        let free: Vec<u128> = self.free_in(span).collect();
        assert_eq!(space.count_free(span), u128::try_from(free.len()).unwrap());
        let found: Vec<u128> = space.free_spans(span).flat_map(numbers).collect();
        assert_eq!(found, free);
        let is_used = self.owned.range(numbers(span)).any(|(_, taken)| *taken);
        assert_eq!(space.uses(span), is_used);
        for number in [span.start(), span.end()] {
            assert_eq!(space.owns(number), self.owned.contains_key(&number));
            assert_eq!(space.is_in_use(number), self.in_use(number));
            assert_eq!(space.is_cooling(number), self.cooling.contains_key(&number));
        }
    }

    fn donate(&mut self, span: Span, space: &mut Space) {
        let free = self.free_in(span).count();
        let Some(given) = space.donate(span) else {
            assert_eq!(free, 0);
            return;
        };
        assert!(span.covers(given) && !given.is_empty());
        for number in numbers(given) {
            assert_eq!(
                self.owned.remove(&number),
                Some(false),
                "only free addresses are given"
            );
        }
    }

    fn check(&self, space: &Space) {
        let all = Span::new(0, u128::MAX).unwrap();
        let owned: Vec<u128> = space.owned().flat_map(numbers).collect();
        assert_eq!(owned, self.owned.keys().copied().collect::<Vec<_>>());
        let free: Vec<u128> = space.free_spans(all).flat_map(numbers).collect();
        assert_eq!(free, self.free_in(all).collect::<Vec<_>>());
        assert_eq!(space.count_free(all), u128::try_from(free.len()).unwrap());
        let in_use = self
            .owned
            .keys()
            .filter(|number| self.in_use(**number))
            .count();
        assert_eq!(space.count_in_use(), u128::try_from(in_use).unwrap());
        assert_eq!(space.next_thaw(), self.cooling.values().min().copied());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_space_is_a_set_of_numbers(acts in vec(act(), 1..120)) {
        let mut model = Model::default();
        let mut space = Space::new(Family::V6);
        for act in &acts {
            model.apply(act, &mut space);
            model.check(&space);
        }
    }
}

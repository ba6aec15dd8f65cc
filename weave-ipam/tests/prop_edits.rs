//! Edits and merges keep a ring sound and lose no space (`ALGORITHM.md`, section "merge").
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use weave_ipam::ring::{Entry, MergeError};
use weave_ipam::{AddressRange, PeerId, Ring, Span};

const US: PeerId = PeerId(1);

fn universe(is_v6: bool) -> AddressRange {
    let network = if is_v6 { "fd00::/120" } else { "10.0.0.0/24" };
    AddressRange::of(network.parse().unwrap())
}

#[derive(Clone, Debug)]
enum Edit {
    Grant(u128, u128, u64),
    Report(u128, u128),
    HandOver(u64, u64),
    Merge(Sketch),
}

/// Tokens with what to make of them, tokens and hints relative to the universe and the range.
type Sketch = BTreeMap<u128, (u64, u32, u32)>;

fn sketch() -> impl Strategy<Value = Sketch> {
    btree_map(0_u128..256, (1_u64..5, 0_u32..6, any::<u32>()), 0..12)
}

fn edit() -> impl Strategy<Value = Edit> {
    let address = || 0_u128..256;
    prop_oneof![
        3 => (address(), 0_u128..300, 1_u64..5).prop_map(|(a, b, to)| Edit::Grant(a, b, to)),
        2 => (address(), 0_u128..300).prop_map(|(at, free)| Edit::Report(at, free)),
        1 => (1_u64..5, 1_u64..5).prop_map(|(from, to)| Edit::HandOver(from, to)),
        2 => sketch().prop_map(Edit::Merge),
    ]
}

/// A sound ring.
fn ring(range: AddressRange, holder: PeerId, sketch: &Sketch) -> Ring {
    let tokens: Vec<u128> = sketch.keys().map(|at| range.span.start() + at).collect();
    let bare = |token| Entry {
        token,
        peer: US,
        version: 0,
        free: 0,
    };
    let entries = tokens.iter().map(|token| bare(*token)).collect();
    let bare = Ring::from_parts(range, holder, entries, Vec::new());
    let kinds = sketch.values().zip(bare.entries()).enumerate();
    let entries = kinds.map(|(index, ((peer, version, free), entry))| {
        let size = u32::try_from(bare.size_at(index)).unwrap();
        let (peer, version, free) = (PeerId(*peer), *version, free % (size + 1));
        Entry {
            peer,
            version,
            free,
            ..*entry
        }
    });
    Ring::from_parts(range, holder, entries.collect(), Vec::new())
}

fn owned_by_all(ring: &Ring) -> u128 {
    let ranges = ring
        .peers()
        .into_iter()
        .flat_map(|peer| ring.ranges_of(peer));
    ranges.map(Span::size).sum()
}

/// The rules of `Ring::merge_confined` one token at a time, with none of its short cuts.
fn merged_by_the_book(ours: &Ring, theirs: &Ring, uses: impl Fn(Span) -> bool) -> Vec<Entry> {
    let span = ours.universe().span;
    let mine: BTreeMap<u128, Entry> = ours.entries().iter().map(|e| (e.token, *e)).collect();
    // The range from a number to our next token, in one or two parts.
    let is_used_from = |token: u128| {
        let next = mine.range(token + 1..).next().map(|(next, _)| *next);
        let end = span.end();
        let tail = Span::new(token, next.unwrap_or(end)).unwrap();
        let first = mine.keys().next().copied().filter(|_| next.is_none());
        let head = first.and_then(|first| Span::new(span.start(), first));
        uses(tail) || head.is_some_and(&uses)
    };
    let mut result = mine.clone();
    for news in theirs.entries() {
        let would_lose = is_used_from(news.token);
        let taken = match mine.get(&news.token) {
            None => news.peer == US || !would_lose,
            Some(old) if old.version > news.version => false,
            Some(old) if (old.version, old.peer) == (news.version, news.peer) => {
                if old.peer == US && old.free != news.free && old.version < u32::MAX {
                    let version = old.version + 1;
                    result.insert(news.token, Entry { version, ..*old });
                }
                old.peer != US && news.free > old.free
            }
            Some(old) if old.peer == US && news.peer == US => {
                let version = news.version + 1;
                result.insert(news.token, Entry { version, ..*old });
                false
            }
            Some(old) if old.peer == US && would_lose => false,
            Some(old) if old.version < news.version => true,
            Some(old) => {
                let order = |entry: &Entry| (entry.free, std::cmp::Reverse(entry.peer));
                order(news) > order(old) && news.peer != US
            }
        };
        if taken {
            result.insert(news.token, *news);
        }
    }
    let entries: Vec<Entry> = result.into_values().collect();
    let ring = Ring::from_parts(ours.universe(), US, entries.clone(), Vec::new());
    let clipped = entries.into_iter().enumerate().map(|(index, entry)| {
        let size = u32::try_from(ring.size_at(index)).unwrap();
        Entry {
            free: entry.free.min(size),
            ..entry
        }
    });
    clipped.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn edits_and_merges_keep_a_ring_sound_and_whole(
        is_v6: bool,
        seeds in vec(1_u64..5, 1..4),
        edits in vec(edit(), 1..40),
    ) {
        let range = universe(is_v6);
        let start = range.span.start();
        let mut own = Ring::new(range, US);
        own.form(&seeds.into_iter().map(PeerId).collect::<Vec<_>>());
        for edit in edits {
            let before = own.clone();
            match edit {
                Edit::Grant(a, b, to) => {
                    let given = Span::new(start + a.min(b), start + a.max(b)).unwrap();
                    let is_given = own.grant(given, PeerId(to)).is_ok();
                    prop_assert!(is_given || own == before);
                    let mut tokens = given.start()..given.end();
                    prop_assert!(!is_given || tokens.all(|at| own.owner(at) == Some(PeerId(to))));
                }
                Edit::Report(at, free) => {
                    own.report_free_near(start + at, |span| free.min(span.size()));
                }
                Edit::HandOver(from, to) => {
                    own.transfer(PeerId(from), PeerId(to));
                }
                Edit::Merge(sketch) => {
                    let theirs = ring(range, PeerId(2), &sketch);
                    let _ = own.merge_confined(&theirs, |_| false).unwrap();
                }
            }
            prop_assert_eq!(own.check(), Ok(()));
            prop_assert_eq!(owned_by_all(&own), range.span.size());
            for old in before.entries() {
                let kept = own.entries().iter().find(|entry| entry.token == old.token);
                prop_assert!(kept.is_some_and(|entry| entry.version >= old.version));
            }
        }
    }

    /// The merge skips what is alike and edits in place; its result is that of the rules.
    #[test]
    fn the_merge_does_what_its_rules_say(
        is_v6: bool,
        ours in sketch(),
        theirs in sketch(),
        is_near: bool,
        taken in vec(0_u128..256, 0..6),
    ) {
        let range = universe(is_v6);
        // Rings that meet in earnest are nearly the same.
        let mut near = ours.clone();
        near.extend(theirs.iter().take(2).map(|(token, entry)| (*token, *entry)));
        let theirs = ring(range, PeerId(2), if is_near { &near } else { &theirs });
        let mut own = ring(range, US, &ours);
        let taken: Vec<u128> = taken.into_iter().map(|at| range.span.start() + at).collect();
        let ours_to_use = |number: &&u128| own.owner(**number) == Some(US);
        let taken: Vec<u128> = taken.iter().filter(ours_to_use).copied().collect();
        let uses = |span: Span| taken.iter().any(|number| span.contains(*number));
        let expected = merged_by_the_book(&own, &theirs, uses);
        let before = own.clone();

        let merged = own.merge_confined(&theirs, uses).unwrap();

        prop_assert_eq!(own.entries(), &expected);
        prop_assert!(merged.updated || before == own);
        let rivalled = |number: &u128| {
            own.owner(*number) == Some(US) && theirs.owner(*number) == Some(theirs.peer())
        };
        let numbers = range.span.start()..range.span.end();
        let contested: Vec<u128> = numbers.filter(rivalled).collect();
        let found = merged.contested.iter().flat_map(|span| span.start()..span.end());
        prop_assert_eq!(found.collect::<Vec<_>>(), contested);
        let gap = |pair: &[Span]| pair[0].end() < pair[1].start();
        prop_assert!(merged.contested.windows(2).all(gap));
    }

    /// A ring that is not sound is refused for the first rule it breaks, and changes nothing.
    #[test]
    fn an_unsound_ring_is_refused(
        ours in sketch(),
        theirs in sketch(),
        at in any::<prop::sample::Index>(),
        damage in 0_u8..4,
    ) {
        let range = universe(false);
        prop_assume!(theirs.len() >= 2);
        let sound = ring(range, PeerId(2), &theirs);
        let mut entries = sound.entries().to_vec();
        let index = at.index(entries.len() - 1);
        match damage {
            0 => entries.swap(index, index + 1),
            1 => entries[index].token = entries[index + 1].token,
            2 => entries.last_mut().unwrap().token = range.span.end(),
            _ => entries[index].free = 300,
        }
        let broken = Ring::from_parts(range, PeerId(2), entries, Vec::new());
        let mut own = ring(range, US, &ours);
        let before = own.clone();

        let error = own.merge_confined(&broken, |_| false).unwrap_err();

        let expected = ["not sorted", "appears twice", "out of range", "too much free"];
        let text = error.to_string();
        prop_assert!(matches!(error, MergeError::Unsound(_)));
        prop_assert!(text.contains(expected[usize::from(damage)]), "{}", text);
        prop_assert_eq!(own, before);
    }
}

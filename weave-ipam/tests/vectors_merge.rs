//! Merges, hand-made and recorded, against both ways of merging.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod vector;

use serde_json::Value;
use vector::{address, list, load, ring, spans, text};
use weave_ipam::ring::MergeError;
use weave_ipam::{Family, Ring, Space};

/// A space that owns our ranges, with the listed addresses taken.
fn space(ours: &Ring, case: &Value) -> Space {
    let mut space = Space::new(Family::V4);
    space.add_all(ours.ranges_of(ours.peer()));
    for taken in list(case, "our_allocated_addresses") {
        space.claim(address(taken)).unwrap();
    }
    space
}

fn cases() -> Vec<Value> {
    let mut cases = list(&load("ring_merge"), "cases").to_vec();
    cases.extend_from_slice(list(&load("ring_merge_random"), "cases"));
    assert_eq!(cases.len(), 52 + 360);
    cases
}

#[test]
fn the_strict_merge_does_what_the_reference_does() {
    for case in cases() {
        let name = text(&case, "name");
        let mut ours = ring(&case["ours"]);
        let before = ours.clone();
        let space = space(&ours, &case);

        let result = ours.merge(&ring(&case["theirs"]), |span| space.uses(span));

        let expected = case["error"].as_str();
        assert_eq!(
            result.as_ref().err().map(ToString::to_string).as_deref(),
            expected,
            "{name}"
        );
        match result {
            Ok(updated) => {
                assert_eq!(updated, case["updated"].as_bool().unwrap(), "{name}");
                assert_eq!(ours, ring(&case["ours_after"]), "{name}");
                assert_eq!(
                    ours.ranges_of(ours.peer()),
                    spans(&case["our_ranges_after"]),
                    "{name}"
                );
            }
            // A failed merge of the reference may leave a raised version behind. Ours leaves no
            // trace.
            Err(_) => assert_eq!(ours, before, "{name}"),
        }
    }
}

/// Where the reference closes the connection over one entry, we keep the entry, merge the rest and
/// report it. Only a ring that is unsound or foreign is refused.
#[test]
fn the_confined_merge_refuses_only_what_cannot_be_merged() {
    for case in cases() {
        let name = text(&case, "name");
        let mut ours = ring(&case["ours"]);
        let before = ours.clone();
        let space = space(&ours, &case);

        let mut strict = before.clone();
        let strict = strict.merge(&ring(&case["theirs"]), |span| space.uses(span));
        let confined = ours.merge_confined(&ring(&case["theirs"]), |span| space.uses(span));

        match (strict, confined) {
            (Err(MergeError::Conflict(conflict)), Ok(merged)) => {
                let used = space.uses(conflict.span);
                let is_reported = merged
                    .conflicts
                    .iter()
                    .any(|c| c.to_string() == conflict.to_string());
                assert!(is_reported == used, "{name}: {conflict}");
            }
            (Ok(_) | Err(MergeError::Result(_)), Ok(_)) => {}
            (Err(strict), Err(confined)) => {
                assert_eq!(strict, confined, "{name}");
                assert_eq!(ours, before, "{name}");
            }
            (strict, confined) => panic!("{name}: {strict:?} but {confined:?}"),
        }
        assert_eq!(ours.check(), Ok(()), "{name}");
    }
}

#[test]
fn no_address_in_use_is_ever_lost_by_a_merge() {
    for case in cases() {
        let mut ours = ring(&case["ours"]);
        let space = space(&ours, &case);

        let _ = ours.merge_confined(&ring(&case["theirs"]), |span| space.uses(span));

        for taken in list(&case, "our_allocated_addresses") {
            assert_eq!(
                ours.owner(address(taken)),
                Some(ours.peer()),
                "{}",
                text(&case, "name")
            );
        }
    }
}

#[test]
fn where_only_owners_edit_both_ways_of_merging_agree() {
    let recorded = load("ring_merge_random");
    let is_owner_only = |name: &str| (0..=5).any(|sim| name.starts_with(&format!("sim{sim} ")));
    let mut count = 0;
    for case in list(&recorded, "cases")
        .iter()
        .filter(|case| is_owner_only(text(case, "name")))
    {
        let mut ours = ring(&case["ours"]);
        let space = space(&ours, case);

        let merged = ours
            .merge_confined(&ring(&case["theirs"]), |span| space.uses(span))
            .unwrap();

        assert_eq!(ours, ring(&case["ours_after"]), "{}", text(case, "name"));
        assert!(merged.conflicts.is_empty() && merged.outdated.is_empty());
        count += 1;
    }
    assert!(count > 100, "only {count} cases");
}

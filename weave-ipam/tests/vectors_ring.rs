//! Forming, editing and asking a ring.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod vector;

use std::collections::BTreeMap;

use serde_json::Value;
use vector::{address, entries, list, load, peer, peers, range, span, spans, text};
use weave_ipam::{PeerId, Ring, Span};

#[test]
fn the_universe_is_divided_among_the_seeds() {
    for case in list(&load("ring_ops"), "claim_for_peers") {
        let seeds = peers(&case["peers"]);
        let mut ring = Ring::new(range(case), seeds[0]);
        let mut shuffled = seeds.clone();
        shuffled.reverse();
        shuffled.push(seeds[0]);

        ring.form(&shuffled);

        assert_eq!(ring.entries(), entries(&case["entries"]), "{}", seeds.len());
        assert_eq!(ring.seeds(), seeds);
        assert_eq!(ring.check(), Ok(()));
    }
}

#[test]
fn edits_come_out_the_same() {
    for sequence in list(&load("ring_ops"), "sequences") {
        let us = peer(&sequence["peer"]);
        let initial = entries(&sequence["initial_entries"]);
        let mut ring = Ring::from_parts(range(sequence), us, initial, Vec::new());
        for step in list(sequence, "steps") {
            edit(&mut ring, step);

            assert_eq!(ring.entries(), entries(&step["entries"]), "{step}");
            assert_eq!(ring.ranges_of(us), spans(&step["owned_ranges"]), "{step}");
            assert_eq!(ring.check(), Ok(()));
        }
    }
}

fn edit(ring: &mut Ring, step: &Value) {
    let args = &step["args"];
    match text(step, "op") {
        "grant" => ring.grant(span(args), peer(&args["to"])).unwrap(),
        "transfer" => {
            let ranges = ring.transfer(peer(&args["from"]), peer(&args["to"]));
            assert_eq!(ranges, spans(&step["result_ranges"]), "{step}");
        }
        "report_free" => {
            let counts = step["free_by_range_start"].as_object().unwrap();
            let free = |span: Span| {
                let count = counts
                    .iter()
                    .find(|(start, _)| address(&Value::String((*start).clone())) == span.start());
                u128::from(count.unwrap().1.as_u64().unwrap())
            };
            assert_eq!(
                ring.report_free(free),
                step["updated"].as_bool().unwrap(),
                "{step}"
            );
        }
        other => panic!("unknown operation {other}"),
    }
}

#[test]
fn donors_weigh_and_are_chosen_as_recorded() {
    for case in list(&load("ring_ops"), "choose_donor") {
        let ring = Ring::from_parts(
            range(case),
            peer(&case["peer"]),
            entries(&case["entries"]),
            vec![],
        );
        let query = Span::new(address(&case["query_start"]), address(&case["query_end"])).unwrap();
        let named = |value: &Value| -> BTreeMap<PeerId, f64> {
            let pairs = value.as_object().unwrap().iter();
            pairs
                .map(|(name, number)| (name.parse().unwrap(), number.as_f64().unwrap()))
                .collect()
        };

        let donors = ring.donors(query);

        let weights = named(&case["candidate_weights"]);
        assert_eq!(donors.len(), weights.len(), "{case}");
        for (donor, weight) in donors {
            assert!((weights[&donor] - f64::from(u32::try_from(weight).unwrap())).abs() < 0.5);
        }
        for (donor, share) in named(&case["observed_first_choice_share"]) {
            let draws = 0..10_000_u32;
            let first =
                draws.filter(|seed| ring.choose_donors(query, u64::from(*seed))[0] == donor);
            let observed = f64::from(u32::try_from(first.count()).unwrap()) / 10_000.0;
            assert!(
                (observed - share).abs() < 0.02,
                "{donor} {observed} instead of {share}"
            );
        }
    }
}

//! Sequences of operations on the space, each with its result and the state after it.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod vector;

use serde_json::Value;
use vector::{address, list, load, span, spans, text};
use weave_ipam::{Family, Space, Span};

/// A list of alternating starts and ends.
fn bounds(value: &Value) -> Vec<Span> {
    let numbers: Vec<u128> = value.as_array().unwrap().iter().map(address).collect();
    numbers
        .chunks(2)
        .map(|pair| Span::new(pair[0], pair[1]).unwrap())
        .collect()
}

/// Free and taken intervals by asking for every address of the recorded ones and their neighbours.
fn check_state(space: &Space, step: &Value) {
    let all = Span::new(0, 1 << 32).unwrap();
    let free = bounds(&step["free_bounds"]);
    let taken = bounds(&step["allocated_bounds"]);

    assert_eq!(space.free_spans(all).collect::<Vec<_>>(), free, "{step}");
    let count: u128 = taken.iter().map(|span| span.size()).sum();
    assert_eq!(space.count_in_use(), count, "{step}");
    for number in taken.iter().flat_map(|span| span.start()..span.end()) {
        assert!(space.is_in_use(number), "{number} in {step}");
    }
}

fn apply(space: &mut Space, step: &Value) {
    // Some queries are the wrong way round: nothing is in them.
    let range = || {
        let (start, end) = (
            address(&step["range"]["start"]),
            address(&step["range"]["end"]),
        );
        Span::new(start, end.max(start)).unwrap()
    };
    let optional_range = |found: Option<Span>| match step["result_range"].as_object() {
        Some(_) => assert_eq!(found, Some(span(&step["result_range"])), "{step}"),
        None => assert!(found.is_none_or(Span::is_empty), "{found:?} {step}"),
    };
    let result = |result: Result<(), weave_ipam::space::SpaceError>| {
        let error = result.err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), step["error"].as_str(), "{step}");
    };
    match text(step, "op") {
        "add_range" => {
            space.add(range());
        }
        "update_ranges" => {
            space.add_all(spans(&step["ranges"]));
        }
        "allocate" => {
            let expected = step["result_addr"]
                .as_str()
                .map(|_| address(&step["result_addr"]));
            assert_eq!(space.allocate(range()), expected, "{step}");
        }
        "claim" => result(space.claim(address(&step["addr"]))),
        "free" => result(space.free(address(&step["addr"]))),
        "donate" => optional_range(space.donate(range())),
        "biggest_free_range" => optional_range(space.biggest_free_range(range())),
        "num_free_in_range" => {
            let count = u128::from(step["count"].as_u64().unwrap());
            assert_eq!(space.count_free(range()), count, "{step}");
        }
        "owned_ranges" => {
            assert_eq!(
                space.owned().collect::<Vec<_>>(),
                spans(&step["ranges"]),
                "{step}"
            );
        }
        other => panic!("unknown operation {other}"),
    }
}

#[test]
fn every_recorded_sequence_comes_out_the_same() {
    let mut steps = 0;
    for sequence in list(&load("space"), "sequences") {
        let mut space = Space::new(Family::V4);
        for step in list(sequence, "steps") {
            apply(&mut space, step);
            check_state(&space, step);
            steps += 1;
        }
    }
    assert_eq!(steps, 445);
}

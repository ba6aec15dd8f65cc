//! Laws of selectors: the text form loses nothing, and matching is the conjunction of its parts.

use std::collections::BTreeSet;

use proptest::prelude::*;
use weave_npc::{Labels, Requirement, Selector};

fn values() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set("[ab]{0,2}", 1..4)
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let key = || "[xyz]";
    prop_oneof![
        (key(), values()).prop_map(|(key, values)| Requirement::In(key, values)),
        (key(), values()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        key().prop_map(Requirement::Exists),
        key().prop_map(Requirement::DoesNotExist),
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    prop::collection::vec(requirement(), 0..5).prop_map(|list| list.into_iter().collect())
}

fn labels() -> impl Strategy<Value = Labels> {
    prop::collection::vec(("[xyz]", "[ab]{0,2}"), 0..4).prop_map(|list| list.into_iter().collect())
}

proptest! {
    #[test]
    fn text_form_reads_back_as_the_same_selector(selector in selector()) {
        let text = selector.to_string();

        prop_assert_eq!(text.parse::<Selector>().unwrap(), selector, "{}", text);
    }

    #[test]
    fn a_selector_matches_iff_each_requirement_does(selector in selector(), labels in labels()) {
        let each = selector.requirements().all(|requirement| requirement.matches(&labels));

        prop_assert_eq!(selector.matches(&labels), each);
    }

    #[test]
    fn negations_are_complements(key in "[xyz]", values in values(), labels in labels()) {
        let inside = Requirement::In(key.clone(), values.clone()).matches(&labels);
        let outside = Requirement::NotIn(key.clone(), values).matches(&labels);
        let present = Requirement::Exists(key.clone()).matches(&labels);
        let absent = Requirement::DoesNotExist(key).matches(&labels);

        prop_assert_ne!(inside, outside);
        prop_assert_ne!(present, absent);
    }

    #[test]
    fn any_text_is_parsed_or_refused_without_panic(text in ".{0,40}") {
        let _ = text.parse::<Selector>();
    }
}

//! What the mesh dropped or refused since the start, by reason.
//!
//! Reasons are the names of the mesh's own counters; every one is there from the start, at 0, so that a
//! rate can be taken of the first event too.

use std::collections::BTreeMap;

use weave_mesh::node::Counters;

/// Messages that were not passed on or not taken.
pub(super) fn messages(counters: &Counters) -> BTreeMap<String, u64> {
    named([
        ("control_dropped", counters.control_dropped),
        ("control_malformed", counters.control_malformed),
        ("control_refused", counters.control_refused),
        ("gossip_dropped", counters.gossip_dropped),
        ("hazard_withheld", counters.hazard_withheld),
        ("message_too_large", counters.message_too_large),
        ("surrogate_refused", counters.surrogate_refused),
        ("unicast_relay_failed", counters.unicast_relay_failed),
        ("unicast_unknown_channel", counters.unicast_unknown_channel),
        ("unknown_tag", counters.unknown_tag),
    ])
}

/// Connections that were refused or broke.
pub(super) fn connections(counters: &Counters) -> BTreeMap<String, u64> {
    named([
        ("duplicate", counters.duplicate),
        ("introduction_failed", counters.introduction_failed),
        ("introduction_refused", counters.introduction_refused),
        ("message_malformed", counters.message_malformed),
        ("message_not_opened", counters.message_not_opened),
        ("message_oversized", counters.message_oversized),
        ("password_missing", counters.password_missing),
        ("password_refused", counters.password_refused),
        ("read_timeout", counters.read_timeout),
        ("write_timeout", counters.write_timeout),
    ])
}

fn named<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    let counts = counts.into_iter();
    counts
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

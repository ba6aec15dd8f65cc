use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{bytes, list, load, name, record, text};
use weave_mesh::peer::{PeerName, PeerRecord, ShortId, Uid};
use weave_mesh::topology::{Merged, Topology};
use weave_mesh::wire::update;

fn names(json: &Json) -> BTreeSet<PeerName> {
    list(json).iter().map(name).collect()
}

/// The topology a scenario starts with: us, and the remote end of our connection as a handshake
/// leaves it.
fn start(initial_self: &Json) -> Topology {
    let local = record(initial_self);
    let linked: Vec<_> = local.connections.keys().copied().collect();
    let mut topology = Topology::new(local, 1);
    for remote in linked {
        let short_id = ShortId::try_from(100).ok();
        let record = PeerRecord {
            short_id,
            ..PeerRecord::new(remote, "linked", Uid(100))
        };
        let _ = topology.insert_handshake(record);
        assert!(topology.retain(remote));
    }
    topology
}

/// The table, with the short id that the recorded run has in place of a random choice.
fn dump(topology: &Topology, has_moved: bool) -> Vec<PeerRecord> {
    let us = topology.local().name;
    let mut records: Vec<_> = topology.records().cloned().collect();
    for local in records
        .iter_mut()
        .filter(|record| has_moved && record.name == us)
    {
        local.short_id = ShortId::try_from(4000).ok();
    }
    records
}

/// Weave Net looks into the connections of a record that it ignores and makes placeholders of what
/// it finds, until the next collection removes them again. We do not look.
const PLACEHOLDERS_OF_STALE_RECORDS: &str =
    "stale entry naming an unknown peer still creates a placeholder";

#[test]
fn updates_change_the_table_as_recorded() {
    let vectors = load("topology_merge");
    let mut steps = 0;

    for scenario in list(&vectors["scenarios"]) {
        let mut topology = start(&scenario["initial_self"]);
        let mut has_moved = false;
        for step in list(&scenario["steps"]) {
            let title = format!("{}: {}", scenario["name"], step["what"]);
            let short_id = topology.local().short_id;
            let version = topology.local().version;

            let update = update::decode(&bytes(&step["update"]));
            assert_eq!(update.is_err(), !text(&step["error"]).is_empty(), "{title}");
            let merged = update.map_or_else(|_| Merged::default(), |update| topology.merge(update));

            assert_eq!(
                merged.names,
                names(&step["returned_update_names"]),
                "{title}"
            );
            assert_eq!(
                merged.news,
                names(&step["returned_improved_names"]),
                "{title}"
            );
            let is_moved = topology.local().short_id != short_id;
            assert_eq!(step["self_short_id_changed"], is_moved, "{title}");
            assert_eq!(
                merged.local_changed,
                topology.local().version != version,
                "{title}"
            );
            assert_eq!(
                merged.short_id_changes.is_empty(),
                step["short_id_invalidations"] == 0,
                "{title}"
            );
            has_moved |= is_moved;
            let before_collection = dump(&topology, has_moved);
            let removed = topology.collect_garbage().removed;

            let mut expected: Vec<_> = list(&step["state_after_apply"])
                .iter()
                .map(record)
                .collect();
            let mut garbage = names(&step["removed_by_following_gc"]);
            if scenario["name"] == PLACEHOLDERS_OF_STALE_RECORDS {
                expected
                    .retain(|record| before_collection.contains(record) || record.uid != Uid(0));
                garbage.retain(|name| before_collection.iter().any(|known| known.name == *name));
            }
            let removed: BTreeSet<_> = removed.into_iter().map(|record| record.name).collect();
            assert_eq!(before_collection, expected, "{title}");
            assert_eq!(removed, garbage, "{title}");
            steps += 1;
        }
    }
    assert_eq!(steps, 29);
}

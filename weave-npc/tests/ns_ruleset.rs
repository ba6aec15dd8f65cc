//! Rulesets in a real kernel: what is sent is what is read, and the `nft` program agrees.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod netns;
#[path = "netns/samples.rs"]
mod samples;

use samples::{bridge_id, everything, inet_id};
use weave_npc::netlink::{Nft, Seen};
use weave_npc::ruleset::{Ruleset, Table, TableId};

fn read(nft: &mut Nft, id: &TableId) -> Seen {
    nft.read(id).unwrap().unwrap()
}

fn load(nft: &mut Nft, ruleset: &Ruleset) {
    ruleset.check().unwrap();
    nft.commit(&Ruleset::diff(&Ruleset::new(), ruleset))
        .unwrap();
}

/// Compares rule by rule, so that a failure names the one.
fn assert_same(found: &Table, wanted: &Table) {
    for (name, set) in &wanted.sets {
        assert_eq!(found.sets.get(name), Some(set), "set {name}");
    }
    for (name, chain) in &wanted.chains {
        let found = found
            .chains
            .get(name)
            .unwrap_or_else(|| panic!("chain {name} is missing"));
        assert_eq!(found.base, chain.base, "chain {name}");
        for (index, (found, wanted)) in found.rules.iter().zip(&chain.rules).enumerate() {
            assert_eq!(
                found, wanted,
                "chain {name} rule {index}: {found} instead of {wanted}"
            );
        }
    }
    assert_eq!(found, wanted);
}

#[test]
fn what_is_committed_is_what_is_read_back() {
    netns::inside(|| {
        let wanted = everything();
        let mut nft = Nft::open().unwrap();
        load(&mut nft, &wanted);

        for (id, table) in &wanted.tables {
            let seen = read(&mut nft, id);
            assert_eq!(seen.strangers, Vec::<String>::new());
            assert_same(&seen.table, table);
        }
    });
}

#[test]
fn the_nft_program_makes_the_same_objects_of_the_text() {
    netns::inside(|| {
        if !netns::has_nft() {
            return;
        }
        let wanted = everything();
        netns::nft(&["-f", "-"], &wanted.to_string());

        let mut nft = Nft::open().unwrap();
        for (id, table) in &wanted.tables {
            let seen = read(&mut nft, id);
            assert_eq!(seen.strangers, Vec::<String>::new());
            assert_same(&seen.table, table);
        }
    });
}

#[test]
fn the_nft_program_lists_what_was_committed_and_can_load_its_own_list() {
    netns::inside(|| {
        if !netns::has_nft() {
            return;
        }
        let wanted = everything();
        let mut nft = Nft::open().unwrap();
        load(&mut nft, &wanted);
        let listed = netns::nft(&["list", "ruleset"], "");
        assert!(
            !listed.contains("@nh,") && !listed.contains("@ll,") && !listed.contains("@th,"),
            "{listed}"
        );
        for text in [
            "comment \"shop/db#1\"",
            "comment \"shop/db-0\"",
            "shop/web#0",
        ] {
            assert!(listed.contains(text), "{text} is not in\n{listed}");
        }

        netns::nft(&["flush", "ruleset"], "");
        netns::nft(&["-f", "-"], &listed);

        for (id, table) in &wanted.tables {
            assert_same(&read(&mut nft, id).table, table);
        }
    });
}

#[test]
fn a_table_that_is_not_there_reads_as_nothing() {
    netns::inside(|| {
        let mut nft = Nft::open().unwrap();
        assert!(nft.read(&inet_id()).unwrap().is_none());
        assert!(nft.read(&bridge_id()).unwrap().is_none());
    });
}

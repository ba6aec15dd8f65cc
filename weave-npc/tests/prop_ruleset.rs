//! The laws of rulesets: `diff`, `apply`, `check`; and, as root, the kernel's agreement.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod netns;
#[path = "netns/tables.rs"]
mod tables;

use std::cell::RefCell;

use proptest::prelude::*;
use tables::{id, table};
use weave_npc::netlink::{Keeper, Nft, Way};
use weave_npc::ruleset::{Ruleset, Table};

fn alone(table: Table) -> Ruleset {
    Ruleset::new().with(id(), table)
}

proptest! {
    #[test]
    fn applying_the_difference_gives_the_other(a in table(), b in table()) {
        let (a, b) = (alone(a), alone(b));
        prop_assert_eq!(a.check(), Ok(()));
        let transaction = Ruleset::diff(&a, &b);

        let mut result = a.clone();
        prop_assert_eq!(transaction.apply(&mut result), Ok(()));

        prop_assert_eq!(result, b);
        prop_assert!(Ruleset::diff(&a, &a.clone()).is_empty());
    }

    #[test]
    fn tables_come_and_go(a in prop::option::of(table()), b in prop::option::of(table())) {
        let (a, b) = (a.map_or_else(Ruleset::new, alone), b.map_or_else(Ruleset::new, alone));

        let mut result = a.clone();
        prop_assert_eq!(Ruleset::diff(&a, &b).apply(&mut result), Ok(()));

        prop_assert_eq!(result, b);
    }

    #[test]
    fn equal_rulesets_print_equally_and_others_do_not(a in table(), b in table()) {
        let (a, b) = (alone(a), alone(b));
        prop_assert_eq!(a == b, a.to_string() == b.to_string());
    }
}

/// One batch from each table to the next, as the kernel sees it; and a name for the one that fails.
#[test]
fn the_kernel_takes_every_difference_and_reads_back_as_wanted() {
    netns::inside(|| {
        let cases = std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(300);
        let mut keeper = Keeper::new(Nft::open().unwrap(), id());
        keeper.set(&Table::new()).unwrap();
        let (keeper, other) = (RefCell::new(keeper), RefCell::new(Nft::open().unwrap()));
        let config = ProptestConfig {
            cases,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let result = runner.run(&table(), |table| {
            let report = keeper
                .borrow_mut()
                .set(&table)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(report.way <= Way::Delta, "{:?}", report);
            let seen = other.borrow_mut().read(&id()).unwrap().unwrap();
            prop_assert_eq!(seen.table, table);
            Ok(())
        });
        result.unwrap();
    });
}

/// The text of a ruleset means what the value means.
#[test]
fn the_nft_program_reads_every_text_as_the_value() {
    netns::inside(|| {
        if !netns::has_nft() {
            return;
        }
        let nft = RefCell::new(Nft::open().unwrap());
        let config = ProptestConfig {
            cases: 60,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let result = runner.run(&table(), |table| {
            let text = format!("flush ruleset\n{}", alone(table.clone()));
            netns::run("nft", &["-f", "-"], &text).map_err(TestCaseError::fail)?;
            let seen = nft.borrow_mut().read(&id()).unwrap().unwrap();
            prop_assert_eq!(seen.table, table);
            Ok(())
        });
        result.unwrap();
    });
}

//! A table of ours beside other writers: kept, repaired, watched.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod netns;
#[path = "netns/samples.rs"]
mod samples;

use std::net::Ipv4Addr;
use std::time::Duration;

use samples::{everything, inet_id, name};
use weave_npc::netlink::{
    ForeignChange, ForeignRule, Keeper, Monitor, NetlinkError, Nft, RawExpression, Way,
};
use weave_npc::ruleset::{
    Base, Chain, Change, Comment, Entry, Family, Field, Hook, Key, NfProto, Rule, Ruleset, Set,
    Table, TableId, Transaction, Type, Value, Verdict,
};

fn keeper() -> Keeper {
    Keeper::new(Nft::open().unwrap(), inet_id())
}

fn wanted() -> Table {
    everything().tables.remove(&inet_id()).unwrap()
}

fn in_kernel() -> Option<Table> {
    Nft::open()
        .unwrap()
        .read(&inet_id())
        .unwrap()
        .map(|seen| seen.table)
}

/// Somebody else: another connection that makes a table of its own.
fn disturb(label: &str) {
    let id = TableId::new(Family::Ip, name(label));
    let other = Ruleset::new().with(id, Table::new());
    Nft::open()
        .unwrap()
        .commit(&Ruleset::diff(&Ruleset::new(), &other))
        .unwrap();
}

fn v4(last: u8) -> Value {
    Value::Ipv4(Ipv4Addr::new(10, 32, 1, last))
}

#[test]
fn a_change_is_sent_as_a_difference_and_keeps_counters() {
    netns::inside(|| {
        let (mut keeper, mut table) = (keeper(), wanted());
        assert_eq!(keeper.set(&table).unwrap().way, Way::ReadBack);

        table.set_mut("s4-1").unwrap().insert(v4(1));
        let rule = Rule::new().when(Field::Mark.is(Value::Mark(99))).counter();
        table.chain_mut("forward").unwrap().rules.insert(3, rule);
        table.chain_mut("in-1").unwrap().rules.remove(0);
        let report = keeper.set(&table).unwrap();

        assert_eq!((report.changes, report.way), (3, Way::Delta));
        assert_eq!(in_kernel().as_ref(), Some(&table));
        let again = keeper.set(&table).unwrap();
        assert_eq!((again.changes, again.way), (0, Way::Nothing));
    });
}

#[test]
fn a_foreign_flush_is_told_and_repaired() {
    netns::inside(|| {
        let (mut keeper, table) = (keeper(), wanted());
        keeper.set(&table).unwrap();
        let mut monitor = Monitor::open().unwrap();
        assert!(monitor.drain().unwrap().is_empty());

        let flush = Transaction {
            changes: vec![Change::DeleteTable(inet_id())],
        };
        Nft::open().unwrap().commit(&flush).unwrap();

        let changes = monitor.wait(Duration::from_secs(5)).unwrap();
        assert!(
            changes.concern(&inet_id(), keeper.nft().port()),
            "{changes:?}"
        );
        assert!(changes.tables[&(Family::Inet, "weave-test".to_owned())].is_deleted);
        assert_eq!(keeper.repair().unwrap().way, Way::ReadBack);
        assert_eq!(in_kernel(), Some(table));
        let own = monitor.wait(Duration::from_secs(5)).unwrap();
        assert!(
            !own.concern(&inet_id(), keeper.nft().port()),
            "our own change is no concern"
        );
    });
}

#[test]
fn one_rule_deleted_by_somebody_else_comes_back_alone() {
    netns::inside(|| {
        let (mut keeper, table) = (keeper(), wanted());
        keeper.set(&table).unwrap();
        let mut other = Nft::open().unwrap();
        other.read(&inet_id()).unwrap();
        let delete = Change::DeleteRule {
            table: inet_id(),
            chain: name("forward"),
            index: 4,
        };
        other
            .commit(&Transaction {
                changes: vec![delete],
            })
            .unwrap();

        let report = keeper.repair().unwrap();

        assert_eq!((report.changes, report.way), (1, Way::ReadBack));
        assert_eq!(in_kernel(), Some(table));
    });
}

#[test]
fn a_change_after_another_writer_reads_back_first() {
    netns::inside(|| {
        let (mut keeper, mut table) = (keeper(), wanted());
        keeper.set(&table).unwrap();
        disturb("other1");
        table.set_mut("s4-1").unwrap().insert(v4(2));

        let report = keeper.set(&table).unwrap();

        assert_eq!((report.changes, report.way), (1, Way::ReadBack));
        assert_eq!(in_kernel().as_ref(), Some(&table));

        disturb("other2");
        let elements = vec![(Key::from(v4(3)), Entry::default())];
        let change = Change::AddElements {
            table: inet_id(),
            set: name("s4-1"),
            is_interval: false,
            elements,
        };
        let report = keeper
            .apply(&Transaction {
                changes: vec![change],
            })
            .unwrap();
        assert_eq!((report.changes, report.way), (1, Way::Delta));
        table.set_mut("s4-1").unwrap().insert(v4(3));
        assert_eq!(in_kernel().as_ref(), Some(&table));
        assert_eq!(keeper.installed(), Some(&table));
    });
}

#[test]
fn a_stale_batch_is_refused_as_a_whole() {
    netns::inside(|| {
        let mut nft = Nft::open().unwrap();
        let table = Ruleset::new().with(inet_id(), wanted());
        nft.commit(&Ruleset::diff(&Ruleset::new(), &table)).unwrap();
        nft.read(&inet_id()).unwrap();
        disturb("other");

        let delete = Transaction {
            changes: vec![Change::DeleteTable(inet_id())],
        };
        let error = nft.commit(&delete).unwrap_err();

        assert!(matches!(error, NetlinkError::Stale), "{error}");
        assert_eq!(in_kernel(), Some(wanted()));
    });
}

#[test]
fn what_the_kernel_refuses_is_named() {
    netns::inside(|| {
        let mut table = Table::new();
        let mut chain = Chain::at(Base::filter(Hook::Forward, 0));
        chain.rules.push(Rule::new().counter());
        chain
            .rules
            .push(Rule::new().when(Field::Ip4Saddr.in_set(&name("nowhere"))));
        table.add_chain(name("forward"), chain);

        let error = keeper().set(&table).unwrap_err();

        let text = error.to_string();
        assert!(
            text.starts_with("table inet weave-test chain forward rule 1: "),
            "{text}"
        );
        assert!(error.is_missing());
        assert_eq!(in_kernel(), None);
    });
}

#[test]
fn objects_that_no_value_can_say_go_with_the_whole_table() {
    netns::inside(|| {
        if !netns::has_nft() {
            return;
        }
        let strange = "table inet weave-test {
            set __own { type ipv4_addr\n }
            counter c { packets 1 bytes 2 }
            set dyn { type ipv4_addr\n size 10\n flags dynamic\n }
            chain forward { type filter hook forward priority -10; policy accept; quota over 1 mbytes drop\n }
        }";
        netns::nft(
            &["-f", "-"],
            &strange.replace("set __own { type ipv4_addr\n }", ""),
        );
        let mut nft = Nft::open().unwrap();
        let seen = nft.read(&inet_id()).unwrap().unwrap();
        assert_eq!(seen.strangers, ["set dyn"]);
        assert!(
            seen.table.chains["forward"].rules[0]
                .note()
                .unwrap()
                .as_str()
                .starts_with("not understood")
        );

        let report = keeper().set(&wanted()).unwrap();

        assert_eq!(report.way, Way::Replaced);
        assert_eq!(in_kernel(), Some(wanted()));
    });
}

#[test]
fn a_removed_table_is_gone_and_removing_it_again_is_nothing() {
    netns::inside(|| {
        let mut keeper = keeper();
        keeper.set(&wanted()).unwrap();

        assert_eq!(keeper.remove().unwrap().changes, 1);
        assert_eq!(in_kernel(), None);
        assert_eq!(keeper.remove().unwrap().way, Way::Nothing);
    });
}

#[test]
fn one_hundred_thousand_elements_are_one_batch() {
    netns::inside(|| {
        let mut table = Table::new();
        let mut set = Set::of([Type::Ipv4]);
        let mut blocks = Set::of([Type::Ipv4]).interval();
        for number in 0..100_000_u32 {
            set.insert(Ipv4Addr::from(0x0a20_0000 + number));
            blocks.insert(Ipv4Addr::from(0x0b00_0000 + 2 * number));
        }
        table.add_set(name("many"), set);
        table.add_set(name("blocks"), blocks);
        let mut keeper = keeper();
        let mut monitor = Monitor::open().unwrap();

        let started = std::time::Instant::now();
        keeper.set(&table).unwrap();
        println!(
            "100 000 + 100 000 elements committed in {:?}",
            started.elapsed()
        );
        let started = std::time::Instant::now();
        let seen = in_kernel();
        println!("and read back in {:?}", started.elapsed());

        assert!(
            seen == Some(table.clone()),
            "{} elements",
            seen.unwrap().sets["many"].elements.len()
        );
        assert!(!monitor.drain().unwrap().is_empty());
        let set = table.set_mut("many").unwrap();
        set.elements.retain(|_, _| false);
        assert_eq!(keeper.set(&table).unwrap().changes, 1);
    });
}

#[test]
fn foreign_tables_are_read_raw_and_changed_by_single_rules() {
    netns::inside(|| {
        let id = TableId::new(Family::Ip, name("nat"));
        let mut table = Table::new();
        let rule = Rule::new()
            .when(Field::Ip4Saddr.is(v4(1)))
            .counter()
            .verdict(Verdict::Return)
            .comment(Comment::lossy("theirs"));
        table.add_chain(name("WEAVE"), Chain::new().with(rule));
        let base = Base::nat(Hook::Postrouting, 100);
        table.add_chain(name("POSTROUTING"), Chain::at(base.clone()));
        let theirs = Ruleset::new().with(id.clone(), table);
        Nft::open()
            .unwrap()
            .commit(&Ruleset::diff(&Ruleset::new(), &theirs))
            .unwrap();

        let mut nft = Nft::open().unwrap();
        let generation = nft.generation().unwrap();
        assert_eq!(nft.foreign_tables(Family::Ip).unwrap(), ["nat"]);
        let chains = nft.foreign_chains(Family::Ip).unwrap();
        let found: Vec<_> = chains
            .iter()
            .map(|chain| (chain.name.as_str(), chain.base.as_ref()))
            .collect();
        assert!(found.contains(&("WEAVE", None)) && found.contains(&("POSTROUTING", Some(&base))));
        let rules = nft.foreign_rules(Family::Ip, "nat").unwrap();
        let [rule] = rules.as_slice() else {
            panic!("{rules:?}")
        };
        let names: Vec<&str> = rule.expressions.iter().map(RawExpression::name).collect();
        assert_eq!(names, ["payload", "cmp", "counter", "immediate"]);
        assert_eq!(rule.comment().unwrap().as_str(), "theirs");

        let insert = ForeignChange::InsertFirst {
            table: "nat".into(),
            chain: "WEAVE".into(),
            expressions: rule.expressions.clone(),
            comment: Some(Comment::lossy("ours")),
        };
        nft.commit_foreign(Family::Ip, generation, vec![insert.clone()])
            .unwrap();
        let rules = nft.foreign_rules(Family::Ip, "nat").unwrap();
        let comments: Vec<_> = rules.iter().filter_map(ForeignRule::comment).collect();
        assert_eq!(comments, [Comment::lossy("ours"), Comment::lossy("theirs")]);
        assert_eq!(rules[0].expressions, rules[1].expressions);

        let stale = nft
            .commit_foreign(Family::Ip, generation, vec![insert])
            .unwrap_err();
        assert!(matches!(stale, NetlinkError::Stale), "{stale}");
        let generation = nft.generation().unwrap();
        let delete = |handle| ForeignChange::DeleteRule {
            table: "nat".into(),
            chain: "WEAVE".into(),
            handle,
        };
        let error = nft
            .commit_foreign(Family::Ip, generation, vec![delete(7777)])
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("table ip nat chain WEAVE rule with handle 7777"),
            "{error}"
        );
        let chain = ForeignChange::DeleteChain {
            table: "nat".into(),
            chain: "WEAVE".into(),
        };
        nft.commit_foreign(Family::Ip, generation, vec![delete(rules[0].handle), chain])
            .unwrap();
        assert_eq!(nft.foreign_chains(Family::Ip).unwrap().len(), 1);
        let generation = nft.generation().unwrap();
        nft.commit_foreign(
            Family::Ip,
            generation,
            vec![ForeignChange::DeleteTable {
                table: "nat".into(),
            }],
        )
        .unwrap();
        assert!(nft.read(&id).unwrap().is_none());
    });
}

#[test]
fn a_policy_changes_in_place() {
    netns::inside(|| {
        let mut table = Table::new();
        let base = Base::filter(Hook::Input, 0);
        let rule = Rule::new().when(Field::NfProto.is(NfProto::Ipv6)).counter();
        table.add_chain(name("guard"), Chain::at(base.clone()).with(rule));
        let mut keeper = keeper();
        keeper.set(&table).unwrap();

        table.chain_mut("guard").unwrap().base =
            Some(base.policy(weave_npc::ruleset::Policy::Drop));

        assert_eq!(keeper.set(&table).unwrap().changes, 1);
        assert_eq!(in_kernel(), Some(table));
    });
}

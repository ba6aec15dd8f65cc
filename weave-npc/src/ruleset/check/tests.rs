use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::ruleset::{Entry, IfName, Limit, Log, NatFlags, Span, Unit, Value};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn v4(last: u8) -> Value {
    Value::Ipv4(Ipv4Addr::new(10, 0, 0, last))
}

fn span(first: u8, last: u8) -> Span {
    Span::new(v4(first), v4(last)).unwrap()
}

fn fault_in(family: Family, table: &Table) -> Option<Fault> {
    table
        .check(&TableId::new(family, name("t")))
        .err()
        .map(|invalid| invalid.fault)
}

fn fault(table: &Table) -> Option<Fault> {
    fault_in(Family::Inet, table)
}

/// A table with one chain, `a`, of one rule.
fn of_rule(rule: Rule) -> Table {
    let mut table = Table::new();
    table.add_chain(name("a"), Chain::new().with(rule));
    table
}

fn of_set(set: Set) -> Table {
    let mut table = Table::new();
    table.add_set(name("s"), set);
    table
}

fn jump(to: &str) -> Rule {
    Rule::new().verdict(Verdict::Jump(name(to)))
}

#[test]
fn names_that_lead_nowhere_are_found() {
    assert_eq!(fault(&of_rule(jump("b"))), Some(Fault::NoChain(name("b"))));
    let lookup = Rule::new().when(Field::Ip4Saddr.in_set(&name("s")));
    assert_eq!(fault(&of_rule(lookup)), Some(Fault::NoSet(name("s"))));
    let mut map = Set::verdict_map([Type::Ipv4]);
    map.insert_verdict(v4(1), Verdict::Goto(name("b")));
    assert_eq!(fault(&of_set(map)), Some(Fault::NoChain(name("b"))));
}

#[test]
fn a_chain_with_a_hook_is_no_target() {
    let mut table = of_rule(jump("b"));
    table.add_chain(name("b"), Chain::at(Base::filter(Hook::Input, 0)));
    assert_eq!(fault(&table), Some(Fault::BaseChain(name("b"))));
}

#[test]
fn jumps_that_go_round_are_found_with_and_without_a_hook() {
    let mut table = of_rule(jump("b"));
    table.add_chain(name("b"), Chain::new().with(jump("a")));
    assert_eq!(fault(&table), Some(Fault::Loop));

    table.add_chain(
        name("in"),
        Chain::at(Base::filter(Hook::Input, 0)).with(jump("a")),
    );
    assert_eq!(fault(&table), Some(Fault::Loop));

    let mut map = Set::verdict_map([Type::Ipv4]);
    map.insert_verdict(v4(1), Verdict::Jump(name("a")));
    let mut table = of_rule(Rule::new().vmap([Field::Ip4Saddr], &name("m")));
    table.add_set(name("m"), map);
    assert_eq!(fault(&table), Some(Fault::Loop));
}

#[test]
fn sixteen_jumps_are_possible_and_seventeen_are_not() {
    let deep = |jumps: usize| {
        let mut table = Table::new();
        for level in 0..jumps {
            let chain = if level == 0 {
                Chain::at(Base::filter(Hook::Input, 0))
            } else {
                Chain::new()
            };
            table.add_chain(
                name(&format!("c{level}")),
                chain.with(jump(&format!("c{}", level + 1))),
            );
        }
        table.add_chain(name(&format!("c{jumps}")), Chain::new());
        table
    };
    assert_eq!(fault(&deep(16)), None);
    assert_eq!(fault(&deep(17)), Some(Fault::Loop));
}

#[test]
fn overlaps_are_found_and_neighbours_are_none() {
    let ranges = |spans: &[Span]| {
        let mut set = Set::of([Type::Ipv4]).interval();
        spans.iter().for_each(|span| assert!(set.insert(*span)));
        fault(&of_set(set))
    };
    assert_eq!(ranges(&[span(1, 4), span(5, 9)]), None);
    assert!(matches!(
        ranges(&[span(1, 5), span(5, 9)]),
        Some(Fault::Overlap(..))
    ));
    assert!(matches!(
        ranges(&[span(1, 9), span(3, 4)]),
        Some(Fault::Overlap(..))
    ));
}

#[test]
fn boxes_overlap_only_if_every_part_does() {
    let port = |first, last| Span::new(Value::Port(first), Value::Port(last)).unwrap();
    let boxes = |keys: &[(Span, Span)]| {
        let mut set = Set::of([Type::Ipv4, Type::Port]).interval();
        keys.iter()
            .for_each(|(a, b)| assert!(set.insert(Key::concat([*a, *b]))));
        fault(&of_set(set))
    };
    assert_eq!(
        boxes(&[(span(1, 5), port(1, 5)), (span(3, 9), port(6, 9))]),
        None
    );
    assert_eq!(
        boxes(&[(span(1, 5), port(1, 5)), (span(6, 9), port(1, 5))]),
        None
    );
    assert!(matches!(
        boxes(&[
            (span(1, 5), port(1, 5)),
            (span(2, 2), port(7, 9)),
            (span(5, 9), port(5, 9))
        ]),
        Some(Fault::Overlap(..))
    ));
}

#[test]
fn keys_that_do_not_fit_their_set_are_found() {
    let mut exact = Set::of([Type::Ipv4]);
    exact.insert(span(1, 4));
    assert!(matches!(fault(&of_set(exact)), Some(Fault::Key(_))));

    let mut other = Set::of([Type::Ipv4]);
    other.insert(Value::Port(1));
    assert!(matches!(fault(&of_set(other)), Some(Fault::Type { .. })));

    let mut verdictless = Set::verdict_map([Type::Ipv4]);
    verdictless.insert(v4(1));
    assert!(matches!(
        fault(&of_set(verdictless)),
        Some(Fault::Type { .. })
    ));

    let mut lasting = Set::of([Type::Ipv4]);
    let entry = Entry {
        timeout: Some(Duration::from_secs(1)),
        ..Entry::default()
    };
    lasting.elements.insert(Key::from(v4(1)), entry);
    assert!(matches!(fault(&of_set(lasting)), Some(Fault::Timeout(_))));

    for key in [vec![], vec![Type::Port; 6], vec![Type::IfName; 5]] {
        assert!(matches!(
            fault(&of_set(Set::of(key))),
            Some(Fault::Number(_))
        ));
    }
    assert!(matches!(
        fault(&of_set(Set::of([Type::Mark]).interval())),
        Some(Fault::Number(_))
    ));
}

#[test]
fn comparisons_of_different_types_are_found() {
    let wlan = IfName::new("wlan0").unwrap();
    for test in [
        Field::Ip4Saddr.is(Value::Port(1)),
        Field::DestPort.within(span(1, 2)),
        Field::Ip6Saddr.in_net("10.0.0.0/8".parse().unwrap()),
        Field::Ip4Saddr.starts_with(wlan),
        Field::DestPort.masked(1, 1),
        Field::Mark.masked(1, 2),
        Field::Ip4Saddr.one_of([Value::Port(1), Value::Port(2)]),
    ] {
        let text = test.to_string();
        assert!(
            matches!(
                fault(&of_rule(Rule::new().when(test))),
                Some(Fault::Type { .. })
            ),
            "{text}"
        );
    }
    let everything = Field::Ip4Saddr.in_net("0.0.0.0/0".parse().unwrap());
    assert!(matches!(
        fault(&of_rule(Rule::new().when(everything))),
        Some(Fault::Number(_))
    ));
}

#[test]
fn statements_that_mean_nothing_are_found() {
    assert_eq!(fault(&of_rule(Rule::new())), Some(Fault::Empty));
    let behind = Rule::new().verdict(Verdict::Drop).counter();
    assert_eq!(fault(&of_rule(behind)), Some(Fault::Unreachable));
    let never = Limit {
        rate: 0,
        per: Unit::Second,
        burst: 1,
        is_over: false,
    };
    assert!(matches!(
        fault(&of_rule(Rule::new().limit(never))),
        Some(Fault::Number(_))
    ));
    let groupless = Log {
        snaplen: 9,
        ..Log::default()
    };
    assert!(matches!(
        fault(&of_rule(Rule::new().log(groupless))),
        Some(Fault::Number(_))
    ));
    let reset = Rule::new().then(Statement::Reject(Reject::TcpReset));
    assert!(matches!(fault(&of_rule(reset)), Some(Fault::Number(_))));
}

#[test]
fn what_a_family_does_not_have_is_found() {
    let frame = of_rule(Rule::new().when(Field::EtherSaddr.is(Value::Ether([2; 6]))));
    assert!(matches!(fault(&frame), Some(Fault::Family(_))));
    assert_eq!(fault_in(Family::Bridge, &frame), None);

    let translate = of_rule(Rule::new().then(Statement::Masquerade(NatFlags::default())));
    assert_eq!(fault(&translate), None);
    assert!(matches!(
        fault_in(Family::Bridge, &translate),
        Some(Fault::Family(_))
    ));

    let at = |base: Base| {
        let mut table = Table::new();
        table.add_chain(name("a"), Chain::at(base));
        table
    };
    assert!(matches!(
        fault(&at(Base::nat(Hook::Forward, 0))),
        Some(Fault::Family(_))
    ));
    assert!(matches!(
        fault(&at(Base::filter(Hook::Ingress, 0))),
        Some(Fault::Family(_))
    ));
    let device = at(Base::filter(Hook::Ingress, 0).device(IfName::new("eth0").unwrap()));
    assert_eq!(fault_in(Family::Netdev, &device), None);
}

#[test]
fn chains_that_the_kernel_enters_at_one_place_are_found() {
    let mut table = Table::new();
    table.add_chain(name("a"), Chain::at(Base::filter(Hook::Input, 0)));
    table.add_chain(name("b"), Chain::at(Base::filter(Hook::Input, 1)));
    assert_eq!(fault(&table), None);
    table.add_chain(name("c"), Chain::at(Base::filter(Hook::Input, 0)));
    assert_eq!(fault(&table), Some(Fault::Tie(name("a"))));
}

#[test]
fn a_fault_names_its_object() {
    let table = of_rule(jump("b"));
    let error = Ruleset::new()
        .with(TableId::new(Family::Inet, name("t")), table)
        .check()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "table inet t chain a rule 0: leads to chain b, which is not there"
    );
}

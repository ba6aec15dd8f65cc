use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::ruleset::{
    Field, IfName, Key, Limit, Log, MarkChange, NatFlags, Rule, Set, Span, Transport, Type, Unit,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn packet() -> Packet {
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    Packet::new(address(1), address(2), 6, Transport::Ports(40_000, 80))
}

fn walk(table: Table, packet: &Packet) -> Outcome {
    let ruleset = Ruleset::new().with(TableId::new(Family::Inet, name("t")), table);
    ruleset.check().unwrap();
    Walk::new(&ruleset).run(Hook::Forward, packet)
}

fn forward(rules: impl IntoIterator<Item = Rule>) -> Chain {
    let mut chain = Chain::at(Base::filter(Hook::Forward, 0).policy(Policy::Drop));
    chain.rules.extend(rules);
    chain
}

fn table(rules: impl IntoIterator<Item = Rule>) -> Table {
    let mut table = Table::new();
    table.add_chain(name("forward"), forward(rules));
    table
}

fn verdict(verdict: Verdict) -> Rule {
    Rule::new().verdict(verdict)
}

fn log(prefix: &str) -> Rule {
    Rule::new().log(Log {
        prefix: Some(Comment::lossy(prefix)),
        ..Log::default()
    })
}

#[test]
fn the_policy_decides_at_the_end_and_after_a_return() {
    assert_eq!(walk(table([]), &packet()).fate, Fate::Drop);
    let rules = [verdict(Verdict::Return), verdict(Verdict::Accept)];
    assert_eq!(walk(table(rules), &packet()).fate, Fate::Drop);
}

#[test]
fn a_jump_comes_back_and_a_goto_does_not() {
    let called = || {
        Chain::new()
            .with(log("called"))
            .with(verdict(Verdict::Return))
            .with(log("never"))
    };
    let mut jumping = table([verdict(Verdict::Jump(name("c"))), log("back")]);
    jumping.add_chain(name("c"), called());
    assert_eq!(
        walk(jumping, &packet()).logged().collect::<Vec<_>>(),
        ["called", "back"]
    );

    let mut going = table([verdict(Verdict::Goto(name("c"))), log("back")]);
    going.add_chain(name("c"), called());
    assert_eq!(
        walk(going, &packet()).logged().collect::<Vec<_>>(),
        ["called"]
    );

    // Out of a chain that was gone to, back to where the chain before was jumped from.
    let mut both = table([verdict(Verdict::Jump(name("b"))), log("first")]);
    both.add_chain(
        name("b"),
        Chain::new()
            .with(verdict(Verdict::Goto(name("c"))))
            .with(log("second")),
    );
    both.add_chain(name("c"), called());
    assert_eq!(
        walk(both, &packet()).logged().collect::<Vec<_>>(),
        ["called", "first"]
    );
}

#[test]
fn accept_ends_one_base_chain_and_drop_ends_all() {
    let mut two = table([verdict(Verdict::Accept)]);
    let later = |fate| {
        Chain::at(Base::filter(Hook::Forward, 5))
            .with(log("later"))
            .with(verdict(fate))
    };
    two.add_chain(name("later"), later(Verdict::Drop));
    let outcome = walk(two, &packet());
    assert_eq!((outcome.fate, outcome.logged().count()), (Fate::Drop, 1));

    let mut two = table([verdict(Verdict::Drop)]);
    two.add_chain(name("later"), later(Verdict::Accept));
    let outcome = walk(two, &packet());
    assert_eq!((outcome.fate, outcome.logged().count()), (Fate::Drop, 0));
}

#[test]
fn a_verdict_map_without_the_key_ends_the_rule() {
    let mut map = Set::verdict_map([Type::Ipv4]);
    map.insert_verdict(Ipv4Addr::new(10, 0, 0, 2), Verdict::Accept);
    let mut table = table([Rule::new().vmap([Field::Ip4Saddr], &name("m")), log("next")]);
    table.add_set(name("m"), map);
    assert_eq!(walk(table.clone(), &packet()).logged().count(), 1);
    table.chain_mut("forward").unwrap().rules[0] = Rule::new().vmap([Field::Ip4Daddr], &name("m"));
    assert_eq!(walk(table, &packet()).fate, Fate::Accept);
}

#[test]
fn a_field_that_is_not_there_ends_the_rule_also_when_negated() {
    let v6 = Field::Ip6Saddr.is(Ipv6Addr::LOCALHOST);
    let rules = [
        Rule::new().when(v6.clone()).verdict(Verdict::Accept),
        Rule::new().when(v6.negate()).verdict(Verdict::Accept),
        Rule::new()
            .when(Field::IcmpType.is(Value::Icmp(8)).negate())
            .verdict(Verdict::Accept),
    ];
    assert_eq!(walk(table(rules), &packet()).fate, Fate::Drop);
}

#[test]
fn a_missing_device_has_an_empty_name() {
    let weave = IfName::new("weave").unwrap();
    let rules = |test: Match| table([Rule::new().when(test).verdict(Verdict::Accept)]);
    assert_eq!(
        walk(rules(Field::OifName.is(weave).negate()), &packet()).fate,
        Fate::Accept
    );
    assert_eq!(
        walk(rules(Field::OifName.is(weave)), &packet()).fate,
        Fate::Drop
    );
}

#[test]
fn boxes_hold_if_every_part_does() {
    let mut boxes = Set::of([Type::Ipv4, Type::Port]).interval();
    let net: ipnet::IpNet = "10.0.0.0/30".parse().unwrap();
    let ports = Span::new(Value::Port(80), Value::Port(90)).unwrap();
    boxes.insert(Key::concat([net.into(), ports]));
    let test = Match::concat([Field::Ip4Saddr, Field::DestPort], SetRef::Named(name("b")));
    let mut table = table([Rule::new().when(test).verdict(Verdict::Accept)]);
    table.add_set(name("b"), boxes);
    assert_eq!(walk(table.clone(), &packet()).fate, Fate::Accept);
    let mut other = packet();
    if let super::super::Payload::Ip { transport, .. } = &mut other.payload {
        *transport = Transport::Ports(40_000, 91);
    }
    assert_eq!(walk(table, &other).fate, Fate::Drop);
}

#[test]
fn marks_are_seen_by_later_rules() {
    let rules = [
        Rule::new().then(Statement::SetMark(MarkChange::set_bits(0x10))),
        Rule::new()
            .when(Field::Mark.masked(0x10, 0x10))
            .verdict(Verdict::Accept),
    ];
    let outcome = walk(table(rules), &packet());
    assert_eq!((outcome.fate, outcome.mark), (Fate::Accept, 0x10));
}

#[test]
fn chains_that_translate_see_new_connections_only_and_accept() {
    let mut table = Table::new();
    let masquerade = Rule::new().then(Statement::Masquerade(NatFlags::default()));
    table.add_chain(
        name("post"),
        Chain::at(Base::nat(Hook::Postrouting, 100)).with(masquerade),
    );
    let ruleset = Ruleset::new().with(TableId::new(Family::Ip, name("t")), table);
    let mut packet = packet();
    let steps = |packet: &Packet| {
        let outcome = Walk::new(&ruleset).run(Hook::Postrouting, packet);
        assert_eq!(outcome.fate, Fate::Accept);
        outcome
            .steps
            .into_iter()
            .map(|step| step.deed)
            .collect::<Vec<_>>()
    };
    assert_eq!(steps(&packet), [Deed::Masqueraded]);
    packet.ct_state = CtState::ESTABLISHED;
    assert_eq!(steps(&packet), []);
}

#[test]
fn what_conntrack_leaves_alone_is_not_translated() {
    let raw = Rule::new().then(Statement::NoTrack);
    let translate = Rule::new().then(Statement::Dnat(NatTarget {
        address: [192, 0, 2, 1].into(),
        port: None,
    }));
    let mut table = Table::new();
    let chain = Chain::at(Base::filter(Hook::Prerouting, -300)).with(raw);
    table.add_chain(name("raw"), chain);
    let chain = Chain::at(Base::nat(Hook::Prerouting, -100)).with(translate);
    table.add_chain(name("nat"), chain);
    let ruleset = Ruleset::new().with(TableId::new(Family::Ip, name("t")), table);
    ruleset.check().unwrap();

    let outcome = Walk::new(&ruleset).run(Hook::Prerouting, &packet());

    let deeds: Vec<_> = outcome.steps.into_iter().map(|step| step.deed).collect();
    assert_eq!(deeds[0], Deed::Untracked);
    assert!(!deeds.iter().any(|deed| matches!(deed, Deed::Dnat(_))));
}

#[test]
fn limits_never_bite() {
    let limit = Limit {
        rate: 1,
        per: Unit::Hour,
        burst: 1,
        is_over: false,
    };
    let rules = [
        Rule::new()
            .limit(Limit {
                is_over: true,
                ..limit
            })
            .verdict(Verdict::Drop),
        Rule::new().limit(limit).verdict(Verdict::Accept),
    ];
    assert_eq!(walk(table(rules), &packet()).fate, Fate::Accept);
}

#[test]
fn a_step_names_its_rule() {
    let outcome = walk(
        table([Rule::new().counter(), verdict(Verdict::Accept)]),
        &packet(),
    );
    let steps: Vec<(Option<usize>, Deed)> = outcome
        .steps
        .into_iter()
        .map(|step| (step.rule, step.deed))
        .collect();
    assert_eq!(
        steps,
        [
            (Some(0), Deed::Counted),
            (Some(1), Deed::Verdict(Verdict::Accept))
        ]
    );
}

//! Rulesets that use everything there is.

use std::net::Ipv4Addr;
use std::time::Duration;

use weave_npc::ruleset::{
    Base, Chain, Comment, CtState, CtStatus, DataType, Direction, Entry, Family, FibType, Field,
    Hook, IfName, Key, Limit, Log, MarkChange, Match, Name, NatFlags, NatTarget, NfProto, PktType,
    Policy, Reject, Rule, Ruleset, Set, SetRef, Span, Statement, Table, TableId, Type, Unit, Value,
    Verdict,
};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn if_name(text: &str) -> IfName {
    IfName::new(text).unwrap()
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> Value {
    Value::Ipv4(Ipv4Addr::new(a, b, c, d))
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

pub(crate) fn inet_id() -> TableId {
    TableId::new(Family::Inet, name("weave-test"))
}

pub(crate) fn bridge_id() -> TableId {
    TableId::new(Family::Bridge, name("weave-guard"))
}

/// All kinds of sets, all fields of packets, all statements.
pub(crate) fn everything() -> Ruleset {
    Ruleset::new()
        .with(inet_id(), inet())
        .with(bridge_id(), bridge())
}

fn sets(table: &mut Table) {
    let mut peers = Set::of([Type::Ipv4]);
    peers.insert(v4(10, 32, 0, 7));
    peers.insert(v4(10, 32, 0, 9));
    let note = Entry {
        comment: Some(Comment::lossy("shop/db-0")),
        ..Entry::default()
    };
    peers.elements.insert(Key::from(v4(10, 32, 0, 8)), note);
    table.add_set(name("s4-1"), peers);

    let mut blocks = Set::of([Type::Ipv4]).interval();
    for text in ["10.0.0.0/8", "11.0.0.0/8", "192.168.0.0/25", "224.0.0.0/3"] {
        blocks.insert(net(text));
    }
    blocks.insert(Span::new(v4(172, 16, 0, 1), v4(172, 16, 0, 9)).unwrap());
    blocks.insert(v4(0, 0, 0, 0));
    table.add_set(name("b4-1"), blocks);

    let mut blocks = Set::of([Type::Ipv6]).interval();
    blocks.insert(net("fd00::/8"));
    blocks.insert(net("ffff::/16"));
    table.add_set(name("b6-1"), blocks);

    let mut own = Set::of([Type::Ipv4, Type::Ipv4]);
    own.insert(Key::concat([
        v4(10, 32, 0, 7).into(),
        v4(10, 32, 0, 7).into(),
    ]));
    table.add_set(name("self4"), own);

    let mut boxes = Set::of([Type::Ipv4, Type::Proto, Type::Port]).interval();
    let ports = Span::new(Value::Port(80), Value::Port(90)).unwrap();
    boxes.insert(Key::concat([
        net("10.0.0.0/8").into(),
        Value::Proto(6).into(),
        ports,
    ]));
    boxes.insert(Key::concat([
        net("10.0.0.0/8").into(),
        Value::Proto(17).into(),
        Span::all_ports(),
    ]));
    boxes.insert(Key::concat([
        v4(11, 0, 0, 1).into(),
        Value::Proto(132).into(),
        Value::Port(9).into(),
    ]));
    table.add_set(name("box4"), boxes);

    let mut boxes = Set::of([Type::Ipv6, Type::Proto, Type::Port]).interval();
    boxes.insert(Key::concat([
        net("fd00::/9").into(),
        Value::Proto(6).into(),
        ports,
    ]));
    table.add_set(name("box6"), boxes);

    let mut pending = Set::of([Type::Ipv4]).with_timeouts();
    let minute = Entry {
        timeout: Some(Duration::from_secs(60)),
        ..Entry::default()
    };
    pending.elements.insert(Key::from(v4(10, 32, 0, 1)), minute);
    pending.insert(v4(10, 32, 0, 2));
    table.add_set(name("pend4"), pending);

    let mut dispatch = Set::verdict_map([Type::Ipv4]);
    dispatch.insert_verdict(v4(10, 32, 0, 7), Verdict::Jump(name("in-1")));
    dispatch.insert_verdict(v4(10, 32, 0, 8), Verdict::Goto(name("deny-in")));
    dispatch.insert_verdict(v4(10, 32, 0, 9), Verdict::Drop);
    table.add_set(name("in4"), dispatch);

    let mut ranges = Set::verdict_map([Type::Port]).interval();
    ranges.insert_verdict(
        Span::new(Value::Port(1), Value::Port(1023)).unwrap(),
        Verdict::Return,
    );
    ranges.insert_verdict(
        Span::new(Value::Port(1024), Value::Port(65535)).unwrap(),
        Verdict::Accept,
    );
    table.add_set(name("ports"), ranges);

    let mut names = Set::of([Type::IfName]);
    names.insert(if_name("weave"));
    table.add_set(name("ifs"), names);

    let mut marks = Set::map([Type::Ipv4], Type::Mark);
    marks.insert_value(v4(10, 32, 0, 7), Value::Mark(5));
    table.add_set(name("marks"), marks);
    let mut keys = Set::of([Type::Mark]);
    keys.insert(Value::Mark(0x4000));
    table.add_set(name("markset"), keys);
    assert_eq!(table.sets["marks"].data, DataType::Value(Type::Mark));
}

fn states() -> Statement {
    let mut map = Set::verdict_map([Type::CtState]);
    map.insert_verdict(CtState::ESTABLISHED, Verdict::Accept);
    map.insert_verdict(CtState::RELATED, Verdict::Accept);
    Statement::Vmap(vec![Field::CtState], SetRef::Anonymous(Box::new(map)))
}

fn services() -> Match {
    let mut set = Set::of([Type::Proto, Type::Port]);
    set.insert(Key::concat([
        Value::Proto(6).into(),
        Value::Port(443).into(),
    ]));
    set.insert(Key::concat([
        Value::Proto(17).into(),
        Value::Port(53).into(),
    ]));
    Match::concat(
        [Field::L4Proto, Field::DestPort],
        SetRef::Anonymous(Box::new(set)),
    )
}

fn services_with_ranges() -> Match {
    let mut set = Set::of([Type::Proto, Type::Port]).interval();
    let ports = Span::new(Value::Port(8000), Value::Port(8080)).unwrap();
    set.insert(Key::concat([Value::Proto(6).into(), ports]));
    set.insert(Key::concat([
        Value::Proto(17).into(),
        Value::Port(53).into(),
    ]));
    Match::concat(
        [Field::L4Proto, Field::DestPort],
        SetRef::Anonymous(Box::new(set)),
    )
}

fn forward() -> Vec<Rule> {
    let named = |set: &str| SetRef::Named(name(set));
    let ports = Span::new(Value::Port(1000), Value::Port(2000)).unwrap();
    let drop = |condition: Match| Rule::new().when(condition).verdict(Verdict::Drop);
    vec![
        Rule::new().then(states()),
        Rule::new()
            .when(
                Field::Icmpv6Type
                    .within(Span::new(Value::Icmpv6(133), Value::Icmpv6(137)).unwrap()),
            )
            .verdict(Verdict::Accept),
        Rule::new()
            .when(Field::IcmpType.is(Value::Icmp(8)))
            .counter()
            .verdict(Verdict::Accept),
        Rule::new()
            .when(Field::Ip4Daddr.in_net(net("224.0.0.0/4")))
            .verdict(Verdict::Accept),
        Rule::new()
            .when(Field::Ip6Daddr.in_net(net("ff00::/8")))
            .verdict(Verdict::Accept),
        drop(Field::Ip4Saddr.in_set(&name("pend4"))),
        drop(Field::Ip4Saddr.in_set(&name("b4-1")).negate()),
        drop(Field::Ip6Saddr.in_set(&name("b6-1"))),
        drop(Match::concat(
            [Field::Ip4Saddr, Field::Ip4Daddr],
            named("self4"),
        )),
        drop(Match::concat(
            [Field::Ip4Saddr, Field::L4Proto, Field::DestPort],
            named("box4"),
        )),
        drop(
            Match::concat(
                [Field::Ip6Daddr, Field::L4Proto, Field::DestPort],
                named("box6"),
            )
            .negate(),
        ),
        Rule::new().vmap([Field::Ip4Daddr], &name("in4")),
        Rule::new()
            .when(Field::L4Proto.is(Value::Proto(6)))
            .vmap([Field::DestPort], &name("ports")),
        Rule::new()
            .when(services())
            .counter()
            .verdict(Verdict::Return)
            .comment(Comment::lossy("shop/web#0")),
        Rule::new()
            .when(services_with_ranges())
            .verdict(Verdict::Accept),
        drop(Field::IifName.starts_with(if_name("veth"))),
        drop(Field::IifName.is(if_name("weave")).negate()),
        drop(Field::OifName.in_set(&name("ifs"))),
        drop(Field::Mark.in_set(&name("markset"))),
        drop(Field::Mark.is(Value::Mark(7))),
        drop(Field::Mark.masked(0x4_0000, 0)),
        drop(Field::CtMark.masked(0xff, 0x10).negate()),
        drop(Field::PktType.is(PktType::Multicast)),
        drop(Field::CtStatus.is(CtStatus::DNAT)),
        drop(Field::CtState.is(CtState::NEW.or(CtState::INVALID))),
        drop(Field::CtState.is(CtState::ESTABLISHED).negate()),
        drop(Field::CtDirection.is(Direction::Reply)),
        drop(Field::FibDaddrType.is(FibType::Local)),
        drop(Field::FibSaddrType.is(FibType::Local).negate()),
        drop(Field::NfProto.is(NfProto::Ipv6)),
        drop(Field::Ip4Saddr.is(v4(1, 2, 3, 4)).negate()),
        drop(Field::Ip4Saddr.in_net(net("10.32.0.0/12")).negate()),
        drop(
            Field::Ip4Saddr
                .within(Span::new(v4(1, 0, 0, 1), v4(1, 0, 0, 9)).unwrap())
                .negate(),
        ),
        Rule::new()
            .when(Field::L4Proto.one_of([Value::Proto(6), Value::Proto(17)]))
            .when(Field::DestPort.one_of([Span::from(Value::Port(80)), ports]))
            .verdict(Verdict::Jump(name("in-1"))),
        Rule::new()
            .when(Field::L4Proto.is(Value::Proto(17)))
            .when(Field::SourcePort.within(ports))
            .verdict(Verdict::Goto(name("in-1"))),
        Rule::new().then(Statement::SetMark(MarkChange::set(0x11))),
        Rule::new().then(Statement::SetMark(MarkChange::set_bits(0x100))),
        Rule::new().then(Statement::SetMark(MarkChange::clear_bits(0x100))),
        Rule::new().then(Statement::SetMark(MarkChange {
            keep: 0xffff_ff0f,
            toggle: 0x30,
        })),
        Rule::new()
            .when(Field::L4Proto.is(Value::Proto(6)))
            .then(Statement::Reject(Reject::TcpReset)),
        Rule::new().then(Statement::Reject(Reject::AdminProhibited)),
        Rule::new().then(Statement::Reject(Reject::PortUnreachable)),
    ]
}

fn inet() -> Table {
    let mut table = Table::new();
    sets(&mut table);
    let limit = Limit {
        rate: 10,
        per: Unit::Second,
        burst: 5,
        is_over: false,
    };
    let log = Log {
        prefix: Some(Comment::lossy("in 1 ")),
        group: Some(86),
        snaplen: 128,
    };
    let accept = Rule::new()
        .when(Field::Ip4Saddr.in_set(&name("s4-1")))
        .counter()
        .verdict(Verdict::Return)
        .comment(Comment::lossy("shop/db#1"));
    let deny = Rule::new()
        .when(Field::CtState.is(CtState::NEW))
        .limit(limit)
        .log(log);
    let over = Limit {
        rate: 3,
        per: Unit::Minute,
        burst: 8,
        is_over: true,
    };
    table.add_chain(
        name("in-1"),
        Chain::new()
            .with(accept)
            .with(Rule::new().verdict(Verdict::Goto(name("deny-in")))),
    );
    let deny = Chain::new()
        .with(deny)
        .with(Rule::new().limit(over).counter())
        .with(Rule::new().counter().verdict(Verdict::Drop));
    table.add_chain(name("deny-in"), deny);
    let mut chain = Chain::at(Base::filter(Hook::Forward, -10));
    chain.rules = forward();
    table.add_chain(name("forward"), chain);
    table.add_chain(
        name("guard"),
        Chain::at(Base::filter(Hook::Input, 5).policy(Policy::Drop)),
    );

    let pods = net("10.32.0.0/12");
    let postrouting = Chain::at(Base::nat(Hook::Postrouting, 110))
        .with(
            Rule::new()
                .when(Field::OifName.is(if_name("weave")).negate())
                .when(Field::Ip4Saddr.in_net(pods))
                .when(Field::Ip4Daddr.in_net(pods).negate())
                .counter()
                .then(Statement::Masquerade(NatFlags::default())),
        )
        .with(Rule::new().then(Statement::Masquerade(NatFlags {
            random: true,
            fully_random: false,
            persistent: true,
        })))
        .with(
            Rule::new()
                .when(Field::Ip4Saddr.is(v4(1, 1, 1, 1)))
                .then(Statement::Snat(NatTarget {
                    address: Ipv4Addr::new(2, 2, 2, 2).into(),
                    port: None,
                })),
        );
    table.add_chain(name("postrouting"), postrouting);
    let to = |address: &str, port| NatTarget {
        address: address.parse().unwrap(),
        port,
    };
    let prerouting = Chain::at(Base::nat(Hook::Prerouting, -110))
        .with(
            Rule::new()
                .when(Field::L4Proto.is(Value::Proto(6)))
                .when(Field::DestPort.is(Value::Port(80)))
                .then(Statement::Dnat(to("1.2.3.4", Some(81)))),
        )
        .with(
            Rule::new()
                .when(Field::NfProto.is(NfProto::Ipv6))
                .when(Field::L4Proto.is(Value::Proto(17)))
                .then(Statement::Dnat(to("fd00::1", Some(53)))),
        );
    table.add_chain(name("prerouting"), prerouting);
    let raw = Chain::at(Base::filter(Hook::Prerouting, -300)).with(
        Rule::new()
            .when(Field::IifName.is(if_name("weave")).negate())
            .when(Field::L4Proto.is(Value::Proto(17)))
            .when(Field::DestPort.is(Value::Port(6784)))
            .then(Statement::NoTrack),
    );
    table.add_chain(name("raw"), raw);
    table
}

fn bridge() -> Table {
    let mut table = Table::new();
    let mut guard = Set::of([Type::IfName, Type::Ether, Type::Ipv4]);
    let mac = Value::Ether([2, 0, 0, 0, 0, 1]);
    guard.insert(Key::concat([
        if_name("vethwepl1").into(),
        mac.into(),
        v4(10, 32, 0, 7).into(),
    ]));
    table.add_set(name("guard4"), guard);
    let own = Match::concat(
        [Field::IifName, Field::EtherSaddr, Field::Ip4Saddr],
        SetRef::Named(name("guard4")),
    );
    let arp = Match::concat(
        [Field::IifName, Field::ArpSaddrEther, Field::ArpSaddrIp],
        SetRef::Named(name("guard4")),
    );
    let chain = Chain::at(Base::filter(Hook::Prerouting, -300))
        .with(
            Rule::new()
                .when(own.clone())
                .then(Statement::SetMark(MarkChange::set_bits(0x100))),
        )
        .with(
            Rule::new()
                .when(Field::EtherType.is(Value::EtherType(0x0800)))
                .when(own.negate())
                .verdict(Verdict::Drop),
        )
        .with(
            Rule::new()
                .when(arp.negate())
                .counter()
                .verdict(Verdict::Drop),
        )
        .with(
            Rule::new()
                .when(Field::ArpOperation.is(Value::ArpOp(1)))
                .verdict(Verdict::Accept),
        )
        .with(
            Rule::new()
                .when(Field::ArpSaddrIp.is(v4(1, 1, 1, 1)).negate())
                .verdict(Verdict::Drop),
        )
        .with(
            Rule::new()
                .when(Field::Ip6Saddr.in_net(net("fe80::/10")))
                .verdict(Verdict::Drop),
        )
        .with(
            Rule::new()
                .when(Field::IifName.starts_with(if_name("vethwe")))
                .when(
                    Field::EtherType
                        .one_of([Value::EtherType(0x0800), Value::EtherType(0x0806)])
                        .negate(),
                )
                .verdict(Verdict::Drop),
        )
        .with(
            Rule::new()
                .when(Field::EtherDaddr.is(Value::Ether([0xff; 6])))
                .verdict(Verdict::Accept),
        )
        .with(
            Rule::new()
                .when(Field::Protocol.is(Value::EtherType(0x86dd)))
                .counter(),
        );
    table.add_chain(name("prerouting"), chain);
    table
}

//! Random tables that pass the check, about packets on the loopback device.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use weave_npc::ruleset::{
    Base, Chain, Comment, CtState, Entry, Family, Field, Hook, IfName, Key, MarkChange, Match,
    Name, NfProto, Policy, Rule, Set, SetRef, Span, Statement, Table, TableId, Type, Value,
    Verdict,
};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn id() -> TableId {
    TableId::new(Family::Inet, name("weave-prop"))
}

/// Some chains that may be there; each leads only to later ones, so no jump goes round.
const CHAINS: [&str; 4] = ["c0", "c1", "c2", "c3"];
const SETS: [&str; 5] = ["addresses", "ranges", "boxes", "dispatch", "pending"];

fn address() -> impl Strategy<Value = Value> {
    (0_u8..6).prop_map(|last| Value::Ipv4(Ipv4Addr::new(127, 0, 0, last + 1)))
}

fn note() -> impl Strategy<Value = Option<Comment>> {
    prop::option::weighted(
        0.3,
        prop_oneof![Just(Comment::lossy("a")), Just(Comment::lossy("b"))],
    )
}

fn addresses() -> impl Strategy<Value = Set> {
    btree_map(address(), note(), 0..5).prop_map(|members| {
        let mut set = Set::of([Type::Ipv4]);
        for (member, comment) in members {
            set.elements.insert(
                Key::from(member),
                Entry {
                    comment,
                    ..Entry::default()
                },
            );
        }
        set
    })
}

/// Disjoint ranges, neighbours among them, up to both ends of the space.
fn spans() -> impl Strategy<Value = Vec<Span>> {
    btree_set(
        prop_oneof![2 => 0_u32..2, 9 => LOOPBACK..LOOPBACK + 12, 1 => Just(u32::MAX - 1), 1 => Just(u32::MAX)],
        0..8,
    )
    .prop_map(|cuts| {
        let cuts: Vec<u32> = cuts.into_iter().collect();
        let value = |number: u32| Value::Ipv4(Ipv4Addr::from(number));
        cuts.chunks(2)
            .map(|pair| Span::new(value(pair[0]), value(*pair.last().unwrap())).unwrap())
            .collect()
    })
}

fn ranges() -> impl Strategy<Value = Set> {
    spans().prop_map(|spans| {
        let mut set = Set::of([Type::Ipv4]).interval();
        spans.into_iter().for_each(|span| assert!(set.insert(span)));
        set
    })
}

/// Disjoint in the first part.
fn boxes() -> impl Strategy<Value = Set> {
    (spans(), vec((0_u16..9, 0_u16..9), 8)).prop_map(|(spans, ports)| {
        let mut set = Set::of([Type::Ipv4, Type::Port]).interval();
        for (span, (low, more)) in spans.into_iter().zip(ports) {
            let ports = Span::new(Value::Port(low), Value::Port(low + more)).unwrap();
            set.insert(Key::concat([span, ports]));
        }
        set
    })
}

fn pending() -> impl Strategy<Value = Set> {
    btree_map(address(), prop::option::of(60_u64..65), 0..4).prop_map(|members| {
        let mut set = Set::of([Type::Ipv4]).with_timeouts();
        for (member, seconds) in members {
            let timeout = seconds.map(|seconds| Duration::from_secs(seconds * 10));
            set.elements.insert(
                Key::from(member),
                Entry {
                    timeout,
                    ..Entry::default()
                },
            );
        }
        set
    })
}

fn verdict(after: usize) -> impl Strategy<Value = Verdict> {
    let jumps = CHAINS[after.min(CHAINS.len())..]
        .iter()
        .flat_map(|chain| [Verdict::Jump(name(chain)), Verdict::Goto(name(chain))]);
    let all: Vec<Verdict> = [Verdict::Accept, Verdict::Drop, Verdict::Return]
        .into_iter()
        .chain(jumps)
        .collect();
    prop::sample::select(all)
}

fn dispatch() -> impl Strategy<Value = Set> {
    btree_map(address(), verdict(2), 0..5).prop_map(|members| {
        let mut set = Set::verdict_map([Type::Ipv4]);
        members
            .into_iter()
            .for_each(|(member, verdict)| set.insert_verdict(member, verdict));
        set
    })
}

/// Sets by name; `ranges` is at times a set of single addresses, so that its type changes.
fn sets() -> impl Strategy<Value = Vec<Option<Set>>> {
    (
        prop::option::of(addresses()),
        prop::option::of(prop_oneof![3 => ranges(), 1 => addresses()]),
        prop::option::of(boxes()),
        prop::option::of(dispatch()),
        prop::option::of(pending()),
    )
        .prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e])
}

fn condition() -> impl Strategy<Value = Match> {
    let named = |set: &str| SetRef::Named(name(set));
    let port = (1_u16..4).prop_map(Value::Port);
    prop_oneof![
        Just(Field::Ip4Saddr.in_set(&name("addresses"))),
        Just(Field::Ip4Daddr.in_set(&name("ranges"))),
        Just(Field::Ip4Saddr.in_set(&name("pending"))),
        Just(Match::concat(
            [Field::Ip4Saddr, Field::DestPort],
            named("boxes")
        )),
        address().prop_map(|value| Field::Ip4Daddr.is(value)),
        vec(port, 1..4).prop_map(|ports| Field::DestPort.one_of(ports)),
        Just(Field::L4Proto.is(Value::Proto(17))),
        Just(Field::NfProto.is(NfProto::Ipv4)),
        Just(Field::CtState.is(CtState::NEW)),
        Just(Field::Mark.masked(0x3, 0x1)),
        Just(Field::OifName.is(IfName::new("lo").unwrap())),
        Just(Field::IifName.is(IfName::new("lo").unwrap())),
    ]
    .prop_flat_map(|test| prop_oneof![Just(test.clone()), Just(test.negate())])
}

fn mark() -> impl Strategy<Value = MarkChange> {
    prop::sample::select(vec![
        MarkChange::set(1),
        MarkChange::set_bits(2),
        MarkChange::clear_bits(1),
        MarkChange { keep: 3, toggle: 1 },
    ])
}

fn rule(after: usize) -> impl Strategy<Value = Rule> {
    (
        vec(condition(), 0..3),
        any::<bool>(),
        prop::option::weighted(0.2, mark()),
        0..3_u8,
        verdict(after),
        note(),
    )
        .prop_map(|(conditions, counts, mark, end, verdict, comment)| {
            let mut rule = conditions.into_iter().fold(Rule::new(), Rule::when);
            if let Some(change) = mark {
                rule = rule.then(Statement::SetMark(change));
            }
            if counts || rule == Rule::new() {
                rule = rule.counter();
            }
            rule = match end {
                0 => rule.verdict(verdict),
                1 => rule.vmap([Field::Ip4Daddr], &name("dispatch")),
                _ => rule,
            };
            match comment {
                Some(comment) => rule.comment(comment),
                None => rule,
            }
        })
}

/// Priorities differ from chain to chain: equal ones are entered in the order of making.
fn base(index: usize) -> impl Strategy<Value = Base> {
    (
        prop::sample::select(vec![Hook::Output, Hook::Input]),
        0..2,
        any::<bool>(),
    )
        .prop_map(move |(hook, priority, drops)| {
            Base::filter(hook, priority + 10 * i32::try_from(index).unwrap()).policy(if drops {
                Policy::Drop
            } else {
                Policy::Accept
            })
        })
}

/// Chains are at times entered by the kernel and at times not.
fn chains() -> impl Strategy<Value = Vec<Option<Chain>>> {
    let chain = |index: usize| {
        let is_base = if index == 0 { 0.8 } else { 0.2 };
        let parts = (
            prop::option::weighted(is_base, base(index)),
            vec(rule(index + 1), 0..5),
        );
        prop::option::weighted(0.8, parts.prop_map(|(base, rules)| Chain { base, rules }))
    };
    (chain(0), chain(1), chain(2), chain(3)).prop_map(|(a, b, c, d)| vec![a, b, c, d])
}

/// A table that passes the check: what would name something that is not there, or go round through
/// the verdict map, is left out.
pub(crate) fn table() -> impl Strategy<Value = Table> {
    (sets(), chains()).prop_map(|(sets, chains)| {
        let mut table = Table::new();
        for (text, set) in SETS.iter().zip(sets) {
            if let Some(set) = set {
                table.add_set(name(text), set);
            }
        }
        for (text, chain) in CHAINS.iter().zip(chains) {
            if let Some(chain) = chain {
                table.add_chain(name(text), chain);
            }
        }
        prune(&mut table);
        table
    })
}

fn prune(table: &mut Table) {
    let plain = table
        .chains
        .iter()
        .filter(|(_, chain)| chain.base.is_none());
    let there: Vec<Name> = plain.map(|(name, _)| name.clone()).collect();
    let leads = |verdict: &Verdict| verdict.target().is_none_or(|to| there.contains(to));
    if let Some(dispatch) = table.set_mut("dispatch") {
        dispatch.elements.retain(|_, entry| match &entry.data {
            Some(weave_npc::ruleset::Datum::Verdict(verdict)) => leads(verdict),
            _ => true,
        });
    }
    let sets: Vec<Name> = table.sets.keys().cloned().collect();
    for (index, text) in CHAINS.iter().enumerate() {
        if let Some(chain) = table.chain_mut(text) {
            chain.rules.retain(|rule| {
                rule.statements().iter().all(|statement| match statement {
                    Statement::Verdict(verdict) => leads(verdict),
                    // The map leads to c2 and c3.
                    Statement::Vmap(..) if index >= 2 => false,
                    other => match other.set() {
                        Some(SetRef::Named(set)) => sets.contains(set),
                        _ => true,
                    },
                })
            });
        }
    }
}

/// 127.0.0.0
const LOOPBACK: u32 = 0x7f00_0000;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::blob::{self, Blob};
use super::rule::{Accept, Extension, Header, Interface, Rule, Target};
use super::{Chain, Counters, Policy, Protocol, Table};

fn extension() -> impl Strategy<Value = Extension> {
    ("[a-z]{1,12}", 0u8..4, vec(any::<u8>(), 0..80)).prop_map(|(name, revision, mut data)| {
        data.resize(data.len().next_multiple_of(8), 0);
        Extension {
            name,
            revision,
            data,
        }
    })
}

fn counters() -> impl Strategy<Value = Counters> {
    (any::<u64>(), any::<u64>()).prop_map(|(packets, bytes)| Counters { packets, bytes })
}

fn rule(protocol: Protocol, chains: Vec<String>) -> impl Strategy<Value = Rule> {
    let mut targets = vec![
        Just(Target::Accept).boxed(),
        Just(Target::Drop).boxed(),
        Just(Target::Return).boxed(),
        Just(Target::Next).boxed(),
        extension().prop_map(Target::Extension).boxed(),
    ];
    if !chains.is_empty() {
        targets.push(select(chains).prop_map(Target::Jump).boxed());
    }
    let target = proptest::strategy::Union::new(targets);
    (
        vec(any::<u8>(), protocol.layout().header),
        vec(extension(), 0..3),
        target,
        counters(),
    )
        .prop_map(move |(bytes, matches, target, counters)| Rule {
            header: Header {
                protocol,
                bytes: bytes.into(),
            },
            matches,
            target,
            counters,
        })
}

/// A filter table with up to four chains of programs.
fn table() -> impl Strategy<Value = Table> {
    let protocols = select(vec![Protocol::Ipv4, Protocol::Ipv6]);
    (0usize..4, protocols).prop_flat_map(|(own, protocol)| {
        let names: Vec<String> = (0..own).map(|number| format!("CHAIN-{number}")).collect();
        let rules = vec(vec(rule(protocol, names.clone()), 0..4), 3 + own);
        (rules, vec((any::<bool>(), counters()), 3)).prop_map(move |(rules, policies)| {
            let built_in = ["INPUT", "FORWARD", "OUTPUT"].iter().enumerate();
            let policies = built_in
                .zip(policies)
                .map(|((index, name), (drops, counters))| {
                    let policy = Policy {
                        drops,
                        counters,
                        verdict: if drops { -1 } else { -2 },
                        hook: index + 1,
                    };
                    ((*name).to_owned(), Some(policy))
                });
            let own = names.iter().map(|name| (name.clone(), None));
            let chains = policies.chain(own).zip(rules);
            Table {
                name: "filter".to_owned(),
                protocol,
                chains: chains
                    .map(|((name, policy), rules)| Chain {
                        name,
                        policy,
                        rules,
                    })
                    .collect(),
                valid_hooks: 0b01110,
            }
        })
    })
}

/// What the kernel would give back for what it was given.
fn as_read(protocol: Protocol, written: &Blob) -> Blob {
    let layout = protocol.layout();
    let mut blob = written.clone();
    let mut offset = 0;
    for counters in &written.counters {
        let at = offset + layout.counters;
        blob.entries[at..at + 8].copy_from_slice(&counters.packets.to_ne_bytes());
        blob.entries[at + 8..at + 16].copy_from_slice(&counters.bytes.to_ne_bytes());
        let next = offset + layout.next_offset;
        let next = [blob.entries[next], blob.entries[next + 1]];
        offset += usize::from(u16::from_ne_bytes(next));
    }
    blob
}

proptest! {
    #[test]
    fn a_table_that_is_written_and_read_is_the_same(table in table()) {
        let written = blob::emit(&table).unwrap();

        prop_assert_eq!(blob::parse("filter", table.protocol, &as_read(table.protocol, &written)).unwrap(), table);
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_table(
        table in table(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in option::of(any::<prop::sample::Index>()),
    ) {
        let mut written = blob::emit(&table).unwrap();
        let place = at.index(written.entries.len());
        written.entries[place] = byte;
        if let Some(cut) = cut {
            let length = cut.index(written.entries.len());
            written.entries.truncate(length);
        }

        let _ = blob::parse("filter", table.protocol, &written);
    }

    #[test]
    fn removing_chains_leaves_no_jump_to_them(mut table in table()) {
        let unwanted = |name: &str| name == "CHAIN-0" || name == "CHAIN-2";

        table.remove_chains(unwanted);

        prop_assert!(table.chains.iter().all(|chain| !unwanted(&chain.name)));
        prop_assert!(blob::emit(&table).is_ok());
        prop_assert!(!table.remove_chains(unwanted));
    }
}

#[test]
fn our_own_rule_is_read_as_it_was_meant() {
    let accept = Accept {
        input: Some(Interface::is("weave")),
        output: Some(Interface::is_not("weave")),
        destination: None,
        replies: false,
        comment: "weave: pods to others".to_owned(),
    };

    let rule = accept.rule(Protocol::Ipv4).unwrap();

    assert_eq!(rule.input(), Some(Interface::is("weave")));
    assert_eq!(rule.output(), Some(Interface::is_not("weave")));
    assert_eq!(rule.comment().as_deref(), Some("weave: pods to others"));
    assert!(rule.asks_interfaces_only());
    let narrow = Accept {
        destination: Some("10.32.0.0/12".parse().unwrap()),
        ..accept
    };
    let narrow_rule = narrow.rule(Protocol::Ipv4).unwrap();
    assert!(!narrow_rule.asks_interfaces_only());
    assert_eq!(narrow.rule(Protocol::Ipv6), None);
}

#[test]
fn a_jump_to_nowhere_is_refused() {
    let mut rule = Accept {
        input: None,
        output: None,
        destination: None,
        replies: true,
        comment: String::new(),
    }
    .rule(Protocol::Ipv4)
    .unwrap();
    rule.target = Target::Jump("NOWHERE".to_owned());
    let table = Table {
        name: "filter".to_owned(),
        protocol: Protocol::Ipv4,
        chains: vec![Chain {
            name: "X".to_owned(),
            policy: None,
            rules: vec![rule],
        }],
        valid_hooks: 0,
    };

    let error = blob::emit(&table).unwrap_err();

    assert_eq!(
        error.to_string(),
        "the legacy iptables table filter has no chain NOWHERE to jump to"
    );
}

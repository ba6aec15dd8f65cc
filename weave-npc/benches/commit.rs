//! What it costs to compare rulesets and to bring them into the kernel.
//!
//! As root the kernel's part runs in a network namespace of its own; else it is left out.

use std::net::Ipv4Addr;

use divan::Bencher;
use nix::sched::{CloneFlags, unshare};
use weave_npc::netlink::{Keeper, Nft};
use weave_npc::ruleset::{
    Base, Chain, Change, Comment, Entry, Family, Field, Hook, Key, Name, Rule, Ruleset, Set, Table,
    TableId, Transaction, Type, Value, Verdict,
};

fn main() {
    let is_alone = nix::unistd::geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNET).is_ok();
    if !is_alone {
        println!("skipped: the kernel's part needs root");
    }
    divan::main();
}

fn keeper(label: &str) -> Option<Keeper> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let id = TableId::new(Family::Inet, name(label));
    let mut keeper = Keeper::new(Nft::open().ok()?, id);
    keeper.remove().ok()?;
    Some(keeper)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|error| panic!("{error}"))
}

fn pod(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a20_0000 + number)
}

/// The shape of a node: a dispatch map, a chain per pod, sets of peers, five rules a chain.
fn node(pods: u32, sets: u32, members: u32) -> Table {
    let mut table = Table::new();
    for number in 0..sets {
        let mut set = Set::of([Type::Ipv4]);
        for member in 0..members {
            set.insert(pod(number * members + member));
        }
        table.add_set(name(&format!("s4-{number}")), set);
    }
    let mut dispatch = Set::verdict_map([Type::Ipv4]);
    let deny = Rule::new().counter().verdict(Verdict::Drop);
    table.add_chain(name("deny-in"), Chain::new().with(deny));
    for number in 0..pods {
        let chain = name(&format!("in-{number}"));
        dispatch.insert_verdict(pod(number), Verdict::Jump(chain.clone()));
        let mut rules = Chain::new();
        for rule in 0..5 {
            rules.rules.push(
                Rule::new()
                    .when(Field::Ip4Saddr.in_set(&name(&format!("s4-{}", (number + rule) % sets))))
                    .when(Field::L4Proto.is(Value::Proto(6)))
                    .when(Field::DestPort.is(Value::Port(80)))
                    .counter()
                    .verdict(Verdict::Return)
                    .comment(Comment::lossy("namespace/policy#0")),
            );
        }
        rules
            .rules
            .push(Rule::new().verdict(Verdict::Goto(name("deny-in"))));
        table.add_chain(chain, rules);
    }
    table.add_set(name("in4"), dispatch);
    let entry = Rule::new().vmap([Field::Ip4Daddr], &name("in4"));
    table.add_chain(
        name("forward"),
        Chain::at(Base::filter(Hook::Forward, -10)).with(entry),
    );
    table
}

#[divan::bench]
fn diff_of_a_node_with_one_element_more(bencher: Bencher<'_, '_>) {
    let id = TableId::new(Family::Inet, name("weave"));
    let old = Ruleset::new().with(id.clone(), node(110, 50, 200));
    let mut new = old.clone();
    if let Some(set) = new
        .tables
        .get_mut(&id)
        .and_then(|table| table.set_mut("s4-0"))
    {
        set.insert(pod(1 << 16));
    }
    bencher.bench(|| Ruleset::diff(&old, &new));
}

#[divan::bench]
fn check_of_a_node(bencher: Bencher<'_, '_>) {
    let id = TableId::new(Family::Inet, name("weave"));
    let table = node(110, 50, 200);
    bencher.bench(|| table.check(&id));
}

/// Five elements into five sets of 2 000, and out again: two commits.
#[divan::bench]
fn commit_five_elements_in_and_out(bencher: Bencher<'_, '_>) {
    let Some(mut keeper) = keeper("five") else {
        return;
    };
    if keeper.set(&node(110, 5, 2000)).is_err() {
        return;
    }
    let table = keeper.id().clone();
    let key = Key::from(pod(1 << 20));
    let transaction = |is_in: bool| Transaction {
        changes: (0..5)
            .map(|number| {
                let (table, set) = (table.clone(), name(&format!("s4-{number}")));
                let is_interval = false;
                if is_in {
                    let elements = vec![(key.clone(), Entry::default())];
                    Change::AddElements {
                        table,
                        set,
                        is_interval,
                        elements,
                    }
                } else {
                    Change::DeleteElements {
                        table,
                        set,
                        is_interval,
                        keys: vec![key.clone()],
                    }
                }
            })
            .collect(),
    };
    let (come, go) = (transaction(true), transaction(false));
    bencher.bench_local(|| {
        divan::black_box(keeper.apply(&come)).unwrap_or_else(|error| panic!("{error}"));
        divan::black_box(keeper.apply(&go)).unwrap_or_else(|error| panic!("{error}"));
    });
}

/// A node of 110 pods with 10 000 elements, from nothing, and gone again.
#[divan::bench(sample_count = 30)]
fn commit_a_node_of_110_pods(bencher: Bencher<'_, '_>) {
    let Some(mut keeper) = keeper("node") else {
        return;
    };
    let table = node(110, 50, 200);
    bencher.bench_local(|| {
        let _ = divan::black_box(keeper.set(&table));
        let _ = keeper.remove();
    });
}

#[divan::bench(sample_count = 30)]
fn read_back_a_node_of_110_pods(bencher: Bencher<'_, '_>) {
    let Some(mut keeper) = keeper("read") else {
        return;
    };
    let _ = keeper.set(&node(110, 50, 200));
    let id = keeper.id().clone();
    bencher.bench_local(|| divan::black_box(keeper.nft().read(&id)));
}

#[divan::bench(args = [10_000, 100_000], sample_count = 5)]
fn commit_a_set_of_addresses(bencher: Bencher<'_, '_>, len: u32) {
    let Some(mut keeper) = keeper("addresses") else {
        return;
    };
    let mut table = Table::new();
    let mut set = Set::of([Type::Ipv4]);
    for number in 0..len {
        set.insert(pod(number));
    }
    table.add_set(name("s"), set);
    bencher.bench_local(|| {
        let _ = divan::black_box(keeper.set(&table));
        let _ = keeper.remove();
    });
}

#[divan::bench(args = [10_000, 100_000], sample_count = 5)]
fn commit_a_set_of_ranges(bencher: Bencher<'_, '_>, len: u32) {
    let Some(mut keeper) = keeper("ranges") else {
        return;
    };
    let mut table = Table::new();
    let mut set = Set::of([Type::Ipv4]).interval();
    for number in 0..len {
        set.insert(pod(2 * number));
    }
    table.add_set(name("s"), set);
    bencher.bench_local(|| {
        let _ = divan::black_box(keeper.set(&table));
        let _ = keeper.remove();
    });
}

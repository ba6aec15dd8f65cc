//! The policies in the kernel, packet by packet: the tables of all case files, and random worlds.
//!
//! The rules of each node are in force in a namespace of its own, and every cell of every table is
//! a packet that the kernel carries through the bridges on its way, or drops. Steps of a case reach
//! the kernel as the transactions of the compiler, on the live table.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod netns;
mod wire;
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weave_npc::Flow;
use weave_npc::compile::{Compiler, Options};
use weave_npc::manifest::{Case, Expectation, Suite};
use weave_npc::model::{Host, Touched, Transport, World};
use weave_npc::verdict::{End, decide_with};

use wire::{Fabric, places};
use worlds::check::{any_flow, any_options};
use worlds::draw::Draw;

/// Room for the pods of a node: no case file has more pods.
const PODS: usize = 16;
const FILES: [&str; 8] = [
    "targets",
    "peers",
    "ports",
    "names",
    "conflicts",
    "scenarios",
    "steps",
    "cluster",
];

fn fabric(names: &[&str]) -> Option<Fabric> {
    Fabric::new(names, PODS, &Compiler::new("", Options::default()))
}

/// Puts the rules of every node in force.
fn install(fabric: &mut Fabric, compilers: &BTreeMap<Arc<str>, Compiler>) {
    for (node, compiler) in compilers {
        let table = &compiler.ruleset().tables[compiler.table()];
        let keeper = fabric.keeper(node).unwrap();
        keeper.set(table).unwrap();
        assert_eq!(keeper.installed(), Some(table));
    }
}

fn run(fabric: &mut Fabric, file: &str, suite: &Suite, case: &Case) -> usize {
    let mut world: World = suite.objects.iter().cloned().collect();
    let mut compilers: BTreeMap<Arc<str>, Compiler> = world
        .nodes()
        .map(|node| {
            let compiler = Compiler::of(node.name.clone(), &world, Options::default());
            (node.name.clone(), compiler)
        })
        .collect();
    install(fabric, &compilers);
    let mut cells = 0;
    for (number, step) in case.steps.iter().enumerate() {
        let mut touched = Touched::default();
        for key in &step.remove {
            touched.merge(world.remove(key));
        }
        for object in &step.apply {
            touched.merge(world.apply(object.clone()));
        }
        for (node, compiler) in &mut compilers {
            let transaction = compiler.update(&world, &touched);
            fabric.keeper(node).unwrap().apply(&transaction).unwrap();
        }
        for expected in &step.expect {
            let at = format!("{file}: {} step {number}", case.name);
            cells += compare(fabric, &world, &at, expected);
        }
    }
    cells
}

/// Sends a packet for every cell of a table.
fn compare(fabric: &mut Fabric, world: &World, at: &str, expected: &Expectation) -> usize {
    let places = places(world);
    let ends = End::all(world);
    let (mut picture, mut cells) = (String::new(), 0);
    for source in &ends {
        for destination in &ends {
            let addresses = source
                .address(expected.family)
                .zip(destination.address(expected.family));
            picture.push(match addresses {
                None => '-',
                Some((a, b)) if a == b => '.',
                Some((a, b)) => {
                    cells += 1;
                    let flow = Flow::new(a, b, expected.transport);
                    match fabric.send(&places, &flow) {
                        Some(true) => '.',
                        Some(false) => 'X',
                        None => '?',
                    }
                }
            });
        }
        picture.push('\n');
    }
    assert_eq!(
        picture, expected.picture,
        "{at}: the kernel differs (left) for {} {}",
        expected.transport, expected.family
    );
    cells
}

#[test]
fn the_kernel_carries_what_the_tables_of_all_cases_allow_and_nothing_else() {
    netns::inside(|| {
        let Some(mut fabric) = fabric(&["n1", "n2", "n3"]) else {
            return;
        };
        let (mut cases, mut cells) = (0, 0);
        for file in FILES {
            let path = format!("{}/tests/cases/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
            let suite = Suite::read(&std::fs::read_to_string(path).unwrap()).unwrap();
            for case in &suite.cases {
                cells += run(&mut fabric, file, &suite, case);
                cases += 1;
            }
        }
        println!(
            "{cases} cases, {cells} cells, {} frames through a bridge",
            fabric.frames()
        );
        assert!(
            cases >= 392 && cells > 100_000,
            "{cases} cases, {cells} cells"
        );
    });
}

#[test]
fn ten_thousand_packets_of_random_worlds_fare_as_decided() {
    netns::inside(|| {
        let Some(mut fabric) = fabric(&["n1", "n2"]) else {
            return;
        };
        let (mut allowed, mut denied) = (0, 0);
        let mut portless = BTreeSet::new();
        let mut seed = 0;
        while allowed + denied < 10_000 {
            seed += 1;
            let mut draw = Draw::new(seed);
            let world = worlds::objects::any_world(&mut draw);
            let options = any_options(&mut draw);
            let compilers = ["n1", "n2"]
                .map(|node| {
                    let compiler = Compiler::of(node, &world, options.clone());
                    (Arc::from(node), compiler)
                })
                .into();
            install(&mut fabric, &compilers);
            let places = places(&world);
            for _ in 0..100 {
                let flow = any_flow(&mut draw, &world);
                if stays_at_home(&world, &flow) || !begins(&mut portless, &flow) {
                    continue;
                }
                let Some(arrives) = fabric.send(&places, &flow) else {
                    continue;
                };
                let decision = decide_with(&world, &flow, options.verdict);
                assert_eq!(
                    arrives, decision.allowed,
                    "seed {seed}: the kernel differs (left) for {flow:?}: {decision}"
                );
                if arrives {
                    allowed += 1;
                } else {
                    denied += 1;
                }
            }
        }
        println!("{allowed} arrived, {denied} were dropped, {seed} worlds");
        assert!(allowed > 2_000 && denied > 2_000, "{allowed} {denied}");
    });
}

/// False if the packet can be taken for the answer to one that was sent: where there are no ports,
/// the addresses are all that tells connections apart.
fn begins(portless: &mut BTreeSet<Flow>, flow: &Flow) -> bool {
    if matches!(flow.transport, Transport::Port(..)) {
        return true;
    }
    portless.insert(*flow);
    !portless.contains(&Flow::new(flow.destination, flow.source, flow.transport))
}

/// True between a pod and its own node: such packets pass other hooks than those of the bridge.
fn stays_at_home(world: &World, flow: &Flow) -> bool {
    let is_at = |node: IpAddr, pod: IpAddr| match (world.host(node), world.host(pod)) {
        (Host::Node(node), Host::Pod(pod)) => *node == pod.node,
        _ => false,
    };
    is_at(flow.source, flow.destination) || is_at(flow.destination, flow.source)
}

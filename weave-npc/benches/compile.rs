//! What it costs to compile the rules of one node, and to follow one event.
//!
//! Worlds: `POLICIES` of three shapes in namespaces of equal size, 100 pods a node. The table shows
//! time and, as "max alloc", the memory that the compiler needs on top of the world.

use std::net::Ipv4Addr;
use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box};
use weave_npc::Labels;
use weave_npc::compile::{Compiler, Options};
use weave_npc::model::{
    Block, Namespace, NetworkPolicy, Object, ObjectName, Peer, Pod, PodPeer, PortMatch, Ports,
    Protocol, Rule, Scope, Uid, World,
};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// The size of a world.
#[derive(Clone, Copy, Debug)]
struct Size {
    pods: u32,
    policies: u32,
    namespaces: u32,
}

/// A middling cluster.
const MIDDLE: Size = Size {
    pods: 10_000,
    policies: 1_000,
    namespaces: 100,
};
/// The size that Antrea publishes figures for.
const LARGE: Size = Size {
    pods: 100_000,
    policies: 75_000,
    namespaces: 25_000,
};
const PODS_PER_NODE: u32 = 100;

/// From nothing to the rules of a node, with 10 000 pods and 1 000 policies.
#[divan::bench(sample_count = 20)]
fn compile_10_000_pods_1_000_policies(bencher: Bencher<'_, '_>) {
    compile(bencher, MIDDLE);
}

/// From nothing to the rules of a node, with 100 000 pods and 75 000 policies.
#[divan::bench(sample_count = 3)]
fn compile_100_000_pods_75_000_policies(bencher: Bencher<'_, '_>) {
    compile(bencher, LARGE);
}

/// The world itself, with 100 000 pods and 75 000 policies: "max alloc" is what it keeps.
#[divan::bench(sample_count = 3)]
fn world_100_000_pods_75_000_policies(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| world(LARGE));
}

/// The rules as if all 10 000 pods were on one node.
#[divan::bench(sample_count = 5)]
fn compile_all_10_000_pods_on_one_node(bencher: Bencher<'_, '_>) {
    let objects = objects(MIDDLE).map(|object| match object {
        Object::Pod(pod) => Object::Pod(pod.on_node("node-0")),
        other => other,
    });
    let world: World = objects.collect();
    bencher.bench_local(|| Compiler::of("node-0", &world, Options::default()));
}

/// The labels of one pod of another node change; "slowest" bounds p99.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn one_label_with_10_000_pods(bencher: Bencher<'_, '_>) {
    event(bencher, MIDDLE, 4_321);
}

/// The labels of one pod of this node change: it leaves one profile for another.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn one_local_label_with_10_000_pods(bencher: Bencher<'_, '_>) {
    event(bencher, MIDDLE, 0);
}

/// The labels of one pod change in the large world.
#[divan::bench(sample_count = 1_000, sample_size = 1)]
fn one_label_with_100_000_pods(bencher: Bencher<'_, '_>) {
    event(bencher, LARGE, 4_321);
}

fn compile(bencher: Bencher<'_, '_>, size: Size) {
    let world = world(size);
    bencher.bench_local(|| Compiler::of("node-0", black_box(&world), Options::default()));
}

fn event(bencher: Bencher<'_, '_>, size: Size, number: u32) {
    let mut world = world(size);
    let mut compiler = Compiler::of("node-0", &world, Options::default());
    let mut turn = 0;
    bencher
        .with_inputs(move || {
            turn += 1;
            pod(size, number, turn)
        })
        .bench_local_values(|pod| {
            let touched = world.apply(Object::Pod(pod));
            compiler.update(&world, &touched)
        });
}

fn world(size: Size) -> World {
    objects(size).collect()
}

fn objects(size: Size) -> impl Iterator<Item = Object> {
    let namespaces = (0..size.namespaces).map(|number| {
        let team = format!("team-{}", number % 50);
        let labels: Labels = [("team", team)].into_iter().collect();
        Object::Namespace(Namespace::new(format!("ns-{number}"), labels))
    });
    let pods = (0..size.pods).map(move |number| Object::Pod(pod(size, number, 0)));
    let policies = (0..size.policies).map(move |number| Object::Policy(policy(size, number)));
    namespaces.chain(pods).chain(policies)
}

fn pod(size: Size, number: u32, turn: u32) -> Pod {
    let namespace = format!("ns-{}", number % size.namespaces);
    let app = format!("app-{}", (number / size.namespaces + turn) % 10);
    let labels: Labels = [
        ("app", app),
        ("tier", format!("tier-{}", number % 3)),
        ("pod-template-hash", format!("{:08x}", number / 3)),
    ]
    .into_iter()
    .collect();
    let name = ObjectName::new(namespace, format!("pod-{number}"));
    let address = Ipv4Addr::from(0x0a20_0000 + number);
    Pod::new(name, Uid::new(format!("uid-{number}")))
        .with_labels(labels)
        .with_addresses([address.into()])
        .on_node(format!("node-{}", number / PODS_PER_NODE))
}

fn policy(size: Size, number: u32) -> NetworkPolicy {
    let namespace: Arc<str> = format!("ns-{}", number % size.namespaces).into();
    let turn = number / size.namespaces;
    let selector = |text: String| text.parse().expect("a selector");
    let ports = vec![PortMatch {
        protocol: Protocol::Tcp,
        ports: Ports::Range(8000, 8000 + u16::try_from(turn % 8).expect("small")),
    }];
    let peer = match number % 3 {
        0 => Peer::Pods(PodPeer {
            namespaces: Scope::Only(namespace.clone()),
            pods: selector(format!("app=app-{}", turn % 10)),
        }),
        1 => Peer::Pods(PodPeer {
            namespaces: Scope::Matching(selector(format!("team=team-{}", number % 50))),
            pods: selector(format!("tier=tier-{}", turn % 3)),
        }),
        _ => Peer::Block(Block {
            cidr: "10.0.0.0/8".parse().expect("a network"),
            except: vec!["10.32.0.0/20".parse().expect("a network")],
        }),
    };
    let rule = Rule {
        peers: vec![peer],
        ports,
    };
    let name = ObjectName::new(namespace, format!("policy-{number}"));
    let policy = NetworkPolicy::new(name, selector(format!("app=app-{}", turn % 10)));
    if number.is_multiple_of(2) {
        policy.with_ingress([rule])
    } else {
        policy.with_egress([rule])
    }
}

//! What it costs to compile the rules of one node, and to follow one event.
//!
//! The table shows time and, as "max alloc", the memory that the compiler needs on top of the world.

mod clusters;

use divan::{AllocProfiler, Bencher, black_box};
use weave_npc::compile::{Compiler, Options};
use weave_npc::model::{
    Block, NetworkPolicy, Object, ObjectName, Peer, PodPeer, PortMatch, Ports, Protocol, Rule,
    Scope, World,
};

use clusters::{LARGE, MIDDLE, Size, objects, pod, world};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

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

/// One policy with `peers` different peers: half selectors, half networks. Time per peer must not
/// grow with their number.
#[divan::bench(args = [100, 1_000, 10_000], sample_count = 5)]
fn compile_one_policy_of_many_peers(bencher: Bencher<'_, '_>, peers: u32) {
    let mut world = world(MIDDLE);
    let _ = world.apply(Object::Policy(of_many_peers(peers)));
    bencher.bench_local(|| Compiler::of("node-0", black_box(&world), Options::default()));
}

fn of_many_peers(count: u32) -> NetworkPolicy {
    let peers = (0..count).map(|number| {
        if number.is_multiple_of(2) {
            let text = format!("pod-template-hash={:08x}", number / 2);
            return Peer::Pods(PodPeer {
                namespaces: Scope::Matching(weave_npc::Selector::everything()),
                pods: text.parse().expect("a selector"),
            });
        }
        let network = std::net::Ipv4Addr::from(0xac10_0000 + number * 4);
        Peer::Block(Block {
            cidr: ipnet::IpNet::new(network.into(), 31).expect("a prefix"),
            except: Vec::new(),
        })
    });
    let ports = vec![PortMatch {
        protocol: Protocol::Tcp,
        ports: Ports::Range(443, 443),
    }];
    let rule = Rule {
        peers: peers.collect(),
        ports,
    };
    let name = ObjectName::new("ns-0", "many");
    NetworkPolicy::new(name, weave_npc::Selector::everything()).with_ingress([rule])
}

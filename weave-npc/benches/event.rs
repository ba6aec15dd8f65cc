//! From one event to its enforcement, with the rules of a node in the kernel.
//!
//! As root, in a network namespace of its own; else nothing is measured.

mod clusters;

use std::cell::RefCell;

use divan::{Bencher, black_box};
use nix::sched::{CloneFlags, unshare};
use weave_npc::compile::{Compiler, Options};
use weave_npc::model::{Object, World};
use weave_npc::netlink::{Keeper, Nft};
use weave_npc::ruleset::{Ruleset, Transaction};

use clusters::{MIDDLE, pod, world};

fn main() {
    let is_alone = nix::unistd::geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNET).is_ok();
    if !is_alone {
        println!("skipped: needs root");
        return;
    }
    divan::main();
}

/// A node of the middling cluster, enforced.
struct Node {
    world: World,
    compiler: Compiler,
    keeper: Keeper,
    turn: u32,
}

impl Node {
    fn new() -> Self {
        let world = world(MIDDLE);
        let compiler = Compiler::of("node-0", &world, Options::default());
        let mut keeper = Keeper::new(Nft::open().expect("a socket"), compiler.table().clone());
        // As a controller does: what was there before goes in the same batch.
        keeper.remove().expect("nothing left");
        let whole = Ruleset::diff(&Ruleset::new(), compiler.ruleset());
        keeper.apply(&whole).expect("the first commit");
        Self {
            world,
            compiler,
            keeper,
            turn: 0,
        }
    }

    /// A pod gets other labels; what that changes.
    fn compile(&mut self, number: u32) -> Transaction {
        self.turn += 1;
        let pod = pod(MIDDLE, number, self.turn);
        let touched = self.world.apply(Object::Pod(pod));
        self.compiler.update(&self.world, &touched)
    }

    fn commit(&mut self, transaction: &Transaction) {
        self.keeper.apply(transaction).expect("a commit");
    }
}

/// The labels of a pod of another node change. "slowest" of 2 000 bounds p99.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn label_of_a_far_pod_to_enforcement(bencher: Bencher<'_, '_>) {
    whole(bencher, |turn| 200 + turn * 37 % 9_000);
}

/// The labels of a pod of this node change: it leaves one profile for another.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn label_of_an_own_pod_to_enforcement(bencher: Bencher<'_, '_>) {
    whole(bencher, |turn| turn * 37 % 100);
}

/// The commit alone, of what a far pod changes.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn commit_of_a_far_pod(bencher: Bencher<'_, '_>) {
    commits(bencher, |turn| 200 + turn * 37 % 9_000);
}

/// The commit alone, of what an own pod changes.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn commit_of_an_own_pod(bencher: Bencher<'_, '_>) {
    commits(bencher, |turn| turn * 37 % 100);
}

/// All rules of the node, from nothing; the table before goes in the same batch.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn commit_of_the_whole_node(bencher: Bencher<'_, '_>) {
    let node = Node::new();
    let table = node.compiler.table().clone();
    let mut whole = Ruleset::diff(&Ruleset::new(), node.compiler.ruleset());
    let gone = weave_npc::ruleset::Change::DeleteTable(table);
    whole.changes.insert(0, gone);
    let node = RefCell::new(node);
    bencher.bench_local(|| node.borrow_mut().commit(&whole));
}

fn whole(bencher: Bencher<'_, '_>, number: impl Fn(u32) -> u32) {
    let mut node = Node::new();
    bencher.bench_local(|| {
        let number = number(node.turn);
        let transaction = node.compile(number);
        node.commit(black_box(&transaction));
    });
}

fn commits(bencher: Bencher<'_, '_>, number: impl Fn(u32) -> u32) {
    let node = RefCell::new(Node::new());
    bencher
        .with_inputs(|| {
            let mut node = node.borrow_mut();
            let number = number(node.turn);
            node.compile(number)
        })
        .bench_local_refs(|transaction| node.borrow_mut().commit(transaction));
}

//! From one event to its enforcement, with the rules of a node in the kernel.
//!
//! As root, in a network namespace of its own; else nothing is measured.

mod clusters;

use std::cell::RefCell;
use std::net::Ipv4Addr;

use divan::{Bencher, black_box};
use nix::sched::{CloneFlags, unshare};
use weave_npc::compile::{Compiler, Options};
use weave_npc::model::{Object, ObjectName, Pod, Touched, Uid, World};
use weave_npc::netlink::{Keeper, Monitor, Nft};
use weave_npc::ruleset::{
    Change, Entry, Family, Key, Name, Ruleset, Set, Table, TableId, Transaction, Type,
};

use clusters::{MIDDLE, pod, world};

fn main() {
    let is_alone = nix::unistd::geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNET).is_ok();
    if !is_alone {
        println!("skipped: needs root");
        return;
    }
    divan::main();
}

/// Whose labels change.
#[derive(Clone, Copy)]
enum Place {
    /// A pod of this node: it leaves one profile for another.
    Own,
    /// A second pod of a deployment on this node comes or goes: its profile is there.
    Replica,
    /// A pod of another node: it leaves or joins the members of a peer.
    Far,
}

/// A node of the middling cluster, enforced.
struct Node {
    world: World,
    compiler: Compiler,
    keeper: Keeper,
    turn: u32,
    changes: usize,
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
            changes: 0,
        }
    }

    /// A pod joins the selector of a policy that matters to this node, or leaves it; what that
    /// changes.
    fn compile(&mut self, place: Place) -> Transaction {
        let turn = self.turn;
        self.turn += 1;
        if let Place::Replica = place {
            let touched = self.replica(turn);
            return self.compiler.update(&self.world, &touched);
        }
        // Every third policy admits pods by the label `app`; those of the first turn say `app-0`
        // and stand in the namespaces 0, 3, 6 and so on, each with one pod of this node.
        let namespace = turn / 2 * 3 % MIDDLE.namespaces / 3 * 3;
        let row = match place {
            Place::Own | Place::Replica => 0,
            Place::Far => 2 + turn / 200 % 90,
        };
        let is_in = turn.is_multiple_of(2);
        let label = if is_in { 10 } else { 11 };
        let pod = pod(
            MIDDLE,
            row * MIDDLE.namespaces + namespace,
            label - row % 10,
        );
        let touched = self.world.apply(Object::Pod(pod));
        self.compiler.update(&self.world, &touched)
    }

    /// A pod with the labels of one of this node comes, or goes the next turn.
    fn replica(&mut self, turn: u32) -> Touched {
        let first = pod(MIDDLE, turn / 2 % 100, 0);
        let name = ObjectName::new(first.name.namespace().clone(), "replica");
        let second = Pod::new(name, Uid::new("replica"))
            .with_labels(first.labels.clone())
            .with_addresses([Ipv4Addr::new(10, 40, 0, 1).into()])
            .on_node("node-0");
        if turn.is_multiple_of(2) {
            self.world.apply(Object::Pod(second))
        } else {
            self.world.remove(&Object::Pod(second).key())
        }
    }

    /// An event that changes nothing would measure nothing; the first may.
    fn changed(&self) {
        assert!(
            self.changes * 10 + 10 >= self.turn as usize * 9,
            "{} of {} events changed something",
            self.changes,
            self.turn
        );
    }

    fn commit(&mut self, transaction: &Transaction) {
        self.changes += usize::from(!transaction.is_empty());
        self.keeper.apply(transaction).expect("a commit");
    }
}

/// The labels of a pod of another node change. "slowest" of 2 000 bounds p99.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn label_of_a_far_pod_to_enforcement(bencher: Bencher<'_, '_>) {
    whole(bencher, Place::Far);
}

/// The labels of a pod of this node change.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn label_of_an_own_pod_to_enforcement(bencher: Bencher<'_, '_>) {
    whole(bencher, Place::Own);
}

/// The commit alone, of what a far pod changes.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn commit_of_a_far_pod(bencher: Bencher<'_, '_>) {
    commits(bencher, Place::Far);
}

/// The commit alone, of what a second pod of a deployment changes that comes to this node or goes.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn commit_of_a_replica(bencher: Bencher<'_, '_>) {
    commits(bencher, Place::Replica);
}

/// The commit alone, of what an own pod changes.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn commit_of_an_own_pod(bencher: Bencher<'_, '_>) {
    commits(bencher, Place::Own);
}

/// The same while somebody listens to changes of rules, as a controller does: the kernel tells of
/// every rule and element.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn commit_of_an_own_pod_that_is_heard(bencher: Bencher<'_, '_>) {
    let node = RefCell::new(Node::new());
    let mut monitor = Monitor::open().expect("a listener");
    bencher
        .with_inputs(|| {
            monitor.drain().expect("what was heard");
            node.borrow_mut().compile(Place::Own)
        })
        .bench_local_refs(|transaction| node.borrow_mut().commit(transaction));
    node.borrow().changed();
}

/// The least that a commit costs here: one element into the only set of a table, and out again by
/// turns.
#[divan::bench(sample_count = 2_000, sample_size = 1)]
fn commit_of_one_element_to_a_table_of_one_set(bencher: Bencher<'_, '_>) {
    let id = TableId::new(Family::Inet, "floor".parse().expect("a name"));
    let (set, mut table) = ("s4".parse::<Name>().expect("a name"), Table::new());
    table.add_set(set.clone(), Set::of([Type::Ipv4]));
    let mut keeper = Keeper::new(Nft::open().expect("a socket"), id.clone());
    keeper.set(&table).expect("the first commit");
    let key = Key::from(Ipv4Addr::new(10, 32, 0, 1));
    let come = Change::AddElements {
        table: id.clone(),
        set: set.clone(),
        is_interval: false,
        elements: vec![(key.clone(), Entry::default())],
    };
    let go = Change::DeleteElements {
        table: id,
        set,
        is_interval: false,
        keys: vec![key],
    };
    let both = [come, go].map(|change| Transaction {
        changes: vec![change],
    });
    let mut turn = 0;
    bencher.bench_local(|| {
        keeper.apply(&both[turn % 2]).expect("a commit");
        turn += 1;
    });
}

/// All rules of the node, from nothing; the table before goes in the same batch.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn commit_of_the_whole_node(bencher: Bencher<'_, '_>) {
    let node = Node::new();
    let table = node.compiler.table().clone();
    let mut whole = Ruleset::diff(&Ruleset::new(), node.compiler.ruleset());
    let gone = Change::DeleteTable(table);
    whole.changes.insert(0, gone);
    let node = RefCell::new(node);
    bencher.bench_local(|| node.borrow_mut().commit(&whole));
}

fn whole(bencher: Bencher<'_, '_>, place: Place) {
    let mut node = Node::new();
    bencher.bench_local(|| {
        let transaction = node.compile(place);
        node.commit(black_box(&transaction));
    });
    node.changed();
}

fn commits(bencher: Bencher<'_, '_>, place: Place) {
    let node = RefCell::new(Node::new());
    bencher
        .with_inputs(|| node.borrow_mut().compile(place))
        .bench_local_refs(|transaction| node.borrow_mut().commit(transaction));
    node.borrow().changed();
}

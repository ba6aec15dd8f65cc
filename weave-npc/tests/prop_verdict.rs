//! Laws C1 and C2: the rules of the nodes do what the policies say, however they came about.

mod worlds;

use weave_npc::compile::{Compiler, Options};
use weave_npc::model::World;
use weave_npc::ruleset::Ruleset;

use worlds::check::{Nodes, any_flow, any_options};
use worlds::draw::Draw;

/// Worlds and flows of a test run: 50 000 verdicts.
const WORLDS: u64 = 500;
const FLOWS: usize = 100;

/// Verdicts that agree in worlds made of the seeds; each seed can be run again alone.
fn agree(seeds: impl Iterator<Item = u64>) -> (usize, usize) {
    let (mut allowed, mut denied) = (0, 0);
    for seed in seeds {
        let mut draw = Draw::new(seed);
        let world = worlds::objects::any_world(&mut draw);
        let nodes = Nodes::of(&world, &any_options(&mut draw));
        for _ in 0..FLOWS {
            let flow = any_flow(&mut draw, &world);
            match nodes.check(&world, &flow) {
                Ok(true) => allowed += 1,
                Ok(false) => denied += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
    }
    (allowed, denied)
}

#[test]
fn decisions_are_what_the_rules_of_both_nodes_do() {
    let (allowed, denied) = agree(0..WORLDS);

    assert_eq!(allowed + denied, 50_000);
    assert!(allowed > 10_000 && denied > 10_000, "{allowed} {denied}");
}

#[test]
#[ignore = "five million verdicts take minutes; run it by name in release mode"]
fn five_million_decisions_are_what_the_rules_of_both_nodes_do() {
    let (allowed, denied) = agree(1_000_000..1_050_000);

    println!("{allowed} allowed, {denied} denied");
    assert_eq!(allowed + denied, 5_000_000);
}

#[test]
fn rules_that_were_edited_equal_rules_made_at_once() {
    for seed in 0..60 {
        let mut draw = Draw::new(seed);
        let mut world = World::new();
        let options = any_options(&mut draw);
        let mut compiler = Compiler::new("n1", options.clone());
        let mut followed = compiler.ruleset().clone();
        for step in 0..40 {
            edit(&mut draw, &mut world, &mut compiler, &mut followed);
            let at_once = Compiler::of("n1", &world, options.clone());

            assert_eq!(
                compiler.ruleset(),
                at_once.ruleset(),
                "seed {seed} step {step}\n{}\nat once\n{}",
                compiler.ruleset(),
                at_once.ruleset()
            );
            assert_eq!(&followed, compiler.ruleset(), "seed {seed} step {step}");
        }
    }
}

/// One to three objects come or go at once; the transaction is carried out on `followed`.
fn edit(draw: &mut Draw, world: &mut World, compiler: &mut Compiler, followed: &mut Ruleset) {
    let mut touched = weave_npc::model::Touched::default();
    for _ in 0..1 + draw.below(3) {
        if draw.chance(75) {
            touched.merge(world.apply(worlds::objects::any_object(draw)));
        } else if let Some(key) = worlds::objects::any_removal(draw, world) {
            touched.merge(world.remove(&key));
        }
    }
    let transaction = compiler.update(world, &touched);
    transaction.apply(followed).expect("the transaction fits");
    compiler.ruleset().check().expect("the rules are sound");
}

#[test]
fn the_order_of_objects_does_not_matter_to_the_rules() {
    for seed in 0..100 {
        let mut draw = Draw::new(seed);
        let world = worlds::objects::any_world(&mut draw);
        let mut touched: Vec<_> = split(&world);
        for index in (1..touched.len()).rev() {
            let other = draw.below(index + 1);
            touched.swap(index, other);
        }

        let mut compiler = Compiler::new("n1", Options::default());
        for part in touched {
            let _ = compiler.update(&world, &part);
        }

        let at_once = Compiler::of("n1", &world, Options::default());
        assert_eq!(compiler.ruleset(), at_once.ruleset(), "seed {seed}");
    }
}

/// Everything in a world, one object at a time.
fn split(world: &World) -> Vec<weave_npc::model::Touched> {
    use weave_npc::model::{Key, Touched};
    let everything = world.everything();
    let keys = (everything.pods.into_iter().map(Key::Pod))
        .chain(everything.namespaces.into_iter().map(Key::Namespace))
        .chain(everything.nodes.into_iter().map(Key::Node))
        .chain(everything.policies.into_iter().map(Key::Policy))
        .chain(
            everything
                .cluster_policies
                .into_iter()
                .map(Key::ClusterPolicy),
        );
    keys.map(Touched::of).collect()
}

//! The case files in `tests/cases`, run against the reference interpreter and against the walk of
//! packets through the compiled rules of all nodes, which follow the steps without starting anew.

mod worlds;

use std::collections::BTreeMap;
use std::sync::Arc;

use weave_npc::Flow;
use weave_npc::compile::{Compiler, Options};
use weave_npc::manifest::{Case, Expectation, Suite};
use weave_npc::model::{Touched, World};
use weave_npc::verdict::{self, End, Table};

use worlds::check::walk;

struct Run {
    world: World,
    compilers: BTreeMap<Arc<str>, Compiler>,
}

impl Run {
    fn new(suite: &Suite) -> Self {
        let world: World = suite.objects.iter().cloned().collect();
        let nodes: Vec<Arc<str>> = world.nodes().map(|node| node.name.clone()).collect();
        let compile = |node: Arc<str>| {
            let compiler = Compiler::of(node.clone(), &world, Options::default());
            (node, compiler)
        };
        let compilers = nodes.into_iter().map(compile).collect();
        Self { world, compilers }
    }

    fn case(&mut self, file: &str, case: &Case) -> usize {
        let mut cells = 0;
        for (number, step) in case.steps.iter().enumerate() {
            let mut touched = Touched::default();
            for key in &step.remove {
                touched.merge(self.world.remove(key));
            }
            for object in &step.apply {
                touched.merge(self.world.apply(object.clone()));
            }
            for compiler in self.compilers.values_mut() {
                let _ = compiler.update(&self.world, &touched);
                compiler.ruleset().check().expect("sound rules");
            }
            for expected in &step.expect {
                let at = format!("{file}: {} step {number}", case.name);
                cells += self.compare(&at, expected);
            }
        }
        cells
    }

    fn compare(&self, at: &str, expected: &Expectation) -> usize {
        let ends = End::all(&self.world);
        let options = verdict::Options::default();
        let table = Table::of(
            &self.world,
            &ends,
            expected.transport,
            expected.family,
            options,
        );
        assert_eq!(
            table.picture(),
            expected.picture,
            "{at}: decide differs (left) at\n{table}"
        );
        let mut walked = String::new();
        for source in &ends {
            for destination in &ends {
                let addresses = source
                    .address(expected.family)
                    .zip(destination.address(expected.family));
                walked.push(match addresses {
                    None => '-',
                    Some((a, b)) if a == b => '.',
                    Some((a, b)) => {
                        let flow = Flow::new(a, b, expected.transport);
                        if walk(&self.world, &self.compilers, &flow) {
                            '.'
                        } else {
                            'X'
                        }
                    }
                });
            }
            walked.push('\n');
        }
        assert_eq!(
            walked, expected.picture,
            "{at}: the rules differ (left) at\n{table}"
        );
        ends.len() * ends.len()
    }
}

fn run(file: &str) -> (usize, usize, usize) {
    let path = format!("{}/tests/cases/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the case file");
    let suite = Suite::read(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut cells = 0;
    for case in &suite.cases {
        cells += Run::new(&suite).case(file, case);
    }
    let sequences = suite
        .cases
        .iter()
        .filter(|case| case.steps.len() > 1)
        .count();
    (suite.cases.len(), sequences, cells)
}

#[test]
fn cases_of_network_policies_hold() {
    let files = [
        "targets",
        "peers",
        "ports",
        "names",
        "conflicts",
        "scenarios",
    ];

    let counts: Vec<_> = files.into_iter().map(run).collect();

    let cases: usize = counts.iter().map(|count| count.0).sum();
    assert!(cases >= 200, "{cases} cases");
    println!(
        "{cases} cases, {} cells",
        counts.iter().map(|c| c.2).sum::<usize>()
    );
}

#[test]
fn sequences_of_changes_hold_after_each_step() {
    let (_, sequences, cells) = run("steps");

    assert!(sequences >= 20, "{sequences} sequences");
    println!("{sequences} sequences, {cells} cells");
}

#[test]
fn scenarios_of_cluster_policies_hold() {
    let (cases, sequences, cells) = run("cluster");

    assert!(
        cases >= 50 && sequences >= 20,
        "{cases} cases, {sequences} sequences"
    );
    println!("{cases} cases, {sequences} sequences, {cells} cells");
}

//! Any text is read as a manifest: objects or errors that name them, and what was read compiles to
//! rules that the kernel can take.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_npc::compile::{Compiler, Options};
use weave_npc::manifest::{Manifest, Suite};
use weave_npc::model::World;

fuzz_target!(|text: &str| {
    let manifest = Manifest::read(text);
    for error in &manifest.errors {
        assert!(!error.to_string().is_empty());
    }
    let _ = Suite::read(text);
    let world = World::from_iter(manifest.objects);
    let nodes: Vec<_> = world.pods().map(|pod| pod.node.clone()).collect();
    for node in nodes.into_iter().take(4) {
        let compiler = Compiler::of(node, &world, Options::default());
        assert_eq!(compiler.ruleset().check(), Ok(()), "{}", compiler.ruleset());
    }
});

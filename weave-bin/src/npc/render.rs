//! `weave npc render`: the rules of one node, as the nft program reads them.

use weave_npc::compile::{Compiler, Options};

use super::args::Render;
use super::error::Error;
use super::{Outcome, input};

/// Prints the ruleset.
pub(super) fn run(arguments: &Render) -> Result<Outcome, Error> {
    let world = input::world(&arguments.files.files)?;
    let is_known = world.node(&arguments.node).is_some()
        || world.pods().any(|pod| *pod.node == *arguments.node);
    if !is_known {
        eprintln!(
            "weave npc: no Node or Pod of the manifests speaks of node {}",
            arguments.node
        );
    }
    let options = Options::default().with_verdict(arguments.choices.options());
    let compiler = Compiler::of(arguments.node.as_str(), &world, options);
    let text = compiler.ruleset().to_string();
    if arguments.json {
        let record = serde_json::json!({"node": arguments.node, "ruleset": text});
        return Ok(Outcome::shown(
            serde_json::to_string_pretty(&record)? + "\n",
        ));
    }
    Ok(Outcome::shown(text))
}

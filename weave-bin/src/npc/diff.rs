//! `weave npc diff`: the connections that change between two sets of manifests.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use weave_npc::model::Transport;
use weave_npc::verdict::{self, Difference, End};

use super::args::Diff;
use super::error::Error;
use super::{Outcome, input};

/// Prints what changes.
pub(super) fn run(arguments: &Diff) -> Result<Outcome, Error> {
    let [old, new] = arguments.files.as_slice() else {
        return Err(Error::NotTwo(arguments.files.len()));
    };
    let old = input::world(std::slice::from_ref(old))?;
    let new = input::world(std::slice::from_ref(new))?;
    let ports: Vec<Transport> = if arguments.ports.is_empty() {
        let both = [&old, &new].into_iter();
        let ports: BTreeSet<_> = both.flat_map(verdict::ports_of_interest).collect();
        ports.into_iter().collect()
    } else {
        arguments.ports.clone()
    };
    let others: Vec<End> = arguments
        .with
        .iter()
        .copied()
        .map(End::of_address)
        .collect();
    let options = arguments.choices.options();
    let differences = verdict::compare(&old, &new, &others, &ports, options);
    if arguments.json {
        return Ok(Outcome::shown(
            serde_json::to_string_pretty(&differences)? + "\n",
        ));
    }
    Ok(Outcome::shown(text(&differences)))
}

fn text(differences: &[Difference]) -> String {
    let mut text = String::new();
    for Difference { old, new, .. } in differences {
        let port = match new.port {
            Some(port) => format!("{port}/{}", new.protocol),
            None => new.protocol.clone(),
        };
        let (sign, from, to, family) = (
            if new.allowed { '+' } else { '-' },
            &new.from,
            &new.to,
            &new.family,
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{sign} {from} -> {to} {port} {family}");
        let _ = writeln!(text, "    was {}", old.reason);
        let _ = writeln!(text, "    is  {}", new.reason);
    }
    let opened = differences.iter().filter(|d| d.new.allowed).count();
    let closed = differences.len() - opened;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{opened} connections opened, {closed} closed");
    text
}

//! `weave npc decide`: one connection with its reason, or the table of all.

use std::fmt::Write as _;
use std::process::ExitCode;

use weave_npc::model::{Transport, World};
use weave_npc::verdict::{self, Answer, End, IpFamily, Table};

use super::args::Decide;
use super::error::Error;
use super::{Outcome, input};

/// Answers.
pub(super) fn run(arguments: &Decide) -> Result<Outcome, Error> {
    let world = input::world(&arguments.files.files)?;
    answer(arguments, &world)
}

/// Answers about `world`.
pub(super) fn answer(arguments: &Decide, world: &World) -> Result<Outcome, Error> {
    let named = |text: &Option<String>| match text {
        Some(text) => input::end(world, text).map(Some),
        None => Ok(None),
    };
    let (from, to) = (named(&arguments.from)?, named(&arguments.to)?);
    if arguments.all {
        return table(arguments, world, from, to);
    }
    let (Some(from), Some(to), Some(port)) = (from, to, arguments.port) else {
        return Err(Error::NoEnd("nothing".to_owned()));
    };
    one(arguments, world, &from, &to, port)
}

/// One connection, in each family that both ends have.
fn one(
    arguments: &Decide,
    world: &World,
    from: &End,
    to: &End,
    port: Transport,
) -> Result<Outcome, Error> {
    let options = arguments.choices.options();
    let ends = (std::slice::from_ref(from), std::slice::from_ref(to));
    let answers = verdict::ask(world, ends.0, ends.1, &[port], options);
    if answers.is_empty() {
        let (from, to) = (from.name.clone(), to.name.clone());
        return Err(Error::NoCommonFamily { from, to });
    }
    let is_allowed = answers.iter().all(|answer| answer.allowed);
    let text = if arguments.json {
        json(&answers)?
    } else {
        lines(&answers)
    };
    let code = if is_allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    Ok(Outcome { text, code })
}

/// The decisions about one connection: one line if both families agree.
pub(super) fn lines(answers: &[Answer]) -> String {
    let mut pairs = answers.windows(2);
    let is_one = pairs.all(|pair| pair[0].reason == pair[1].reason);
    let count = if is_one { 1 } else { answers.len() };
    let shown = answers.iter().take(count);
    shown.map(|answer| line(answer, is_one)).collect()
}

/// Every pod to every pod.
fn table(
    arguments: &Decide,
    world: &World,
    from: Option<End>,
    to: Option<End>,
) -> Result<Outcome, Error> {
    let mut ports = arguments.ports.clone();
    ports.extend(arguments.port);
    if ports.is_empty() {
        ports = verdict::ports_of_interest(world);
    }
    let options = arguments.choices.options();
    let mut ends = End::all(world);
    ends.extend(arguments.with.iter().copied().map(End::of_address));
    let is_whole = from.is_none() && to.is_none();
    if arguments.json || !is_whole {
        let sources = from.map_or_else(|| ends.clone(), |end| vec![end]);
        let destinations = to.map_or_else(|| ends.clone(), |end| vec![end]);
        let answers = verdict::ask(world, &sources, &destinations, &ports, options);
        let text = if arguments.json {
            json(&answers)?
        } else {
            answers.iter().map(|answer| line(answer, false)).collect()
        };
        return Ok(Outcome::shown(text));
    }
    let mut text = String::new();
    for port in ports {
        for family in IpFamily::BOTH {
            let table = Table::of(world, &ends, port, family, options);
            if !table.is_empty() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{table}");
            }
        }
    }
    text.push_str(". allowed   X denied   - no address of the family\n");
    Ok(Outcome::shown(text))
}

/// One line: who, where, and why. The family is left out where both families agree.
fn line(answer: &Answer, is_one: bool) -> String {
    let port = match answer.port {
        Some(port) => format!("{port}/{}", answer.protocol),
        None => answer.protocol.clone(),
    };
    let family = if is_one {
        String::new()
    } else {
        format!(" {}", answer.family)
    };
    format!(
        "{} -> {} {port}{family}: {}\n",
        answer.from, answer.to, answer.reason
    )
}

/// A list of records.
fn json(answers: &[Answer]) -> Result<String, Error> {
    Ok(serde_json::to_string_pretty(answers)? + "\n")
}

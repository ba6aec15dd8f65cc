//! `weave npc status | explain | blocked | rules`: questions to the controller of this node.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use weave_npc::verdict::Answer;

use super::args::{Blocked, Explain, Place, Status as StatusArguments};
use super::controller::blocked::Record;
use super::controller::counted::{self, Counted};
use super::controller::status::Status;
use super::error::Error;
use super::{Outcome, decide};
use crate::http::client::{Client, encode_component};
use crate::logging;

/// `weave npc status`.
pub(super) fn status(arguments: &StatusArguments) -> Result<Outcome, Error> {
    let body = get(&arguments.place, "/status")?;
    if arguments.json {
        return Ok(Outcome::shown(body));
    }
    let status: Status = serde_json::from_str(&body)?;
    Ok(Outcome::shown(status.text()))
}

/// `weave npc explain`.
pub(super) fn explain(arguments: &Explain) -> Result<Outcome, Error> {
    let Explain { from, to, port, .. } = arguments;
    let [from, to] = [from, to].map(|text| encode_component(text));
    let port = encode_component(&port.to_string());
    let path = format!("/explain?from={from}&to={to}&port={port}");
    let body = get(&arguments.place, &path)?;
    let answers: Vec<Answer> = serde_json::from_str(&body)?;
    let is_allowed = answers.iter().all(|answer| answer.allowed);
    let text = if arguments.json {
        body
    } else {
        decide::lines(&answers)
    };
    let code = if is_allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    Ok(Outcome { text, code })
}

/// `weave npc blocked`.
pub(super) fn blocked(arguments: &Blocked) -> Result<Outcome, Error> {
    let path = format!("/blocked?since={}", arguments.minutes.saturating_mul(60));
    let body = get(&arguments.place, &path)?;
    if arguments.json {
        return Ok(Outcome::shown(body));
    }
    let records: Vec<Record> = serde_json::from_str(&body)?;
    let mut text = String::new();
    for record in &records {
        let time = logging::timestamp(Duration::from_millis(record.at_ms));
        let end = |pod: &Option<String>| pod.as_deref().unwrap_or("-").to_owned();
        let (from, to) = (end(&record.from_pod), end(&record.to_pod));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{time} {}", record.sentence());
        let _ = writeln!(text, "    {from} -> {to}: {}", record.reason);
    }
    let minutes = arguments.minutes;
    let _ = writeln!(text, "{} in the last {minutes} minutes", records.len());
    Ok(Outcome::shown(text))
}

/// `weave npc rules`.
pub(super) fn rules(arguments: &StatusArguments) -> Result<Outcome, Error> {
    let body = get(&arguments.place, "/rules")?;
    if arguments.json {
        return Ok(Outcome::shown(body));
    }
    let rules: Vec<Counted> = serde_json::from_str(&body)?;
    Ok(Outcome::shown(counted::text(&rules)))
}

/// The body of a page of the controller.
fn get(place: &Place, path: &str) -> Result<String, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let client = Client::new(&place.addr).with_limit(LIMIT);
    let answer = runtime.block_on(client.get(path));
    let answer = answer.map_err(|error| Error::Ask(error.to_string()))?;
    if answer.is_success() {
        return Ok(answer.body);
    }
    Err(Error::Refused(answer.body.trim().to_owned()))
}

/// Longer than a controller with a large world is busy at a time.
const LIMIT: Duration = Duration::from_secs(20);

//! What a cluster went through, and whether all of it was as it should be.
//!
//! Passed means: every event went well, there is one ring, no address has two holders, none leaked,
//! and what deleted nodes had was usable in time.

use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;

use crate::lab::once::Finding;
use crate::lab::progress::Progress;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Event {
    /// Seconds since the first namespace was made.
    pub(super) at_s: f64,
    /// What it was.
    pub(super) what: String,
    /// Whether it went as it should.
    pub(super) ok: bool,
}

/// Events in the order in which they happen, told while they do.
#[derive(Debug)]
pub(super) struct Timeline<'a> {
    begun: Instant,
    progress: &'a Progress,
    events: Vec<Event>,
}

impl<'a> Timeline<'a> {
    /// Begins at this moment.
    pub(super) fn new(progress: &'a Progress) -> Self {
        Self {
            begun: Instant::now(),
            progress,
            events: Vec::new(),
        }
    }

    /// Something is being done; it is not an event yet.
    pub(super) fn begin(&self, what: &str) {
        self.progress.update(what);
    }

    /// Something happened.
    pub(super) fn note(&mut self, ok: bool, what: String) {
        let at_s = self.begun.elapsed().as_secs_f64();
        let event = Event { at_s, what, ok };
        self.progress.say(&event.line());
        self.events.push(event);
    }

    /// Where it is told.
    pub(super) fn progress(&self) -> &'a Progress {
        self.progress
    }

    /// All events.
    pub(super) fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// Seconds since the beginning.
    pub(super) fn elapsed_s(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

impl Event {
    fn line(&self) -> String {
        let mark = if self.ok { ' ' } else { '!' };
        format!("{:7.1} s {mark} {}", self.at_s, self.what)
    }
}

/// A node at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Member {
    /// Its name.
    pub(super) node: String,
    /// The name of its peer.
    pub(super) peer: String,
    /// The bridge's address.
    pub(super) bridge: Option<String>,
    /// Its pods.
    pub(super) pods: usize,
    /// Peers whose addresses it took over.
    pub(super) reclaimed: u64,
}

/// Everything a run found.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Which API server it was.
    pub(super) apiserver: String,
    /// The nodes at the end.
    pub(super) nodes: Vec<Member>,
    /// Different rings that the nodes know: one, when all is well.
    pub(super) rings: usize,
    /// Addresses with more than one holder, in words.
    pub(super) duplicate_addresses: Vec<String>,
    /// For each node that was deleted: seconds until its addresses were others'.
    pub(super) reclaim_s: Vec<f64>,
    /// Addresses that nobody uses and nobody can be given, in words.
    pub(super) leaked: Vec<String>,
    /// ADDs by the plugin.
    pub(super) adds: usize,
    /// What happened.
    pub(super) events: Vec<Event>,
    /// Seconds of the whole run.
    pub(super) elapsed_s: f64,
}

impl Finding for Outcome {
    fn passed(&self) -> bool {
        self.rings == 1
            && self.duplicate_addresses.is_empty()
            && self.leaked.is_empty()
            && self
                .reclaim_s
                .iter()
                .all(|seconds| *seconds <= RECLAIM_LIMIT)
            && self.events.iter().all(|event| event.ok)
    }

    fn to_json(&self) -> String {
        let mut value = serde_json::json!(self);
        if let Some(object) = value.as_object_mut() {
            object.insert("passed".to_owned(), self.passed().into());
        }
        format!("{value:#}")
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let reclaims: Vec<String> = self
            .reclaim_s
            .iter()
            .map(|seconds| format!("{seconds:.1} s"))
            .collect();
        let reclaims = if reclaims.is_empty() {
            "none".to_owned()
        } else {
            reclaims.join(", ")
        };
        let lines = [
            format!("nodes      {}", self.nodes.len()),
            format!("rings      {}", self.rings),
            format!("pods       {} added", self.adds),
            format!("reclaims   {reclaims}"),
            format!("duplicates {}", count(&self.duplicate_addresses)),
            format!("leaked     {}", count(&self.leaked)),
            format!("time       {:.1} s", self.elapsed_s),
        ];
        for line in lines.iter().chain(
            self.events
                .iter()
                .filter(|event| !event.ok)
                .map(|event| &event.what),
        ) {
            let _infallible = writeln!(text, "{line}");
        }
        text.push_str(if self.passed() { "PASS\n" } else { "FAIL\n" });
        text
    }
}

/// How many, and which.
fn count(all: &[String]) -> String {
    match all {
        [] => "none".to_owned(),
        all => format!("{}: {}", all.len(), all.join("; ")),
    }
}

/// Seconds in which what a deleted node had must be usable.
const RECLAIM_LIMIT: f64 = 30.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            apiserver: "recorded".to_owned(),
            nodes: Vec::new(),
            rings: 1,
            duplicate_addresses: Vec::new(),
            reclaim_s: vec![4.2],
            leaked: Vec::new(),
            adds: 3,
            events: Vec::new(),
            elapsed_s: 1.0,
        }
    }

    #[test]
    fn one_fault_of_any_kind_fails_the_run() {
        assert!(outcome().passed());
        let faults: [fn(&mut Outcome); 5] = [
            |outcome| outcome.rings = 2,
            |outcome| outcome.duplicate_addresses.push("a".to_owned()),
            |outcome| outcome.leaked.push("a".to_owned()),
            |outcome| outcome.reclaim_s.push(30.5),
            |outcome| {
                outcome.events.push(Event {
                    at_s: 1.0,
                    what: "it broke".to_owned(),
                    ok: false,
                });
            },
        ];
        for fault in faults {
            let mut outcome = outcome();
            fault(&mut outcome);
            assert!(!outcome.passed(), "{}", outcome.text());
            assert!(outcome.text().ends_with("FAIL\n"));
        }
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let value: serde_json::Value = serde_json::from_str(&outcome().to_json()).unwrap();

        for key in [
            "nodes",
            "rings",
            "duplicate_addresses",
            "reclaim_s",
            "leaked",
            "events",
            "passed",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
    }
}

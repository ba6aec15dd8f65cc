//! What the probes of a lab found beside what the policies say, as JSON and as coloured cells.
//!
//! [`Outcome::passed`] is the only place that decides between pass and fail: every probe saw what
//! `decide` says, and no forbidden packet arrived while controllers were restarted.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use serde::Serialize;
use weave_npc::verdict::Answer;

use super::probe::Seen;
use super::storm::Storm;
use crate::lab::once::Finding;

/// All that was found.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Whether everything was as decided.
    pub(super) passed: bool,
    /// Hosts of the lab.
    pub(super) hosts: usize,
    /// Every state that was probed, in order.
    pub(super) steps: Vec<StepOutcome>,
    /// The restarts of controllers, if there were any.
    pub(super) storm: Option<Storm>,
    /// Time of the whole command in seconds.
    pub(super) elapsed_s: f64,
}

/// One state of the manifests.
#[derive(Debug, Serialize)]
pub(super) struct StepOutcome {
    /// What led to it.
    pub(super) step: String,
    /// Pods of the pod network.
    pub(super) pods: usize,
    /// From the moment the manifests were written until the last controller enforced them, in
    /// milliseconds; it includes how often they look.
    pub(super) enforced_ms: f64,
    /// How many connections were tried.
    pub(super) probes: usize,
    /// How many of them were not as decided.
    pub(super) differences: usize,
    /// Every pair, at every port, in every family.
    pub(super) answers: Vec<Probed>,
}

/// A decision, and what became of a real connection.
#[derive(Debug, Serialize)]
pub(super) struct Probed {
    /// What the policies say.
    #[serde(flatten)]
    pub(super) answer: Answer,
    /// What was seen; nothing for a pod's own address, to which it talks without leaving.
    pub(super) observed: Option<Seen>,
}

impl Probed {
    /// Whether something else was seen than decided.
    pub(super) fn differs(&self) -> bool {
        match self.observed {
            None => false,
            Some(seen) => seen != expected(self.answer.allowed),
        }
    }

    fn cell(&self) -> char {
        match (self.answer.allowed, self.observed) {
            (_, None) => '.',
            (true, Some(Seen::Open)) => '.',
            (false, Some(Seen::Closed)) => 'X',
            (false, Some(_)) => 'o',
            (true, Some(Seen::Half)) => 'h',
            (true, Some(Seen::Closed)) => 'c',
        }
    }
}

fn expected(is_allowed: bool) -> Seen {
    if is_allowed { Seen::Open } else { Seen::Closed }
}

impl Finding for Outcome {
    fn passed(&self) -> bool {
        self.passed
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    fn text(&self) -> String {
        self.draw(std::io::stdout().is_terminal())
    }
}

impl Outcome {
    /// The pictures of all steps, and what differs in words.
    fn draw(&self, is_coloured: bool) -> String {
        let mut text = String::new();
        for step in &self.steps {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(
                text,
                "== {}: {} pods, in force after {:.0} ms",
                step.step, step.pods, step.enforced_ms
            );
            for table in tables(&step.answers) {
                draw_table(&mut text, table, is_coloured);
            }
            for found in step.answers.iter().filter(|found| found.differs()) {
                let _ = writeln!(text, "{}", sentence(found));
            }
        }
        text.push_str(LEGEND);
        if let Some(storm) = &self.storm {
            let _ = writeln!(text, "{storm}");
        }
        let probes: usize = self.steps.iter().map(|step| step.probes).sum();
        let differences: usize = self.steps.iter().map(|step| step.differences).sum();
        let verdict = if self.passed { "PASS" } else { "FAIL" };
        let _ = writeln!(
            text,
            "{verdict}  {} hosts, {} states, {probes} connections tried, {differences} not as \
             decided, {:.1} s",
            self.hosts,
            self.steps.len(),
            self.elapsed_s
        );
        text
    }
}

/// The answers of each port and family.
fn tables(answers: &[Probed]) -> impl Iterator<Item = &[Probed]> {
    answers.chunk_by(|a, b| {
        let key = |found: &Probed| {
            let answer = &found.answer;
            (answer.port, answer.protocol.clone(), answer.family.clone())
        };
        key(a) == key(b)
    })
}

/// A row per source, a column per destination. Pods without an address of the family are left out.
fn draw_table(text: &mut String, answers: &[Probed], is_coloured: bool) {
    let Some(first) = answers.first() else {
        return;
    };
    let first = &first.answer;
    let port = first
        .port
        .map(|port| format!("{port}/"))
        .unwrap_or_default();
    let _ = writeln!(text, "{port}{} {}", first.protocol, first.family);
    let rows: Vec<&[Probed]> = answers
        .chunk_by(|a, b| a.answer.from == b.answer.from)
        .collect();
    let width = rows
        .iter()
        .map(|row| row[0].answer.from.len())
        .max()
        .unwrap_or(0);
    let digits = rows.len().to_string().len();
    let _ = write!(text, "{:width$}  ", "", width = width + digits + 1);
    for column in 1..=rows.len() {
        let _ = write!(text, " {column:>digits$} ");
    }
    text.push('\n');
    for (number, row) in rows.iter().enumerate() {
        let _ = write!(
            text,
            "{:digits$} {:width$}  ",
            number + 1,
            row[0].answer.from
        );
        for found in *row {
            let cell = format!(" {:>digits$} ", found.cell());
            match (is_coloured, found.cell()) {
                (false, _) => text.push_str(&cell),
                (true, '.') => paint(text, GREEN, &cell),
                (true, 'X') => paint(text, RED, &cell),
                (true, _) => paint(text, ALARM, &cell),
            }
        }
        text.push('\n');
    }
    text.push('\n');
}

fn paint(text: &mut String, colour: &str, cell: &str) {
    let _ = write!(text, "\x1b[{colour}m{cell}\x1b[0m");
}

/// What differs, in words.
fn sentence(found: &Probed) -> String {
    let answer = &found.answer;
    let port = answer
        .port
        .map(|port| format!("{port}/"))
        .unwrap_or_default();
    let what = match found.observed {
        Some(Seen::Open) => "is open",
        Some(Seen::Half) => "arrives, but no answer comes back",
        _ => "is closed",
    };
    format!(
        "DIFFERS {} to {} {port}{} {} {what}, but decide says: {}",
        answer.from, answer.to, answer.protocol, answer.family, answer.reason
    )
}

const LEGEND: &str = ". open   X closed   as decided;   \
    o open or half open though denied   c closed   h half open though allowed\n";
/// Black on green.
const GREEN: &str = "30;42";
/// White on red.
const RED: &str = "97;41";
/// Black on yellow, blinking where terminals do.
const ALARM: &str = "5;30;43";

#[cfg(test)]
mod tests {
    use weave_npc::manifest::Manifest;
    use weave_npc::model::World;
    use weave_npc::verdict::{End, Options, ask};

    use super::*;

    fn found(observed: [Option<Seen>; 4]) -> Outcome {
        let manifest = Manifest::read(
            "kind: Pod\nmetadata: {namespace: x, name: a}\nstatus: {podIPs: [{ip: 10.0.0.1}]}\n---\n\
             kind: Pod\nmetadata: {namespace: x, name: b}\nstatus: {podIPs: [{ip: 10.0.0.2}]}\n---\n\
             kind: NetworkPolicy\nmetadata: {namespace: x, name: p}\n\
             spec: {podSelector: {}, ingress: []}\n",
        );
        let world = World::from_iter(manifest.objects);
        let ends = End::all(&world);
        let port = "80/TCP".parse().unwrap();
        let answers: Vec<Probed> = ask(&world, &ends, &ends, &[port], Options::default())
            .into_iter()
            .zip(observed)
            .map(|(answer, observed)| Probed { answer, observed })
            .collect();
        let differences = answers.iter().filter(|found| found.differs()).count();
        Outcome {
            passed: differences == 0,
            hosts: 1,
            steps: vec![StepOutcome {
                step: "start".to_owned(),
                pods: 2,
                enforced_ms: 12.3,
                probes: 2,
                differences,
                answers,
            }],
            storm: None,
            elapsed_s: 1.0,
        }
    }

    #[test]
    fn a_table_is_a_picture_of_what_was_seen() {
        let closed = Some(Seen::Closed);
        let text = found([None, closed, closed, None]).draw(false);

        assert!(text.contains("80/TCP IPv4\n"), "{text}");
        assert!(text.contains("1 x/a   .  X \n2 x/b   X  . \n"), "{text}");
        assert!(text.contains("PASS"), "{text}");
    }

    #[test]
    fn a_leak_is_shown_and_named() {
        let outcome = found([None, Some(Seen::Half), Some(Seen::Closed), None]);
        let text = outcome.draw(false);

        assert!(!outcome.passed());
        assert!(text.contains("1 x/a   .  o "), "{text}");
        let words = "DIFFERS x/a to x/b 80/TCP IPv4 arrives, but no answer comes back";
        assert!(text.contains(words), "{text}");
        let json: serde_json::Value = serde_json::from_str(&outcome.to_json()).unwrap();
        assert_eq!(json["steps"][0]["answers"][1]["observed"], "half");
        assert_eq!(json["steps"][0]["answers"][1]["allowed"], false);
    }

    #[test]
    fn colours_are_for_terminals() {
        let outcome = found([None, Some(Seen::Closed), Some(Seen::Closed), None]);

        assert!(outcome.draw(true).contains("\x1b[97;41m X \x1b[0m"));
        assert!(!outcome.draw(false).contains('\x1b'));
    }
}

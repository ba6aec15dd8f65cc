//! What the doctor said of each fault.
//!
//! Passed means: nothing was found on healthy hosts, each fault was named alone, and none was left
//! after it was cured. Of a machine that is replaced it is not looked for.

use std::time::Duration;

use serde::Serialize;

use super::faults::{Cure, Fault};
use crate::doctor::Finding;
use crate::lab::error::Error;
use crate::lab::once;

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// What was found before anything was planted.
    pub(super) healthy: Vec<Finding>,
    /// The faults in order.
    pub(super) rows: Vec<Row>,
    /// Seconds from the first namespace to the last fault.
    pub(super) elapsed_s: f64,
}

/// A fault.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Its name.
    pub(super) fault: String,
    /// The check that must find it.
    pub(super) expected: &'static str,
    /// What was found.
    pub(super) findings: Vec<Finding>,
    /// Whether the expected finding was all there was.
    pub(super) named: bool,
    /// Seconds until it was.
    pub(super) named_s: f64,
    /// Whether the doctor's command was typed.
    pub(super) typed: bool,
    /// How it goes otherwise.
    pub(super) cure: &'static str,
    /// Whether nothing was found after that; absent where the machine was replaced.
    pub(super) cured: Option<bool>,
    /// Seconds until then.
    pub(super) cured_s: f64,
    /// What was still found.
    pub(super) left: Vec<Finding>,
    /// What the lab itself could not do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trouble: Option<String>,
    /// The program without which it could not be planted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<String>,
}

impl Row {
    /// With what was found after `took`.
    pub(super) fn new(fault: Fault, findings: Vec<Finding>, took: Duration) -> Self {
        let named = matches!(findings.as_slice(), [one] if one.check == fault.check());
        Self {
            fault: fault.name(),
            expected: fault.check(),
            findings,
            named,
            named_s: took.as_secs_f64(),
            typed: false,
            cure: match fault.cure() {
                Cure::Typed => "typed",
                Cure::ByHand => "by hand",
                Cure::Replaced => "replaced",
            },
            cured: None,
            cured_s: 0.0,
            left: Vec::new(),
            trouble: None,
            skipped: None,
        }
    }

    /// The lab could not do its part.
    pub(super) fn broken(fault: Fault, error: &Error) -> Self {
        Self {
            trouble: Some(error.to_string()),
            ..Self::new(fault, Vec::new(), Duration::ZERO)
        }
    }

    /// Not planted for want of `program`.
    pub(super) fn skipped(fault: Fault, program: &str) -> Self {
        Self {
            skipped: Some(program.to_owned()),
            ..Self::new(fault, Vec::new(), Duration::ZERO)
        }
    }

    fn passed(&self) -> bool {
        let is_typed = self.typed || self.cure != "typed";
        self.skipped.is_some() || (self.named && self.is_gone() && is_typed)
    }

    /// Whether the host is healthy again, or there is no such host any more.
    fn is_gone(&self) -> bool {
        match self.cured {
            Some(cured) => cured,
            None => self.cure == "replaced",
        }
    }

    fn text(&self) -> String {
        let verdict = match (&self.skipped, self.passed()) {
            (Some(program), _) => return format!("SKIP {:<20} needs {program}\n", self.fault),
            (None, true) => "PASS",
            (None, false) => "FAIL",
        };
        let mut text = format!(
            "{verdict} {:<20} {:<10} {:>4.1} s, {} {:>4.1} s\n",
            self.fault, self.expected, self.named_s, self.cure, self.cured_s
        );
        if let Some(trouble) = &self.trouble {
            text += &format!("       {trouble}\n");
        } else if self.findings.is_empty() {
            text += "       nothing was found\n";
        }
        for finding in &self.findings {
            let on = finding.on.as_ref().map(|on| format!("on {on}: "));
            let on = on.unwrap_or_default();
            text += &format!(
                "       {}: {}\n       fix: {on}{}\n",
                finding.check, finding.what, finding.fix
            );
        }
        for finding in &self.left {
            text += &format!("       left: {}: {}\n", finding.check, finding.what);
        }
        text
    }
}

impl once::Finding for Outcome {
    fn passed(&self) -> bool {
        self.healthy.is_empty() && self.rows.iter().all(Row::passed)
    }

    fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("invariant: texts and numbers become JSON")
    }

    fn text(&self) -> String {
        let healthy = match self.healthy.as_slice() {
            [] => "PASS healthy hosts: nothing is found\n".to_owned(),
            all => {
                let lines = all
                    .iter()
                    .map(|one| format!("FAIL healthy hosts: {}: {}\n", one.check, one.what));
                lines.collect()
            }
        };
        let rows: String = self.rows.iter().map(Row::text).collect();
        let count = |is: fn(&Row) -> bool| self.rows.iter().filter(|row| is(row)).count();
        format!(
            "{healthy}{rows}{} of {} faults named, {} seen to go, {} by the command; {:.0} s\n",
            count(|row| row.named),
            self.rows.len(),
            count(|row| row.cured == Some(true)),
            count(|row| row.typed),
            self.elapsed_s
        )
    }
}

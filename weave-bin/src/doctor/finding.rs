//! A finding, as people and programs read it.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works, though slower, with less in reserve, or not for much longer.
    Warning,
    /// Something does not work.
    Error,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// The check that found it; see the table in the README.
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is so.
    pub what: String,
    /// Why that matters.
    pub why: String,
    /// A command that changes it.
    pub fix: String,
    /// Where the command is to be typed, if not on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
}

impl Finding {
    /// Something that does not work.
    pub fn error(check: &str, what: impl Into<String>) -> Self {
        Self::new(check, Severity::Error, what.into())
    }

    /// Something that works, but not as it should.
    pub fn warning(check: &str, what: impl Into<String>) -> Self {
        Self::new(check, Severity::Warning, what.into())
    }

    fn new(check: &str, severity: Severity, what: String) -> Self {
        Self {
            check: check.to_owned(),
            severity,
            what,
            why: String::new(),
            fix: String::new(),
            on: None,
        }
    }

    /// Because of this it matters.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// This command changes it.
    #[must_use]
    pub fn fix(mut self, command: impl Into<String>) -> Self {
        self.fix = command.into();
        self
    }

    /// The command is to be typed there.
    #[must_use]
    pub fn on(mut self, place: impl Into<String>) -> Self {
        self.on = Some(place.into());
        self
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The exit status that goes with `findings`: 0 nothing, 2 warnings only, 3 an error.
#[must_use]
pub fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.severity).max() {
        None => 0,
        Some(Severity::Warning) => 2,
        Some(Severity::Error) => 3,
    }
}

/// The findings for people; `unseen` is what could not be looked at.
#[must_use]
pub fn text(findings: &[Finding], unseen: &[String]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding {
            check,
            severity,
            what,
            why,
            fix,
            on,
        } = finding;
        text += &format!("{severity}: {check}: {what}\n    why: {why}\n");
        text += &match on {
            Some(place) => format!("    fix: on {place}: {fix}\n"),
            None => format!("    fix: {fix}\n"),
        };
    }
    for what in unseen {
        text += &format!("not looked at: {what}\n");
    }
    let errors = findings
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .count();
    text + &match (errors, findings.len() - errors) {
        (0, 0) => "nothing wrong was found\n".to_owned(),
        (errors, warnings) => format!("errors: {errors}, warnings: {warnings}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_the_exit_status() {
        let warning = Finding::warning("mtu", "");
        let error = Finding::error("disk", "");

        assert_eq!(exit_code(&[]), 0);
        assert_eq!(exit_code(std::slice::from_ref(&warning)), 2);
        assert_eq!(exit_code(&[warning, error]), 3);
    }

    #[test]
    fn people_read_what_why_and_what_to_type() {
        let finding = Finding::error("port", "TCP 6783 of 192.0.2.2 does not answer")
            .why("there is no connection")
            .fix("iptables -I INPUT")
            .on("192.0.2.2");

        assert_eq!(
            text(&[finding], &["the packet filter: no rights".to_owned()]),
            "error: port: TCP 6783 of 192.0.2.2 does not answer\n    why: there is no connection\n    \
             fix: on 192.0.2.2: iptables -I INPUT\nnot looked at: the packet filter: no rights\n\
             errors: 1, warnings: 0\n"
        );
        assert_eq!(text(&[], &[]), "nothing wrong was found\n");
    }
}
